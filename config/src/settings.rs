//! What every config has in common.

use crate::suggest;
use crate::{Bound, ConfigError, HIDDEN, PropertiesError, Setting, parse_properties};

/// One setting as the documentation shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingDoc {
    /// Kafka's own name.
    pub name: &'static str,
    /// Other names that are taken for it, mostly librdkafka's.
    pub aliases: &'static [&'static str],
    /// The config that declares it, such as `ClientConfig`.
    pub config: &'static str,
    /// What values look like.
    pub expected: String,
    /// The default as text.
    pub default: String,
    /// What is allowed, where not every value of the type is.
    pub bound: Option<String>,
    /// Why only that is allowed; empty where there is no bound.
    pub reason: &'static str,
    /// What it means.
    pub doc: String,
    /// Whether its value is never shown.
    pub secret: bool,
}

/// One setting with its present value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Kafka's own name.
    pub name: &'static str,
    /// The value as text; `[hidden]` for a secret that is set.
    pub value: String,
    /// Whether it is the default.
    pub is_default: bool,
}

impl Entry {
    /// An entry; [`settings!`](crate::settings!) makes these.
    #[doc(hidden)]
    pub fn new(name: &'static str, value: String, is_default: bool) -> Self {
        Self { name, value, is_default }
    }
}

/// A config declared by [`settings!`](crate::settings!).
pub trait Settings: Sized + Default {
    /// Sets the setting called `name` from text; `None` where neither this config nor one that it embeds has it.
    fn try_set(&mut self, name: &str, value: &str) -> Option<Result<(), ConfigError>>;

    /// Every setting with its present value, embedded configs first.
    fn entries(&self) -> Vec<Entry>;

    /// Every setting, embedded configs first.
    fn describe() -> &'static [SettingDoc];

    /// Checks every bound, for typed setters take any value, and what must hold between settings.
    ///
    /// # Errors
    /// The first setting that is out of its bound or in conflict with another.
    fn validate(&self) -> Result<(), ConfigError>;

    /// Sets the setting called `name` from text.
    ///
    /// # Errors
    /// No setting has the name, the text is no value of its type, or the value is out of its bound. The config is
    /// then as it was.
    fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        self.try_set(name, value).unwrap_or_else(|| {
            let names = Self::describe().iter().flat_map(|doc| std::iter::once(&doc.name).chain(doc.aliases)).copied();
            Err(ConfigError::Unknown {
                name: name.to_owned(),
                suggestion: suggest::nearest(name, names).map(str::to_owned),
            })
        })
    }

    /// The defaults, changed by `properties`, and validated.
    ///
    /// # Errors
    /// As [`Settings::set`] and [`Settings::validate`].
    fn from_properties<K: AsRef<str>, V: AsRef<str>>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, value) in properties {
            config.set(name.as_ref(), value.as_ref())?;
        }
        config.validate()?;
        Ok(config)
    }

    /// The defaults, changed by the text of a properties file, and validated.
    ///
    /// # Errors
    /// As [`Settings::from_properties`], with the line.
    fn from_properties_text(text: &str) -> Result<Self, PropertiesError> {
        let mut config = Self::default();
        for property in parse_properties(text)? {
            let line = property.line;
            config.set(&property.key, &property.value).map_err(|source| PropertiesError::Setting { line, source })?;
        }
        config.validate()?;
        Ok(config)
    }
}

/// Reads a value, and says what was expected where it is not one. Java trims values before it reads them.
#[doc(hidden)]
pub fn parse<T: Setting>(name: &'static str, text: &str) -> Result<T, ConfigError> {
    T::from_text(text.trim(), name).ok_or_else(|| ConfigError::Invalid {
        name: name.to_owned(),
        value: if T::SECRET { HIDDEN.to_owned() } else { text.to_owned() },
        expected: T::expected(name),
    })
}

/// Checks a value against its bound.
#[doc(hidden)]
pub fn check<T: Setting>(
    name: &'static str,
    value: &T,
    bound: &impl Bound<T>,
    reason: &str,
) -> Result<(), ConfigError> {
    if bound.allows(value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        name: name.to_owned(),
        value: value.to_text(name),
        bound: bound.text(name),
        reason: reason.to_owned(),
    })
}

/// The documentation of one setting.
#[doc(hidden)]
pub fn describe<T: Setting>(
    (name, aliases, config): (&'static str, &'static [&'static str], &'static str),
    default: &T,
    bound: Option<(String, &'static str)>,
    doc: &str,
) -> SettingDoc {
    let (bound, reason) = bound.map_or((None, ""), |(bound, reason)| (Some(bound), reason));
    let doc = doc.lines().map(str::trim).collect::<Vec<_>>().join("\n").trim().to_owned();
    let (expected, default) = (T::expected(name), default.to_text(name));
    SettingDoc { name, aliases, config, expected, default, bound, reason, doc, secret: T::SECRET }
}
