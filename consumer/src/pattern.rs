//! Subscriptions by a pattern.

use regex::Regex;

use crate::error::ConsumerError;

/// A pattern of topics' names, and who finds the topics.
#[derive(Debug, Clone)]
pub(crate) enum TopicPattern {
    /// This side (`group.protocol=classic`), in the cluster's metadata.
    OfClient {
        text: String,
        regex: Regex,
        /// Whether the cluster's topics have been seen.
        is_resolved: bool,
    },
    /// The coordinator (`group.protocol=consumer`), by RE2J's rules.
    OfBroker(String),
}

/// Patterns are the same where their texts are.
impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OfClient { text, .. }, Self::OfClient { text: other, .. }) => text == other,
            (Self::OfBroker(text), Self::OfBroker(other)) => text == other,
            _ => false,
        }
    }
}

impl Eq for TopicPattern {}

impl TopicPattern {
    /// A pattern that this side matches, with whole names, as Java does.
    pub(crate) fn of_client(text: String) -> Result<Self, ConsumerError> {
        // Alone first, so that it cannot close the group that is put around it.
        match Regex::new(&text).and_then(|_| Regex::new(&format!(r"\A(?:{text})\z"))) {
            Ok(regex) => Ok(Self::OfClient { text, regex, is_resolved: false }),
            Err(error) => Err(ConsumerError::BadPattern { pattern: text, reason: error.to_string() }),
        }
    }

    /// A pattern that the coordinator matches. Its rules are its own, so that nothing but an empty one is refused here.
    pub(crate) fn of_broker(text: String) -> Result<Self, ConsumerError> {
        if text.is_empty() {
            return Err(ConsumerError::BadPattern { pattern: text, reason: "it is empty".to_owned() });
        }
        Ok(Self::OfBroker(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_match_and_bad_patterns_are_refused() {
        let Ok(TopicPattern::OfClient { regex, .. }) = TopicPattern::of_client("orders|bills\\..*".to_owned()) else {
            panic!("a good pattern");
        };
        for (name, matches) in [("orders", true), ("my-orders", false), ("orders2", false), ("bills.eu", true)] {
            assert_eq!(regex.is_match(name), matches, "{name}");
        }
        // One that would close the group around it is no pattern either.
        for bad in ["(", "a)|(b", "[z-a]"] {
            assert!(matches!(TopicPattern::of_client(bad.to_owned()), Err(ConsumerError::BadPattern { .. })), "{bad}");
        }
        assert!(TopicPattern::of_broker(String::new()).is_err());
    }
}
