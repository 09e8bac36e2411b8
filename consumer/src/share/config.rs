//! A share consumer's settings.

use std::time::Duration;

use rkafka_client_core::{ClientConfig, ClientSettings};
use rkafka_config::{ConfigError, setting_enum, settings};

setting_enum! {
    /// `share.acknowledgement.mode`: who says that a record was dealt with.
    pub enum AcknowledgementMode {
        /// The consumer: what was handed out is accepted when the application comes back for more, or commits.
        Implicit = "implicit",
        /// The application, record by record.
        Explicit = "explicit",
    }
}

setting_enum! {
    /// `share.acquire.mode`: how strictly a fetch keeps to `max.poll.records` (KIP-1206).
    pub enum AcquireMode {
        /// Whole batches of the log, and ahead of the application: the number may be exceeded.
        BatchOptimized = "batch_optimized",
        /// Never more records than `max.poll.records`, and none before the application waits for them.
        RecordLimit = "record_limit",
    }
}

impl AcquireMode {
    /// As the protocol says it.
    pub(crate) fn code(self) -> i8 {
        match self {
            Self::BatchOptimized => 0,
            Self::RecordLimit => 1,
        }
    }
}

const MS: Duration = Duration::from_millis(1);
/// Java keeps these durations in an `int` of milliseconds.
const INT_MS: Duration = Duration::from_millis(i32::MAX as u64);
const INT: usize = i32::MAX as usize;

settings! {
    /// What a member of a share group reads, and how. Where a group begins to read, how long records stay with a member,
    /// how often they are delivered and what is read of transactions are the group's settings, not a member's:
    /// `share.auto.offset.reset`, `share.record.lock.duration.ms`, `share.delivery.count.limit`, `share.isolation.level`.
    pub struct ShareConsumerConfig {
        embed client: ClientConfig as ClientSettings;

        /// The share group that this consumer is a member of. Always needed.
        "group.id" => group_id: Option<String> = None;
        /// Who says that a record was dealt with: `implicit` accepts what was handed out when the application comes back,
        /// `explicit` leaves it to the application.
        "share.acknowledgement.mode" => share_acknowledgement_mode: AcknowledgementMode = AcknowledgementMode::Implicit;
        /// How strictly a fetch keeps to `max.poll.records`. A broker before Kafka 4.2 knows `batch_optimized` only.
        "share.acquire.mode" => share_acquire_mode: AcquireMode = AcquireMode::BatchOptimized;
        /// How many records a fetch asks for, and how many may wait for the application before no more are fetched.
        "max.poll.records" => max_poll_records: usize = 500, in 1..=INT, because "nothing would be read";
        /// How long the application may take between two calls for records before the member leaves the group. What it
        /// has in hand stays its own for as long as the lock.
        "max.poll.interval.ms" => max_poll_interval: Duration = Duration::from_secs(300),
            in MS..=INT_MS, because "an application needs some time";
        /// How many bytes a broker should have before it answers a fetch.
        "fetch.min.bytes" => fetch_min_bytes: i32 = 1, in 0.., because "a size is not negative";
        /// How long a broker may wait for `fetch.min.bytes`.
        "fetch.max.wait.ms" aka "fetch.wait.max.ms" => fetch_max_wait: Duration = Duration::from_millis(500),
            in Duration::ZERO..=INT_MS, because "it is kept in 31 bits of milliseconds";
        /// How many bytes one answer to a fetch should have at most. The first batch always comes whole.
        "fetch.max.bytes" => fetch_max_bytes: usize = 52_428_800,
            in 1..=INT, because "a size has 31 bits";
        /// Whether the CRC of every batch is checked.
        "check.crcs" => check_crcs: bool = true;
        /// How many bytes may be fetched ahead of the application. One answer of each broker may go beyond it.
        "queued.max.bytes" => queued_max_bytes: usize = 67_108_864,
            in 1.., because "nothing would be fetched";
        /// The most bytes that one compressed batch may unpack to.
        "max.decompressed.batch.bytes" => max_decompressed_batch_bytes: usize = 134_217_728,
            in 1..=INT, because "an offset inside a batch has 31 bits";
    }
    validate = agree;
    refuse = not_of_share_groups;
}

fn agree(config: &ShareConsumerConfig) -> Result<(), ConfigError> {
    if config.group_id.as_deref().is_none_or(str::is_empty) {
        return Err(ConfigError::Invalid {
            name: "group.id".to_owned(),
            value: String::new(),
            expected: "the name of a share group, for a share consumer is always a member of one".to_owned(),
        });
    }
    Ok(())
}

/// Why a setting of other consumers is none of a share consumer's. Java refuses the same ones.
fn not_of_share_groups(name: &str) -> Option<&'static str> {
    Some(match name {
        "auto.offset.reset" => "where a share group begins is a setting of the group: share.auto.offset.reset",
        "isolation.level" => "what is read of transactions is a setting of the share group: share.isolation.level",
        "enable.auto.commit" | "auto.commit.interval.ms" => {
            "a share group commits no offsets; share.acknowledgement.mode=implicit accepts records by itself"
        }
        "group.instance.id" => "a share group has no static members",
        "partition.assignment.strategy" | "group.remote.assignor" => {
            "the partitions of a share group are shared out by the broker"
        }
        "group.protocol" => "a share group has a protocol of its own, and no other",
        "session.timeout.ms" | "heartbeat.interval.ms" => {
            "the broker says this to the members of a share group: share.session.timeout.ms and \
             share.heartbeat.interval.ms are settings of the group"
        }
        "max.partition.fetch.bytes" | "fetch.message.max.bytes" => {
            "a share fetch has no limit for each partition; set fetch.max.bytes or max.poll.records"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_share_group_has_not_is_refused_with_a_reason() {
        let mut config = ShareConsumerConfig::new();
        for name in [
            "auto.offset.reset",
            "enable.auto.commit",
            "group.instance.id",
            "isolation.level",
            "partition.assignment.strategy",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "group.protocol",
            "group.remote.assignor",
        ] {
            let error = config.set(name, "1").unwrap_err();
            assert!(matches!(&error, ConfigError::Unsupported { name: said, .. } if said == name), "{error}");
            assert!(error.to_string().contains("share"), "{error}");
        }
        assert!(matches!(config.set("no.such", "1"), Err(ConfigError::Unknown { .. })));
        assert_eq!(config, ShareConsumerConfig::new());
    }

    #[test]
    fn names_and_values_are_kafkas() {
        let text = "bootstrap.servers=b:9092\ngroup.id=g\nshare.acquire.mode=record_limit\nshare.acknowledgement.mode=explicit\n";
        let config = ShareConsumerConfig::from_properties_text(text).unwrap();
        assert_eq!(config.share_acquire_mode, AcquireMode::RecordLimit);
        assert_eq!(config.share_acknowledgement_mode, AcknowledgementMode::Explicit);
        let client = ShareConsumerConfig::new().bootstrap_servers("b:9092");
        let nobody = client.clone().validate().unwrap_err();
        assert_eq!(nobody.name(), "group.id");
        assert_eq!(client.group_id("").validate().unwrap_err().name(), "group.id");
    }
}
