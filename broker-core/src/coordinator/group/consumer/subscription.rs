//! What members subscribe to: topic patterns, and the hash by which a group sees that its topics changed (KIP-1101).

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_regular_expression_value::ConsumerGroupRegularExpressionValue;
use twox_hash::XxHash3_64;
use uuid::Uuid;

use super::draft::{Draft, Surroundings};
use super::group::ConsumerMember;
use super::{ConsumerRecord, GroupError};
use crate::controller::{MetadataImage, TopicImage};

/// Begins what is hashed of a topic, so that a later layout has other hashes.
const TOPIC_HASH_LAYOUT: u8 = 0;

/// The log can say no longer pattern, and reading one takes a hundred times its size.
const PATTERN_BYTES_MAX: usize = i16::MAX as usize;
/// How much a compiled pattern may take: it is compiled while the group's partition of the log is locked. There is room
/// for any list of plain names that the log can say, and for dozens of classes such as `\w`, however the crate was built.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// A topic pattern that matches whole names.
///
/// Kafka reads RE2; the `regex` crate reads nearly the same language, also in linear time. What differs: `\C` and `\z`
/// in classes are refused, and `(?x)`, `(?R)` and nested classes are read, which RE2 refuses.
pub(super) fn compile(pattern: &str) -> Result<Regex, GroupError> {
    let invalid = |error: &regex::Error| {
        let reason = error.to_string();
        // The crate draws the pattern with a mark below the fault; the last line says what it is.
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        GroupError::new(
            ErrorCode::InvalidRegularExpression,
            format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {reason}."),
        )
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(GroupError::new(
            ErrorCode::InvalidRegularExpression,
            format!("SubscribedTopicRegex has {} bytes, and may have {PATTERN_BYTES_MAX}.", pattern.len()),
        ));
    }
    let compiled = |pattern: &str| RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build();
    // By itself first: a pattern such as `a)|(b` must not become a good one by the brackets around it.
    compiled(pattern).map_err(|error| invalid(&error))?;
    compiled(&format!(r"\A(?:{pattern})\z")).map_err(|error| invalid(&error))
}

impl Draft<'_> {
    /// Makes sure that a pattern that a member brings is resolved.
    ///
    /// # Errors
    /// `INVALID_REGULAR_EXPRESSION`.
    pub fn resolve_pattern(&mut self, pattern: &str, around: Surroundings<'_>) -> Result<(), GroupError> {
        if self.group.patterns.contains_key(pattern) {
            return Ok(());
        }
        let topics = resolve(&compile(pattern)?, around.image);
        self.put_pattern(pattern, topics, around)
    }

    /// Resolves all patterns anew, for topics have come or gone.
    pub fn refresh_patterns(&mut self, around: Surroundings<'_>) -> Result<(), GroupError> {
        let patterns: Vec<String> = self.group.patterns.keys().cloned().collect();
        for pattern in patterns {
            // One that a newer RE2 took, and that cannot be read here, keeps what it was resolved to.
            let Ok(compiled) = compile(&pattern) else { continue };
            let topics = resolve(&compiled, around.image);
            if self.group.patterns.get(&pattern).is_none_or(|known| known.topics != topics) {
                self.put_pattern(&pattern, topics, around)?;
            }
        }
        Ok(())
    }

    /// Takes away patterns that no member has any more.
    pub fn forget_unused_patterns(&mut self) -> Result<(), GroupError> {
        let used: BTreeSet<&str> = self.group.members.values().filter_map(ConsumerMember::pattern).collect();
        let is_unused = |pattern: &&String| !used.contains(pattern.as_str());
        let unused: Vec<String> = self.group.patterns.keys().filter(is_unused).cloned().collect();
        unused.into_iter().try_for_each(|pattern| self.put(ConsumerRecord::Regex { pattern, value: None }))
    }

    fn put_pattern(&mut self, pattern: &str, topics: Vec<String>, around: Surroundings<'_>) -> Result<(), GroupError> {
        let value = ConsumerGroupRegularExpressionValue {
            topics,
            version: around.image.next_offset(),
            timestamp: around.now.date_ms,
            ..Default::default()
        };
        self.put(ConsumerRecord::Regex { pattern: pattern.to_owned(), value: Some(value) })
    }
}

/// The topics whose whole name matches.
pub(super) fn resolve(pattern: &Regex, image: &MetadataImage) -> Vec<String> {
    image.topics().filter(|topic| pattern.is_match(&topic.name)).map(|topic| topic.name.to_string()).collect()
}

