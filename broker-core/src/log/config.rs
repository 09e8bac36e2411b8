//! The settings of one log, under Kafka's own names.

use rkafka_protocol::records::{Codec, Compression};

use super::throttled_replicas::ThrottledReplicas;

/// Which time a record bears (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The time that the producer set (`CreateTime`).
    #[default]
    CreateTime,
    /// The time when the broker appended the batch (`LogAppendTime`).
    LogAppendTime,
}

/// What becomes of a log's old records (`cleanup.policy`). With neither, they are kept for ever, as in Kafka 4 with the
/// empty list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// The cleaner keeps the last record of each key, and appends without a key are refused.
    pub compact: bool,
    /// Segments go by time and by size.
    pub delete: bool,
}

impl CleanupPolicy {
    /// Reads Kafka's list: `compact`, `delete`, both with a comma between them, or nothing.
    ///
    /// # Errors
    /// What is wrong with it, in Kafka's words.
    pub fn parse(text: &str) -> Result<CleanupPolicy, String> {
        let mut policy = CleanupPolicy { compact: false, delete: false };
        if text.trim().is_empty() {
            return Ok(policy);
        }
        for name in text.split(',').map(str::trim) {
            match name {
                "compact" => policy.compact = true,
                "delete" => policy.delete = true,
                "" => return Err("values must not be empty.".to_owned()),
                _ => return Err("String must be one of: compact, delete".to_owned()),
            }
        }
        Ok(policy)
    }
}

/// Settings of a log. The defaults are those of Kafka 4.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that would grow beyond this is closed and a new one begun. Default 1 GiB.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment older than this is closed even when it is not full. Default 7 days, in milliseconds.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: up to how much earlier than by `segment_ms` a segment is closed, so that those of many
    /// partitions do not close at once. Default 0.
    pub segment_jitter_ms: i64,
    /// `index.interval.bytes`: about how many bytes of log lie between two entries of an index. Default 4096.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: the largest an index file may become before its segment is closed. Default 10 MiB.
    pub segment_index_bytes: u32,
    /// `min.insync.replicas`: how many replicas must be in sync for `acks=all` to be taken. Default 1.
    pub min_insync_replicas: i32,
    /// `unclean.leader.election.enable`: whether a replica that may lack acknowledged records leads where no other can. The
    /// log itself does nothing by it; the controller does. Default false.
    pub unclean_leader_election: bool,
    /// `max.message.bytes`: the largest batch that a producer may append. Default 1,048,588.
    pub max_message_bytes: u32,
    /// `compression.type`: how batches are compressed in the log; `None` is Kafka's `producer`, the default, which leaves
    /// each as it came.
    pub compression: Option<Compression>,
    /// `compression.gzip.level`: 1 to 9, or -1, the default, for the codec's own.
    pub compression_gzip_level: i32,
    /// `compression.zstd.level`: -131072 to 22. Default 3.
    pub compression_zstd_level: i32,
    /// `message.timestamp.type`. Default `CreateTime`.
    pub message_timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far behind the broker's clock a record's time may be. Default no limit.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead of the broker's clock a record's time may be. Default 1 hour.
    pub message_timestamp_after_max_ms: i64,
    /// `retention.ms`: segments whose newest record is older than this are removed; -1 keeps them. Default 7 days.
    pub retention_ms: i64,
    /// `retention.bytes`: the oldest segments beyond this size are removed; -1 keeps them. Default -1.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: how long the files of segments that retention has taken out of the log stay, in
    /// milliseconds, under names that end in `.deleted`. Default 1 minute.
    pub file_delete_delay_ms: i64,
    /// `cleanup.policy`. Default `delete`.
    pub cleanup_policy: CleanupPolicy,
    /// `delete.retention.ms`: how long a tombstone stays after the cleaner has first kept it, in milliseconds. Default 1
    /// day.
    pub delete_retention_ms: i64,
    /// `min.cleanable.dirty.ratio`: how much of the log must be uncleaned before it is cleaned, from 0 to 1. Default 0.5.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: how long a record stays uncompacted at least. Default 0.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: how long a record stays uncompacted at most. Default no limit.
    pub max_compaction_lag_ms: i64,
    /// `producer.id.expiration.ms`: how long an idempotent producer that is silent is remembered. Default 1 day.
    pub producer_id_expiration_ms: i64,
    /// `flush.messages`: an append that leaves this many records unsynced syncs before it returns. 1 syncs each batch.
    /// Default `i64::MAX`, never: the operating system writes back when it likes, and a loss of power may take the last
    /// seconds of records.
    pub flush_messages: i64,
    /// `flush.ms`: how long a record may stay unsynced, in milliseconds. The log's owner sees to it. Default `i64::MAX`.
    pub flush_ms: i64,
    /// True where the log's owner syncs after each append, many at a time (`log.flush.policy=group`): what is
    /// not on the disk is beyond the high watermark. Default false.
    pub group_commit: bool,
    /// `leader.replication.throttled.replicas`: where followers are held back that read. The log itself does nothing by it.
    pub leader_throttled: ThrottledReplicas,
    /// `follower.replication.throttled.replicas`: which replicas are held back that follow. The log itself does nothing by
    /// it.
    pub follower_throttled: ThrottledReplicas,
}

impl LogConfig {
    /// How batches are to be compressed, `None` where each stays as it came.
    pub(crate) fn codec(&self) -> Option<Codec> {
        let compression = self.compression?;
        let codec = match compression {
            Compression::Gzip => Codec::with_level(compression, self.compression_gzip_level),
            Compression::Zstd => Codec::with_level(compression, self.compression_zstd_level),
            Compression::None | Compression::Snappy | Compression::Lz4 => Ok(Codec::new(compression)),
        };
        // Levels are checked where they are set.
        Some(codec.unwrap_or(Codec::new(compression)))
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            segment_bytes: 1024 * 1024 * 1024,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 * 1024 * 1024,
            min_insync_replicas: 1,
            unclean_leader_election: false,
            max_message_bytes: 1_048_588,
            compression: None,
            compression_gzip_level: Codec::GZIP_LEVEL_DEFAULT,
            compression_zstd_level: Codec::ZSTD_LEVEL_DEFAULT,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 60 * 60 * 1000,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            cleanup_policy: CleanupPolicy { compact: false, delete: true },
            delete_retention_ms: 24 * 60 * 60 * 1000,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            group_commit: false,
            leader_throttled: ThrottledReplicas::None,
            follower_throttled: ThrottledReplicas::None,
        }
    }
}
