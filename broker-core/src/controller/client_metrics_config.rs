//! The settings of a subscription to the metrics of clients (KIP-714): which metrics, how often, of which clients.

use regex::Regex;

use crate::kafka_settings::ConfigType;

pub(crate) const INTERVAL: &str = "interval.ms";
pub(crate) const METRICS: &str = "metrics";
pub(crate) const MATCH: &str = "match";
/// How often clients send their metrics where nothing is said, in milliseconds.
pub(crate) const INTERVAL_DEFAULT_MS: i32 = 300_000;
const INTERVAL_LEAST_MS: i32 = 100;
const INTERVAL_MOST_MS: i32 = 3_600_000;
/// How large a compiled pattern may become; a request must not take memory at will.
const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// One setting of a subscription.
pub(crate) struct ClientMetricsSetting {
    pub name: &'static str,
    pub kind: ConfigType,
    pub default: &'static str,
    pub documentation: &'static str,
}

/// Every setting of a subscription.
pub(crate) const CLIENT_METRICS_SETTINGS: &[ClientMetricsSetting] = &[
    ClientMetricsSetting {
        name: INTERVAL,
        kind: ConfigType::Int,
        default: "300000",
        documentation: "How often clients send their metrics, in milliseconds.",
    },
    ClientMetricsSetting {
        name: MATCH,
        kind: ConfigType::List,
        default: "",
        documentation: "Which clients are meant: key=pattern, all of which must match. Keys are client_instance_id, \
                        client_id, client_software_name, client_software_version, client_source_address and \
                        client_source_port. Nothing means every client.",
    },
    ClientMetricsSetting {
        name: METRICS,
        kind: ConfigType::List,
        default: "",
        documentation: "Which metrics are asked for, by the beginnings of their names; * means all.",
    },
];

/// What a client is matched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatchKey {
    InstanceId,
    ClientId,
    SoftwareName,
    SoftwareVersion,
    SourceAddress,
    SourcePort,
}

impl MatchKey {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "client_instance_id" => Self::InstanceId,
            "client_id" => Self::ClientId,
            "client_software_name" => Self::SoftwareName,
            "client_software_version" => Self::SoftwareVersion,
            "client_source_address" => Self::SourceAddress,
            "client_source_port" => Self::SourcePort,
            _ => return None,
        })
    }
}

/// Reads the patterns of `match`. A pattern must match the whole text.
///
/// # Errors
/// The part that is none.
pub(crate) fn parse_match(text: &str) -> Result<Vec<(MatchKey, Regex)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| parse_pattern(part).ok_or_else(|| part.to_owned())).collect()
}

fn parse_pattern(part: &str) -> Option<(MatchKey, Regex)> {
    let (key, pattern) = part.split_once('=')?;
    let whole = format!("^(?:{})$", pattern.trim());
    // The pattern alone must be one: `a)(b` is none, though it becomes one between the brackets.
    let compiled = |text: &str| regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().ok();
    compiled(pattern.trim())?;
    Some((MatchKey::from_name(key.trim())?, compiled(&whole)?))
}

/// What is wrong with a value.
pub(super) enum Wrong {
    /// A request that makes no sense.
    Request(String),
    /// A value that cannot be.
    Value(String),
}

/// Checks a value, in Kafka's words.
pub(super) fn check(name: &str, value: &str) -> Result<(), Wrong> {
    match name {
        INTERVAL => match value.trim().parse::<i32>() {
            Ok(interval) if (INTERVAL_LEAST_MS..=INTERVAL_MOST_MS).contains(&interval) => Ok(()),
            Ok(interval) => Err(Wrong::Request(format!(
                "Invalid value {interval} for {INTERVAL}, interval must be between {INTERVAL_LEAST_MS} and \
                 {INTERVAL_MOST_MS} (1 hour)"
            ))),
            Err(_) => Err(Wrong::Value(format!(
                "Invalid value {value} for configuration {INTERVAL}: Not a number of type INT"
            ))),
        },
        MATCH => parse_match(value)
            .map(drop)
            .map_err(|part| Wrong::Value(format!("Illegal client matching pattern: {part}"))),
        METRICS => Ok(()),
        other => Err(Wrong::Request(format!("Unknown client metrics configuration: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        let patterns = parse_match("client_id=a.*, client_source_port=90[0-9]{2}").unwrap();
        assert_eq!((patterns[0].0, patterns[1].0), (MatchKey::ClientId, MatchKey::SourcePort));
        assert!(patterns[0].1.is_match("abc") && !patterns[0].1.is_match("xabc"));
        assert!(!patterns[1].1.is_match("190921"));
        for bad in ["client_id", "nokey=a", "client_id=(", "client_id=a)(b", "client_id=((a{900}){900}){900}"] {
            assert_eq!(parse_match(bad).unwrap_err(), bad);
        }
        assert!(parse_match("").unwrap().is_empty());
    }
}