/// The ids of the topics among `names` that exist.
pub(in crate::coordinator::group) fn topic_ids<'a>(
    names: impl Iterator<Item = &'a str>,
    image: &MetadataImage,
) -> BTreeSet<Uuid> {
    names.filter_map(|name| image.topic(name)).map(|topic| topic.id).collect()
}

/// The hash of all subscribed topics that exist, 0 where there is none: Kafka's, so that a group that moves between the
/// two is not rebalanced for that.
pub(in crate::coordinator::group) fn metadata_hash(names: &BTreeSet<&str>, image: &MetadataImage) -> i64 {
    let mut bytes = Vec::with_capacity(names.len() * 8);
    for topic in names.iter().filter_map(|name| image.topic(name)) {
        bytes.extend_from_slice(&topic_hash(topic, image).to_le_bytes());
    }
    if bytes.is_empty() { 0 } else { hash(&bytes) }
}

/// Id, name and partitions of a topic, and the racks that each partition is in.
fn topic_hash(topic: &TopicImage, image: &MetadataImage) -> i64 {
    let mut bytes = vec![TOPIC_HASH_LAYOUT];
    let (most, least) = topic.id.as_u64_pair();
    bytes.extend_from_slice(&most.to_le_bytes());
    bytes.extend_from_slice(&least.to_le_bytes());
    put_text(&mut bytes, &topic.name);
    put_number(&mut bytes, topic.partitions.len());
    for (index, partition) in topic.partitions.iter().enumerate() {
        put_number(&mut bytes, index);
        let rack_of = |broker: &i32| image.brokers().get(broker).and_then(|broker| broker.rack.as_deref());
        let mut racks: Vec<&str> = partition.replicas.iter().filter_map(rack_of).collect();
        racks.sort_unstable();
        for rack in racks {
            put_number(&mut bytes, rack.encode_utf16().count());
            put_text(&mut bytes, rack);
        }
    }
    hash(&bytes)
}

fn hash(bytes: &[u8]) -> i64 {
    XxHash3_64::oneshot(bytes).cast_signed()
}

fn put_number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend_from_slice(&i32::try_from(number).unwrap_or(i32::MAX).to_le_bytes());
}

/// As hash4j puts a string: its UTF-16 code units, then how many they are.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    text.encode_utf16().for_each(|unit| bytes.extend_from_slice(&unit.to_le_bytes()));
    put_number(bytes, text.encode_utf16().count());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafka() {
        // hash4j 0.x, `Hashing.xxh3_64().hashStream()`, fed as Kafka 4.3.1 does.
        let mut bytes = vec![0];
        bytes.extend_from_slice(&0x0102_0304_0506_0708_u64.to_le_bytes());
        bytes.extend_from_slice(&0x1112_1314_1516_1718_u64.to_le_bytes());
        put_text(&mut bytes, "topic");
        for number in [2, 0, 1] {
            put_number(&mut bytes, number);
        }
        assert_eq!(hash(&bytes), -7_201_889_365_718_094_522);
        let mut bytes = 1_i64.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(-2_i64).to_le_bytes());
        assert_eq!(hash(&bytes), 1_559_002_273_794_826_001);
    }

    #[test]
    fn patterns_match_whole_names_only() {
        let pattern = compile("a|ab").expect("a good pattern");
        assert!(pattern.is_match("ab") && pattern.is_match("a"));
        assert!(!pattern.is_match("abc") && !pattern.is_match("xa"));
    }

    #[test]
    fn bad_patterns_are_refused_in_kafkas_words() {
        let deep = format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000));
        let wide = r"\pL".repeat(10_000);
        let bombs = ["(a{1000}){1000}", "((a*)*)*{1000}{1000}{1000}", r"(\w{1000}|\pL{1000}){1000}", &deep, &wide];
        for bad in ["[", "a)|(b", "(?<=a)b", r"(a)\1", "*"].into_iter().chain(bombs) {
            let error = compile(bad).expect_err("a bad pattern");
            assert_eq!(error.code, ErrorCode::InvalidRegularExpression, "{bad}");
            let begin = format!("SubscribedTopicRegex `{bad}` is not a valid regular expression: ");
            assert!(error.message.starts_with(&begin), "{}", error.message);
        }
        let error = compile(&"a".repeat(50_000_000)).expect_err("too long a pattern");
        assert_eq!(error.message, "SubscribedTopicRegex has 50000000 bytes, and may have 32767.");
        compile(&"a-topic|".repeat(PATTERN_BYTES_MAX / 8)).expect("a list of many names");
        compile(&format!("{}x", r"\w+-[a-z0-9]+\.|".repeat(50))).expect("many classes");
    }
}
