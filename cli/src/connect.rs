//! From what was typed to a client's settings.

use std::time::Duration;

use rkafka::admin::{Admin, AdminConfig};
use rkafka::client::{ClientSettings, HostPort};
use rkafka::config::{ConfigError, SettingDoc, Settings, parse_properties};
use rkafka::consumer::ConsumerConfig;
use rkafka::producer::ProducerConfig;

use crate::args::Connection;
use crate::exit::{Exit, Failure};

const BROKERS: &str = "localhost:9092";
const TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of a client: the flags' word goes before that of `-X`, that before the file of `-F`.
pub fn settings<C: Settings + ClientSettings>(connection: &Connection) -> Result<C, Failure> {
    let mut config = C::default().default_api_timeout(TIMEOUT);
    if C::describe().iter().any(|setting| setting.name == "max.block.ms") {
        set(&mut config, "max.block.ms", &TIMEOUT.as_millis().to_string())?;
    }
    if let Some(path) = &connection.config {
        let file = path.display();
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("cannot read {file}: {error}")))?;
        let properties = parse_properties(&text).map_err(|error| Failure::usage(format!("{file}, {error}")))?;
        for property in properties {
            match config.set(&property.key, &property.value) {
                // The file serves every command; what is of use to another kind of client is passed over.
                Err(ConfigError::Unknown { .. }) if is_known_elsewhere(&property.key) => {}
                Err(error) => return Err(Failure::usage(format!("{file}, line {}: {error}", property.line))),
                Ok(()) => {}
            }
        }
    }
    for setting in &connection.settings {
        let (name, value) = name_and_value("-X", setting)?;
        match config.set(name, value) {
            Err(ConfigError::Unknown { .. }) if is_known_elsewhere(name) => {
                return Err(Failure::usage(format!("-X {setting}: this command has no use for `{name}`")));
            }
            Err(error) => return Err(Failure::usage(format!("-X {setting}: {error}"))),
            Ok(()) => {}
        }
    }
    if let Some(timeout) = connection.timeout {
        config = config.default_api_timeout(timeout);
        if C::describe().iter().any(|setting| setting.name == "max.block.ms") {
            set(&mut config, "max.block.ms", &timeout.as_millis().to_string())?;
        }
    }
    match &connection.brokers {
        Some(brokers) => set(&mut config, "bootstrap.servers", brokers)?,
        None if config.embedded_mut().bootstrap_servers.is_empty() => {
            set(&mut config, "bootstrap.servers", BROKERS)?;
        }
        None => {}
    }
    // Nothing that the cluster is asked may take longer than it is given to answer.
    let limit = config.embedded_mut().default_api_timeout;
    if config.embedded_mut().socket_connection_setup_timeout > limit {
        config = config.socket_connection_setup_timeout(limit);
    }
    for address in config.embedded_mut().bootstrap_servers.clone() {
        address
            .parse::<HostPort>()
            .map_err(|_| Failure::usage(format!("`{address}` is no address; write HOST:PORT")))?;
    }
    config.validate().map_err(Failure::usage)?;
    Ok(config)
}

/// Sets what a flag stands for.
pub fn set<C: Settings>(config: &mut C, name: &str, value: &str) -> Result<(), Failure> {
    config.set(name, value).map_err(Failure::usage)
}

/// Splits `NAME=VALUE` as it was given with `flag`.
pub fn name_and_value<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim(), value)),
        _ => Err(Failure::usage(format!("{flag} {text}: write NAME=VALUE"))),
    }
}

fn is_known_elsewhere(name: &str) -> bool {
    let has =
        |settings: &[SettingDoc]| settings.iter().any(|known| known.name == name || known.aliases.contains(&name));
    has(ProducerConfig::describe()) || has(ConsumerConfig::describe()) || has(AdminConfig::describe())
}

/// Connects an admin client.
pub async fn admin(connection: &Connection) -> Result<Admin, Failure> {
    let config: AdminConfig = settings(connection)?;
    in_time(config.client.default_api_timeout, async { Ok(Admin::connect(config).await?) }).await
}

/// Ends an attempt to connect when its time is over.
pub async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Failure::new(
            Exit::Unreachable,
            format!("the cluster did not answer within {limit:?}; check the addresses, or give it more by --timeout"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn connection() -> Connection {
        Connection { brokers: None, settings: Vec::new(), config: None, timeout: None, quiet: false, verbose: 0 }
    }

    fn with(settings: &[&str]) -> Connection {
        Connection { settings: settings.iter().map(|text| (*text).to_owned()).collect(), ..connection() }
    }

    #[test]
    fn flags_go_before_x_and_x_before_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "bootstrap.servers=file:1\nlinger.ms=1\nbatch.size=1000\nauto.offset.reset=earliest").unwrap();
        let mut connection = with(&["linger.ms=2", "metadata.broker.list=x:2"]);
        connection.config = Some(file.path().to_owned());
        let config: ProducerConfig = settings(&connection).unwrap();
        assert_eq!((config.batch_size, config.linger), (1000, Duration::from_millis(2)));
        assert_eq!(config.client.bootstrap_servers, ["x:2"]);
        connection.brokers = Some("flag:3,flag:4".into());
        connection.timeout = Some(Duration::from_secs(3));
        let config: ProducerConfig = settings(&connection).unwrap();
        assert_eq!(config.client.bootstrap_servers, ["flag:3", "flag:4"]);
        assert_eq!(
            (config.max_block, config.client.default_api_timeout),
            (Duration::from_secs(3), Duration::from_secs(3))
        );
    }

    #[test]
    fn defaults_are_a_broker_here_and_ten_seconds() {
        let config: AdminConfig = settings(&connection()).unwrap();
        assert_eq!(config.client.bootstrap_servers, [BROKERS]);
        assert_eq!(config.client.default_api_timeout, TIMEOUT);
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        for (setting, part) in [
            ("linger.mss=1", "did you mean `linger.ms`"),
            ("linger.ms", "write NAME=VALUE"),
            ("linger.ms=soon", "`soon`"),
            ("auto.offset.reset=earliest", "has no use for"),
            ("bootstrap.servers=nowhere", "`nowhere` is no address"),
        ] {
            let failure = settings::<ProducerConfig>(&with(&[setting])).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{setting}");
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        let missing = Connection { config: Some("/nowhere/x.properties".into()), ..connection() };
        assert!(settings::<AdminConfig>(&missing).unwrap_err().message.contains("/nowhere/x.properties"));
    }
}
