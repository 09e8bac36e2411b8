//! The types that a setting may have.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::units;

/// What stands in the place of a secret wherever settings are shown.
pub const HIDDEN: &str = "[hidden]";

/// A type that a setting may have: it reads itself from Kafka's spelling and writes itself back.
pub trait Setting: Sized + Clone {
    /// Whether the value must never be shown.
    const SECRET: bool = false;

    /// Reads the value of the setting called `name`, whose last word may name a unit. `None` where it is not one.
    fn from_text(text: &str, name: &str) -> Option<Self>;

    /// Writes the value so that [`Setting::from_text`] reads the same one; secrets write themselves as [`HIDDEN`].
    fn to_text(&self, name: &str) -> String;

    /// What is expected, for errors and documentation, such as `true or false`.
    fn expected(name: &str) -> String;
}

/// What a typed setter takes for a setting of type `T`: the value, or what is handier and means the same.
pub trait IntoSetting<T> {
    /// The value.
    fn into_setting(self) -> T;
}

impl<T: Setting> IntoSetting<T> for T {
    fn into_setting(self) -> T {
        self
    }
}

/// A text that is never shown: its `Debug` and `Display` say `[hidden]`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

impl<S: Into<String>> From<S> for Secret {
    fn from(text: S) -> Self {
        Self(text.into())
    }
}

impl Setting for Secret {
    const SECRET: bool = true;

    fn from_text(text: &str, _name: &str) -> Option<Self> {
        Some(Self::new(text))
    }

    fn to_text(&self, _name: &str) -> String {
        if self.0.is_empty() { String::new() } else { HIDDEN.to_owned() }
    }

    fn expected(_name: &str) -> String {
        "a secret text".to_owned()
    }
}

impl IntoSetting<Secret> for &str {
    fn into_setting(self) -> Secret {
        Secret::new(self)
    }
}

impl IntoSetting<Secret> for String {
    fn into_setting(self) -> Secret {
        Secret(self)
    }
}

impl Setting for bool {
    fn from_text(text: &str, _name: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("true") {
            Some(true)
        } else if text.eq_ignore_ascii_case("false") {
            Some(false)
        } else {
            None
        }
    }

    fn to_text(&self, _name: &str) -> String {
        self.to_string()
    }

    fn expected(_name: &str) -> String {
        "true or false".to_owned()
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Setting for $integer {
            fn from_text(text: &str, name: &str) -> Option<Self> {
                match <$integer>::from_str(text) {
                    Ok(number) => Some(number),
                    Err(_) if units::is_byte_size(name) => units::parse_byte_size(text)?.try_into().ok(),
                    Err(_) => None,
                }
            }

            fn to_text(&self, _name: &str) -> String {
                self.to_string()
            }

            fn expected(name: &str) -> String {
                let unit = if units::is_byte_size(name) { ", in bytes or as 64KiB, 1MiB" } else { "" };
                format!("a whole number from {} to {}{unit}", <$integer>::MIN, <$integer>::MAX)
            }
        }
    )*};
}
integers!(i8, i16, i32, i64, u8, u16, u32, u64, usize);

impl Setting for f64 {
    fn from_text(text: &str, _name: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn to_text(&self, _name: &str) -> String {
        // As Java writes it, and not with three hundred zeros.
        if self.abs() >= 1e16 { format!("{self:E}") } else { self.to_string() }
    }

    fn expected(_name: &str) -> String {
        "a number".to_owned()
    }
}

impl Setting for Duration {
    fn from_text(text: &str, name: &str) -> Option<Self> {
        units::parse_duration(text, name)
    }

    fn to_text(&self, name: &str) -> String {
        units::format_duration(*self, name)
    }

    fn expected(_name: &str) -> String {
        "a duration: a plain number in the unit of the name, or as 500ms, 5s, 1m, 2h, 7d".to_owned()
    }
}

impl Setting for String {
    fn from_text(text: &str, _name: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn to_text(&self, _name: &str) -> String {
        self.clone()
    }

    fn expected(_name: &str) -> String {
        "a text".to_owned()
    }
}

impl IntoSetting<String> for &str {
    fn into_setting(self) -> String {
        self.to_owned()
    }
}

/// An empty text is no value, as in Kafka.
impl Setting for Option<String> {
    fn from_text(text: &str, _name: &str) -> Option<Self> {
        Some(Some(text).filter(|text| !text.is_empty()).map(str::to_owned))
    }

    fn to_text(&self, _name: &str) -> String {
        self.clone().unwrap_or_default()
    }

    fn expected(_name: &str) -> String {
        "a text, or nothing".to_owned()
    }
}

impl IntoSetting<Option<String>> for &str {
    fn into_setting(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl IntoSetting<Option<String>> for String {
    fn into_setting(self) -> Option<String> {
        Some(self)
    }
}

/// `-1` is no value, as in Kafka, where it says "without a limit" or "as the system has it".
macro_rules! optional {
    ($($inner:ty),*) => {$(
        impl Setting for Option<$inner> {
            fn from_text(text: &str, name: &str) -> Option<Self> {
                if text == "-1" { Some(None) } else { <$inner>::from_text(text, name).map(Some) }
            }

            fn to_text(&self, name: &str) -> String {
                self.map_or_else(|| "-1".to_owned(), |value| value.to_text(name))
            }

            fn expected(name: &str) -> String {
                format!("{}; or -1 for none", <$inner>::expected(name))
            }
        }

        impl IntoSetting<Option<$inner>> for $inner {
            fn into_setting(self) -> Option<$inner> {
                Some(self)
            }
        }
    )*};
}
optional!(Duration, u32, u64, usize);

/// Texts with commas between them; spaces around each are no part of it, and empty ones are left out, as in Kafka.
impl Setting for Vec<String> {
    fn from_text(text: &str, _name: &str) -> Option<Self> {
        Some(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    fn to_text(&self, _name: &str) -> String {
        self.join(",")
    }

    fn expected(_name: &str) -> String {
        "a list with commas between".to_owned()
    }
}

impl IntoSetting<Vec<String>> for &str {
    fn into_setting(self) -> Vec<String> {
        Vec::from_text(self, "").unwrap_or_default()
    }
}

impl IntoSetting<Vec<String>> for String {
    fn into_setting(self) -> Vec<String> {
        self.as_str().into_setting()
    }
}

impl IntoSetting<Vec<String>> for &String {
    fn into_setting(self) -> Vec<String> {
        self.as_str().into_setting()
    }
}

impl<const N: usize> IntoSetting<Vec<String>> for [&str; N] {
    fn into_setting(self) -> Vec<String> {
        self.into_iter().map(str::to_owned).collect()
    }
}
