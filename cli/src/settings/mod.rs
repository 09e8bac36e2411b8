//! Where settings come from: flags, `-X`, the environment, the project's file, a profile, a file of properties, defaults.

mod environment;
mod properties;
pub mod toml;

use std::fmt;
use std::path::PathBuf;

use rkafka::admin::AdminConfig;
use rkafka::config::SettingDoc;
use rkafka::consumer::ConsumerConfig;
use rkafka::producer::ProducerConfig;

use crate::args::Connection;
use crate::exit::Failure;

/// One setting as it was given somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The name as it stands there.
    pub name: String,
    /// The value, with everything in it replaced that stands for something else.
    pub value: String,
    /// Where.
    pub source: Source,
}

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The command line's own default, which is not the client's.
    Ours,
    /// A file of properties: the file, and the line.
    File(PathBuf, usize),
    /// A profile: its name, and the file that it stands in.
    Profile(String, PathBuf),
    /// The file of the project.
    Project(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// `-X`.
    Set,
    /// `-X` of kcat, which serves every mode.
    Kcat,
    /// A flag of its own.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => out.write_str("default of rkafka"),
            Self::File(path, line) => write!(out, "{}, line {line}", path.display()),
            Self::Profile(name, path) => write!(out, "profile {name} of {}", path.display()),
            Self::Project(path) => write!(out, "{}", path.display()),
            Self::Environment(name) => write!(out, "environment {name}"),
            Self::Set | Self::Kcat => out.write_str("-X"),
            Self::Flag(flag) => write!(out, "flag {flag}"),
        }
    }
}

/// The addresses where nothing else is said.
pub const BROKERS: &str = "localhost:9092";
/// How long the cluster may take to answer, in milliseconds, where nothing else is said.
const TIMEOUT_MS: &str = "10000";

/// Everything that is given, the weakest first: what comes later goes before what came earlier.
///
/// A file of `-F` takes the place of the profile that is in use by default, so that a file that is named is never
/// overruled by what somebody chose long ago; a profile that is named goes before the file.
///
/// # Errors
/// A file cannot be read, a profile is not there, or `-X` has no `=`.
pub fn gather(connection: &Connection) -> Result<Vec<Given>, Failure> {
    let mut given = Vec::new();
    let mut add = |name: &str, value: &str, source: Source| {
        given.push(Given { name: name.to_owned(), value: value.to_owned(), source });
    };
    for name in ["default.api.timeout.ms", "max.block.ms"] {
        add(name, TIMEOUT_MS, Source::Ours);
    }
    if connection.is_kcat {
        return kcat(connection, given);
    }
    add("bootstrap.servers", BROKERS, Source::Ours);
    let environment = environment::read()?;
    let project = toml::project()?;
    let file = connection.config.clone().or(environment.config.map(PathBuf::from));
    let named = connection.profile.clone().or(environment.profile);
    let named = named.or_else(|| project.as_ref().and_then(|project| project.profile.clone()));
    if let Some(path) = &file {
        for (name, value, line) in properties::read(path)? {
            add(&name, &value, Source::File(path.clone(), line));
        }
    }
    let profile = match named {
        Some(name) => Some(toml::Profiles::open()?.settings(&name)?),
        None if file.is_none() => toml::Profiles::open()?.current_settings()?,
        None => None,
    };
    if let Some((name, path, settings)) = profile {
        for (key, value) in settings {
            add(&key, &value, Source::Profile(name.clone(), path.clone()));
        }
    }
    if let Some(project) = project {
        for (key, value) in project.settings {
            add(&key, &value, Source::Project(project.path.clone()));
        }
    }
    for (name, value, variable) in environment.settings {
        add(&name, &value, Source::Environment(variable));
    }
    for setting in &connection.settings {
        let (name, value) = crate::connect::name_and_value("-X", setting)?;
        add(name, value, Source::Set);
    }
    if let Some(timeout) = connection.timeout {
        for name in ["default.api.timeout.ms", "max.block.ms"] {
            add(name, &timeout.as_millis().to_string(), Source::Flag("--timeout"));
        }
    }
    if let Some(brokers) = &connection.brokers {
        add("bootstrap.servers", brokers, Source::Flag("-b"));
    }
    Ok(given)
}

/// What kcat reads: the file, `-X` and flags. There must be an address; keys go to partitions by librdkafka's hash.
fn kcat(connection: &Connection, mut given: Vec<Given>) -> Result<Vec<Given>, Failure> {
    let mut add = |name: &str, value: &str, source: Source| {
        given.push(Given { name: name.to_owned(), value: value.to_owned(), source });
    };
    add("partitioner", "consistent_random", Source::Ours);
    if let Some(path) = &connection.config {
        for (name, value, line) in properties::read(path)? {
            add(&name, &value, Source::File(path.clone(), line));
        }
    }
    for setting in &connection.settings {
        let (name, value) = crate::connect::name_and_value("-X", setting)?;
        add(name, value, Source::Kcat);
    }
    if let Some(timeout) = connection.timeout {
        for name in ["default.api.timeout.ms", "max.block.ms"] {
            add(name, &timeout.as_millis().to_string(), Source::Flag("-m"));
        }
    }
    if let Some(brokers) = &connection.brokers {
        add("bootstrap.servers", brokers, Source::Flag("-b"));
    }
    let has_address = given.iter().any(|given| find(&given.name).is_some_and(|doc| doc.name == "bootstrap.servers"));
    if has_address { Ok(given) } else { Err(Failure::usage("-b <broker,..> missing")) }
}

/// Every setting that a client of any kind has; one that several kinds have comes several times.
pub fn known() -> impl Iterator<Item = &'static SettingDoc> {
    [ProducerConfig::describe(), ConsumerConfig::describe(), AdminConfig::describe()].into_iter().flatten()
}

/// The setting called `name`, or known by it, of a client of any kind.
pub fn find(name: &str) -> Option<&'static SettingDoc> {
    known().find(|known| known.name == name || known.aliases.contains(&name))
}

/// What to say of a name that no client has.
pub fn unknown(name: &str) -> String {
    let names = known().flat_map(|doc| std::iter::once(&doc.name).chain(doc.aliases)).copied();
    match rkafka::config::nearest(name, names) {
        Some(near) => format!("there is no setting `{name}`; did you mean `{near}`?"),
        None => format!("there is no setting `{name}`"),
    }
}
