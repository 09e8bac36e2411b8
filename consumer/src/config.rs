//! The consumer's settings.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rkafka_client_core::{ClientConfig, ClientSettings};
use rkafka_config::{Check, ConfigError, Setting, format_iso_duration, parse_iso_duration, setting_enum, settings};

/// `auto.offset.reset`: where reading begins when there is no offset, or the offset is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OffsetReset {
    /// At the earliest record that is still there.
    Earliest,
    /// At the end: only what is written from now on.
    Latest,
    /// Nowhere: the application gets an error and decides.
    None,
    /// At the first record that is no older than this, by its timestamp and this machine's clock (KIP-1106); at the end
    /// where there is none. Kafka spells it `by_duration:` and an ISO 8601 duration, such as `by_duration:PT36H`.
    ByDuration(Duration),
}

const BY_DURATION: &str = "by_duration:";

impl fmt::Display for OffsetReset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => formatter.pad("earliest"),
            Self::Latest => formatter.pad("latest"),
            Self::None => formatter.pad("none"),
            Self::ByDuration(ago) => formatter.pad(&format!("{BY_DURATION}{}", format_iso_duration(*ago))),
        }
    }
}

impl FromStr for OffsetReset {
    type Err = String;

    /// Reads the value; the error says what is expected. `smallest`, `beginning`, `largest`, `end` and `error` are
    /// what librdkafka calls them.
    fn from_str(text: &str) -> Result<Self, String> {
        let known = match &*text.to_ascii_lowercase() {
            "earliest" | "smallest" | "beginning" => Some(Self::Earliest),
            "latest" | "largest" | "end" => Some(Self::Latest),
            "none" | "error" => Some(Self::None),
            other => other.strip_prefix(BY_DURATION).and_then(parse_iso_duration).map(Self::ByDuration),
        };
        known.ok_or_else(|| Self::expected(""))
    }
}

