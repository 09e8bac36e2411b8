//! Variables of the environment.

use crate::exit::Failure;

/// What stands before the name of a setting, such as `RKAFKA_X_LINGER_MS`.
const PREFIX: &str = "RKAFKA_X_";

/// What the environment says.
pub struct Environment {
    /// `RKAFKA_CONFIG`: a file of properties.
    pub config: Option<String>,
    /// `RKAFKA_PROFILE`.
    pub profile: Option<String>,
    /// The settings: name, value, and the variable.
    pub settings: Vec<(String, String, String)>,
}

/// Reads it. A variable that is empty counts as one that is not there.
///
/// # Errors
/// A variable `RKAFKA_X_..` that stands for no setting, or one of ours that is not UTF-8.
pub fn read() -> Result<Environment, Failure> {
    let mut environment = Environment { config: None, profile: None, settings: Vec::new() };
    let mut variables: Vec<_> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
    variables.sort();
    for (variable, value) in variables {
        if !variable.starts_with("RKAFKA_") || value.is_empty() {
            continue;
        }
        let text = |value: std::ffi::OsString| {
            value.into_string().map_err(|_| Failure::usage(format!("environment {variable}: its value is not UTF-8")))
        };
        match variable.as_str() {
            "RKAFKA_CONFIG" => environment.config = Some(text(value)?),
            "RKAFKA_PROFILE" => environment.profile = Some(text(value)?),
            "RKAFKA_BROKERS" => environment.settings.push(("bootstrap.servers".to_owned(), text(value)?, variable)),
            _ => {
                let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
                let name = setting(rest).map_err(|error| Failure::usage(format!("environment {variable}: {error}")))?;
                environment.settings.push((name.to_owned(), text(value)?, variable));
            }
        }
    }
    Ok(environment)
}

/// The setting that `LINGER_MS` stands for.
fn setting(variable: &str) -> Result<&'static str, String> {
    let names = || super::known().flat_map(|doc| std::iter::once(&doc.name).chain(doc.aliases)).copied();
    let upper = |name: &str| name.replace(['.', '-'], "_").to_ascii_uppercase();
    names()
        .find(|name| upper(name) == variable)
        .ok_or_else(|| super::unknown(&variable.to_ascii_lowercase().replace('_', ".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_stands_for_the_setting_with_dots() {
        assert_eq!(setting("LINGER_MS"), Ok("linger.ms"));
        assert_eq!(setting("METADATA_BROKER_LIST"), Ok("metadata.broker.list"));
        assert!(setting("LINGER_MSS").unwrap_err().contains("did you mean `linger.ms`"));
    }
}
