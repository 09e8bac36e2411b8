//! What values a setting may have.

use std::ops::{RangeFrom, RangeInclusive};

use crate::Setting;

/// The bound of a setting. Ranges are bounds; [`Check`] is one for everything else.
pub trait Bound<T> {
    /// Whether the value is allowed.
    fn allows(&self, value: &T) -> bool;
    /// What is allowed, such as `1 to 5`, in the unit of the setting called `name`.
    fn text(&self, name: &str) -> String;
}

impl<T: Setting + PartialOrd> Bound<T> for RangeInclusive<T> {
    fn allows(&self, value: &T) -> bool {
        self.contains(value)
    }

    fn text(&self, name: &str) -> String {
        format!("{} to {}", self.start().to_text(name), self.end().to_text(name))
    }
}

impl<T: Setting + PartialOrd> Bound<T> for RangeFrom<T> {
    fn allows(&self, value: &T) -> bool {
        self.contains(value)
    }

    fn text(&self, name: &str) -> String {
        format!("at least {}", self.start.to_text(name))
    }
}

/// A bound that is not a range.
#[derive(Debug, Clone, Copy)]
pub struct Check<T> {
    text: &'static str,
    test: fn(&T) -> bool,
}

impl<T> Check<T> {
    /// A bound that `text` describes (it completes "must be ...") and `test` decides.
    pub const fn new(text: &'static str, test: fn(&T) -> bool) -> Self {
        Self { text, test }
    }
}

impl<T: Setting> Bound<T> for Check<T> {
    fn allows(&self, value: &T) -> bool {
        (self.test)(value)
    }

    fn text(&self, _name: &str) -> String {
        self.text.to_owned()
    }
}
