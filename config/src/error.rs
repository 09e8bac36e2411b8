//! What can be wrong with a setting or a file of settings.

use thiserror::Error;

/// A setting that cannot be taken. No variant ever holds the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No setting has this name.
    #[error("there is no setting `{name}`{}", suggestion_text(.suggestion))]
    Unknown {
        /// The name as given.
        name: String,
        /// The setting that was probably meant.
        suggestion: Option<String>,
    },
    /// The value lies outside of the setting's bound.
    #[error("`{name}` is {value}, but must be {bound}: {reason}")]
    OutOfRange {
        /// The setting's name.
        name: String,
        /// The value, in the setting's own unit.
        value: String,
        /// What is allowed.
        bound: String,
        /// Why only that is allowed.
        reason: String,
    },
    /// The value is no value of the setting's type.
    #[error("`{name}` cannot be `{value}`: expected {expected}")]
    Invalid {
        /// The setting's name.
        name: String,
        /// The text as given.
        value: String,
        /// What is expected.
        expected: String,
    },
    /// A setting of Kafka's, or a value of it, that is not there and may not be passed over in silence.
    #[error("`{name}` cannot be had: {reason}")]
    Unsupported {
        /// The setting's name.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Two settings that do not go together.
    #[error("`{name}` and `{other}` do not go together: {reason}")]
    Conflict {
        /// The setting to change.
        name: String,
        /// The setting it conflicts with.
        other: String,
        /// Why, and what to do.
        reason: String,
    },
}

fn suggestion_text(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl ConfigError {
    /// The name of the setting that the error is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name, .. }
            | Self::OutOfRange { name, .. }
            | Self::Invalid { name, .. }
            | Self::Unsupported { name, .. }
            | Self::Conflict { name, .. } => name,
        }
    }
}

/// A properties file that cannot be taken. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PropertiesError {
    /// The file is not in the syntax of a properties file.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Where the entry begins.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A line holds a setting that cannot be taken.
    #[error("line {line}: {source}")]
    Setting {
        /// Where the entry begins.
        line: usize,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The settings do not go together as a whole.
    #[error(transparent)]
    Whole(#[from] ConfigError),
}
