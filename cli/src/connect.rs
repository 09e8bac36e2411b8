//! From what was typed to a client's settings.

use std::time::Duration;

use rkafka::admin::{Admin, AdminConfig};
use rkafka::client::{ClientSettings, HostPort};
use rkafka::config::{ConfigError, Settings};

use crate::args::Connection;
use crate::exit::{Exit, Failure};
use crate::settings::{self, Given, Source};

/// The settings of a client, from everywhere that they are given ([`settings::gather`]).
pub fn settings<C: Settings + ClientSettings>(connection: &Connection) -> Result<C, Failure> {
    from_given(&settings::gather(connection)?)
}

/// [`settings`] of what was gathered before.
pub fn from_given<C: Settings + ClientSettings>(given: &[Given]) -> Result<C, Failure> {
    let mut config = C::default();
    for Given { name, value, source } in given {
        match config.set(name, value) {
            Ok(()) => {}
            // What is of use to another kind of client is passed over where it serves every command.
            Err(ConfigError::Unknown { .. }) if settings::find(name).is_some() => {
                if *source == Source::Set {
                    return Err(Failure::usage(format!("-X {name}={value}: this command has no use for `{name}`")));
                }
            }
            Err(ConfigError::Unknown { .. }) => {
                return Err(Failure::usage(format!("{}: {}", place(source, name), settings::unknown(name))));
            }
            Err(error) => return Err(Failure::usage(format!("{}: {error}", place(source, name)))),
        }
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

fn place(source: &Source, name: &str) -> String {
    match source {
        Source::Set => format!("-X {name}"),
        source => source.to_string(),
    }
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
    use rkafka::producer::ProducerConfig;
    use std::io::Write;

    fn connection() -> Connection {
        Connection::default()
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
        assert_eq!(config.client.bootstrap_servers, [settings::BROKERS]);
        assert_eq!(config.client.default_api_timeout, Duration::from_secs(10));
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
