//! `rkafka profile`.

use rkafka::admin::AdminConfig;
use rkafka::config::{ConfigError, HIDDEN, Settings};
use rkafka::consumer::ConsumerConfig;
use rkafka::producer::ProducerConfig;

use crate::args::{self, ProfileCommand};
use crate::connect::name_and_value;
use crate::exit::{Exit, Failure};
use crate::report;
use crate::settings::toml::{Profiles, setting};
use crate::settings::{find, unknown};

/// Runs the command.
pub fn run(args: args::Profile) -> Result<Exit, Failure> {
    let mut profiles = Profiles::open()?;
    match args.command {
        ProfileCommand::List => {
            let names: String = profiles.names().iter().map(|name| format!("{name}\n")).collect();
            report::answer(&names)?;
        }
        ProfileCommand::Show { name } => {
            let none = || Failure::usage("no profile is in use; name one, or choose one by `rkafka profile use NAME`");
            let name = name.or_else(|| profiles.current().map(str::to_owned)).ok_or_else(none)?;
            let mut out = String::new();
            for (name, value) in profiles.entries(&name)? {
                let (setting, is_command) = setting(&name);
                // What stands for a value elsewhere tells no secret.
                let is_reference = is_command || (value.starts_with("${") && value.ends_with('}'));
                let is_secret = find(&setting).is_none_or(|doc| doc.secret) && !is_reference;
                out.push_str(&format!("{name}={}\n", if is_secret { HIDDEN } else { &value }));
            }
            report::answer(&out)?;
        }
        ProfileCommand::Set { name, settings, unset } => {
            for text in &settings {
                let (key, value) = name_and_value("profile set", text)?;
                check(key, value)?;
                profiles.set(&name, key, Some(value))?;
            }
            for key in &unset {
                profiles.set(&name, key, None)?;
            }
            profiles.save()?;
        }
        ProfileCommand::Use { name } => {
            profiles.choose(&name)?;
            profiles.save()?;
        }
        ProfileCommand::Delete { name } => {
            profiles.delete(&name)?;
            profiles.save()?;
        }
    }
    Ok(Exit::Ok)
}

/// Whether a client takes it; what stands for a value elsewhere is judged when it is used.
fn check(key: &str, value: &str) -> Result<(), Failure> {
    let (name, is_command) = setting(key);
    if find(&name).is_none() {
        return Err(Failure::usage(unknown(&name)));
    }
    if is_command || value.contains("${") {
        return Ok(());
    }
    let refused =
        [set::<ProducerConfig>(&name, value), set::<ConsumerConfig>(&name, value), set::<AdminConfig>(&name, value)];
    refused.into_iter().find_map(Result::err).map_or(Ok(()), |error| Err(Failure::usage(error)))
}

fn set<C: Settings>(name: &str, value: &str) -> Result<(), ConfigError> {
    match C::default().set(name, value) {
        Err(ConfigError::Unknown { .. }) => Ok(()),
        other => other,
    }
}