impl Setting for OffsetReset {
    fn from_text(text: &str, _name: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_text(&self, _name: &str) -> String {
        self.to_string()
    }

    fn expected(_name: &str) -> String {
        "one of earliest, latest, none, by_duration:PnDTnHnMnS".to_owned()
    }
}

setting_enum! {
    /// `isolation.level`: what is read of transactions.
    pub enum IsolationLevel {
        /// Everything, also what was aborted and what is not decided.
        ReadUncommitted = "read_uncommitted",
        /// Only what was committed; reading stops at the last stable offset.
        ReadCommitted = "read_committed",
    }
}

setting_enum! {
    /// `group.protocol`: how the members of a group agree on who reads what.
    pub enum GroupProtocol {
        /// By JoinGroup and SyncGroup: one of the members shares the partitions out, by
        /// `partition.assignment.strategy`.
        Classic = "classic",
        /// By ConsumerGroupHeartbeat (KIP-848): the coordinator does, by `group.remote.assignor`. Needs brokers of
        /// Kafka 4.0 or newer.
        Consumer = "consumer",
    }
}

impl IsolationLevel {
    /// As the protocol says it.
    pub(crate) fn code(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

const MS: Duration = Duration::from_millis(1);
/// Java keeps these durations in an `int` of milliseconds.
const INT_MS: Duration = Duration::from_millis(i32::MAX as u64);
const INT: usize = i32::MAX as usize;

settings! {
    /// What a consumer reads and how it works with its group.
    pub struct ConsumerConfig {
        embed client: ClientConfig as ClientSettings;

        /// The group that this consumer is a member of, and whose committed offsets it uses. Needed to subscribe and to
        /// commit; partitions that are assigned by hand need none.
        "group.id" => group_id: Option<String> = None;
        /// Makes this a static member (KIP-345): one that comes back under the same id within `session.timeout.ms` gets
        /// its partitions back, and nobody else's are moved.
        "group.instance.id" => group_instance_id: Option<String> = None;
        /// Where reading begins when the group has committed no offset, or the offset is not there any more.
        "auto.offset.reset" => auto_offset_reset: OffsetReset = OffsetReset::Latest;
        /// Whether offsets are committed by themselves: every `auto.commit.interval.ms`, before partitions are given up,
        /// and on close. Only what the application has come back from is committed.
        "enable.auto.commit" => enable_auto_commit: bool = true;
        /// Whether what is handed out counts as done when the application comes back for more. Otherwise only records count
        /// that it marks ([`mark_done`](crate::ConsumerHandle::mark_done)), in any order: what is committed, by itself or
        /// by [`commit`](crate::ConsumerHandle::commit), never goes beyond a record that is not marked. librdkafka's name.
        "enable.auto.offset.store" => enable_auto_offset_store: bool = true;
        /// How often offsets are committed by themselves.
        "auto.commit.interval.ms" => auto_commit_interval: Duration = Duration::from_secs(5),
            in MS..=INT_MS, because "committing without a pause would be a flood";
        /// How long the group waits for a sign of life of this member before it goes on without it.
        "session.timeout.ms" => session_timeout: Duration = Duration::from_secs(45),
            in MS..=INT_MS, because "a member needs some time for a sign of life";
        /// How often a sign of life is given; a third of `session.timeout.ms` at most.
        "heartbeat.interval.ms" => heartbeat_interval: Duration = Duration::from_secs(3),
            in MS..=INT_MS, because "beating without a pause would be a flood";
        /// How long the application may take between two calls for records before the member leaves the group, and how
        /// long a rebalance waits for a member.
        "max.poll.interval.ms" => max_poll_interval: Duration = Duration::from_secs(300),
            in MS..=INT_MS, because "an application needs some time";
        /// How partitions are shared out, the preferred way first: `range`, `roundrobin`, `sticky`,
        /// `cooperative-sticky`, or the name of an assignor that the consumer was given in code. The group takes one that
        /// all its members offer. Partitions are kept over a rebalance (KIP-429) where every assignor of the list can do
        /// that, as `cooperative-sticky` alone can. For `group.protocol=classic`.
        "partition.assignment.strategy" => partition_assignment_strategy: Vec<String> =
            vec!["range".to_owned(), "cooperative-sticky".to_owned()],
            in Check::new("one assignor or more", |names: &Vec<String>| !names.is_empty()),
            because "every member must know how to share out";
        /// How the members of the group agree on who reads what. `consumer` (KIP-848) has the coordinator share out,
        /// moves only what must move, and takes `session.timeout.ms`, `heartbeat.interval.ms` and
        /// `partition.assignment.strategy` from the broker's settings and `group.remote.assignor`.
        "group.protocol" => group_protocol: GroupProtocol = GroupProtocol::Classic;
        /// How the coordinator shares out under `group.protocol=consumer`: `uniform` or `range`, or another that the
        /// brokers have. Left out, the broker chooses.
        "group.remote.assignor" => group_remote_assignor: Option<String> = None;
        /// Whether a subscription by a pattern passes over Kafka's own topics, `__consumer_offsets` for example. For
        /// `group.protocol=classic`.
        "exclude.internal.topics" => exclude_internal_topics: bool = true;
        /// How many bytes a broker should have before it answers a fetch.
        "fetch.min.bytes" => fetch_min_bytes: i32 = 1, in 0.., because "a size is not negative";
        /// How long a broker may wait for `fetch.min.bytes`.
        "fetch.max.wait.ms" aka "fetch.wait.max.ms" => fetch_max_wait: Duration = Duration::from_millis(500),
            in Duration::ZERO..=INT_MS, because "it is kept in 31 bits of milliseconds";
        /// How many bytes one answer to a fetch should have at most. The first batch always comes whole.
        "fetch.max.bytes" => fetch_max_bytes: usize = 52_428_800,
            in 1..=INT, because "a size has 31 bits";
        /// How many bytes of one partition an answer should have at most. The first batch always comes whole.
        "max.partition.fetch.bytes" aka "fetch.message.max.bytes" => max_partition_fetch_bytes: usize = 1_048_576,
            in 1..=INT, because "a size has 31 bits";
        /// How many records [`recv_many`](crate::Consumer::recv_many) gives at most.
        "max.poll.records" => max_poll_records: usize = 500, in 1.., because "nothing would be read";
        /// Java's classes that see what is read and committed. None can be loaded here: give the consumer objects by
        /// `ConsumerOptions::interceptor`. An empty list, Java's default, is taken.
        "interceptor.classes" => interceptor_classes: Vec<String> = Vec::new(),
            in Check::new("nothing", |classes: &Vec<String>| classes.is_empty()),
            because "classes of Java cannot be loaded: give interceptors by `ConsumerOptions::interceptor`";
        /// What is read of transactions.
        "isolation.level" => isolation_level: IsolationLevel = IsolationLevel::ReadUncommitted;
        /// Whether the CRC of every batch is checked.
        "check.crcs" => check_crcs: bool = true;
        /// How many bytes may be fetched ahead of the application. One answer of each broker may go beyond it.
        "queued.max.bytes" => queued_max_bytes: usize = 67_108_864,
            in 1.., because "nothing would be fetched";
        /// The most bytes that one compressed batch may unpack to.
        "max.decompressed.batch.bytes" => max_decompressed_batch_bytes: usize = 134_217_728,
            in 1..=INT, because "an offset inside a batch has 31 bits";
        /// How long a topic, or a partition, that the cluster does not know is waited for before that is an error: one
        /// that was just created is not known everywhere at once.
        "topic.metadata.propagation.max.ms" => topic_metadata_propagation_max: Duration = Duration::from_secs(5),
            in Duration::ZERO..=INT_MS, because "it is kept in 31 bits of milliseconds";
    }
    validate = agree;
}

/// What Java refuses where the coordinator shares out. Set to its default it counts as left out here.
const OF_CLASSIC_GROUPS: [&str; 3] = ["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"];

fn agree(config: &ConsumerConfig) -> Result<(), ConfigError> {
    let conflict = |name: &str, other: &str, reason: &str| {
        Err(ConfigError::Conflict { name: name.to_owned(), other: other.to_owned(), reason: reason.to_owned() })
    };
    if config.heartbeat_interval >= config.session_timeout {
        return conflict(
            "heartbeat.interval.ms",
            "session.timeout.ms",
            "a member must beat several times within its session; a third of it is usual",
        );
    }
    if config.group_remote_assignor.is_some() && config.group_protocol == GroupProtocol::Classic {
        return conflict(
            "group.remote.assignor",
            "group.protocol",
            "the members of a classic group share out themselves; set group.protocol=consumer, or name an assignor in \
             partition.assignment.strategy",
        );
    }
    if config.group_protocol == GroupProtocol::Consumer {
        let entries = config.entries();
        let is_set = |name: &str| entries.iter().any(|entry| entry.name == name && !entry.is_default);
        if let Some(name) = OF_CLASSIC_GROUPS.into_iter().find(|name| is_set(name)) {
            let reason = match name {
                "partition.assignment.strategy" => {
                    "the coordinator shares out under group.protocol=consumer; set group.remote.assignor, or \
                     group.protocol=classic"
                }
                _ => {
                    "the broker says it to the members under group.protocol=consumer, by its \
                     group.consumer.session.timeout.ms and group.consumer.heartbeat.interval.ms or the group's own \
                     settings; leave it out, or set group.protocol=classic"
                }
            };
            return conflict(name, "group.protocol", reason);
        }
    }
    if config.group_instance_id.is_some() && config.group_id.is_none() {
        return conflict("group.instance.id", "group.id", "a static member is one of a group; set group.id");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Shows: interceptor.classes.
    #[test]
    fn classes_of_java_are_refused() {
        assert!(ConsumerConfig::from_properties([("bootstrap.servers", "b:1"), ("interceptor.classes", "")]).is_ok());
        let error = ConsumerConfig::new().set("interceptor.classes", "com.example.Audit").unwrap_err().to_string();
        assert!(error.contains("interceptor.classes") && error.contains("ConsumerOptions::interceptor"), "{error}");
    }

    #[test]
    fn what_only_classic_groups_have_is_refused_for_others() {
        let config = |protocol: &'static str, name: &'static str, value: &'static str| {
            ConsumerConfig::from_properties([
                ("bootstrap.servers", "b:1"),
                ("group.id", "g"),
                ("group.protocol", protocol),
                (name, value),
            ])
        };
        for (name, value) in [
            ("partition.assignment.strategy", "sticky"),
            ("session.timeout.ms", "60000"),
            ("heartbeat.interval.ms", "1000"),
        ] {
            assert!(config("classic", name, value).is_ok());
            let error = config("consumer", name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("group.protocol"), "{error}");
        }
        assert!(config("consumer", "session.timeout.ms", "45000").is_ok());
    }

    #[test]
    fn where_reading_begins_is_spelled_as_kafka_does() {
        let hour = OffsetReset::ByDuration(Duration::from_secs(3_600));
        for (text, reset, written) in [
            ("earliest", OffsetReset::Earliest, "earliest"),
            ("LATEST", OffsetReset::Latest, "latest"),
            ("none", OffsetReset::None, "none"),
            ("by_duration:PT1H", hour, "by_duration:PT1H"),
            ("by_duration:PT60M", hour, "by_duration:PT1H"),
        ] {
            let mut config = ConsumerConfig::new();
            config.set("auto.offset.reset", text).unwrap();
            assert_eq!((config.auto_offset_reset, config.auto_offset_reset.to_string()), (reset, written.to_owned()));
        }
        for bad in ["by_duration", "by_duration:", "by_duration:1h", "by_duration:-PT1H", "soon"] {
            let error = ConsumerConfig::new().set("auto.offset.reset", bad).unwrap_err();
            assert!(error.to_string().contains("by_duration:PnDTnHnMnS"), "{error}");
        }
    }
}
