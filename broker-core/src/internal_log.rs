//! What coordinators need of the broker: append records to an internal topic's partition, and read it all back.

use std::collections::BTreeMap;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::{BatchIter, BatchOptions, DecompressArena, RecordError, encode_batch};

use crate::BrokerState;
use crate::controller::{Decision, placed_replicas, topic_records};
use crate::log::LogError;

/// How much of a partition is read at once while it is replayed.
const REPLAY_BYTES: usize = 1024 * 1024;

/// A record for an internal topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InternalRecord {
    /// The key; compaction keeps the last record of each.
    pub key: Bytes,
    /// The value, or `None` for a tombstone.
    pub value: Option<Bytes>,
}

/// A record of an internal topic as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedRecord {
    /// Its offset.
    pub offset: i64,
    /// Its time in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The key, `None` for null.
    pub key: Option<Bytes>,
    /// The value, `None` for a tombstone.
    pub value: Option<Bytes>,
}

/// The name of the topic that holds groups and their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The logs of internal topics. [`crate::BrokerState`] implements it; a test of a coordinator may do so too.
///
/// All methods return as soon as the page cache has the bytes, and may be called from async code. With group commit a
/// request's answer waits by itself until the bytes are on the disk; who goes on to write elsewhere what must not outlive
/// them waits for [`crate::BrokerState::internal_appends_synced`] before.
pub trait InternalLog: Send + Sync {
    /// Makes the internal topic, if it is not there, with as many partitions as the broker's settings say
    /// (`offsets.topic.num.partitions` for [`OFFSETS_TOPIC`]), and answers how many it has.
    ///
    /// # Errors
    /// `KAFKA_STORAGE_ERROR` where the metadata log cannot be written.
    fn ensure_internal_topic(&self, topic: &str) -> Result<i32, ErrorCode>;

    /// How many partitions the topic has, `None` where it does not exist (yet).
    fn partition_count(&self, topic: &str) -> Option<i32>;

    /// Appends the records as one batch, whose records all bear `now_ms`; answers the offset of the first. With no
    /// records nothing is appended, and the answer is the end of the log.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `RECORD_LIST_TOO_LARGE`, `KAFKA_STORAGE_ERROR`. Nothing was appended then.
    fn append_internal(
        &self,
        topic: &str,
        partition: i32,
        records: &[InternalRecord],
        now_ms: i64,
    ) -> Result<i64, ErrorCode>;

    /// Hands each record of the partition to `each`, in the order of their offsets, from the start of the log to its
    /// end; answers the end.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `KAFKA_STORAGE_ERROR`, `CORRUPT_MESSAGE`.
    fn replay_internal(
        &self,
        topic: &str,
        partition: i32,
        each: &mut dyn FnMut(ReplayedRecord),
    ) -> Result<i64, ErrorCode>;
}

impl InternalLog for BrokerState {
    fn ensure_internal_topic(&self, topic: &str) -> Result<i32, ErrorCode> {
        if let Some(count) = self.partition_count(topic) {
            return Ok(count);
        }
        let partitions = if topic == OFFSETS_TOPIC { self.config.offsets_topic_num_partitions } else { 1 };
        // What Kafka's GroupCoordinatorService gives the topic.
        let configs = BTreeMap::from(
            [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let one_at_a_time = self.change_topics();
        let created = self.controller.submit(self.clock.now_ms(), |image| {
            // Somebody else may have been quicker.
            if image.topic(topic).is_some() {
                return Decision { records: Vec::new(), reply: Ok(()) };
            }
            match placed_replicas(image, usize::try_from(partitions).unwrap_or(1), 1, 0) {
                Ok(replicas) => {
                    let (_, directory_id) = self.dirs.metadata_dir();
                    let records = topic_records(topic, BrokerState::new_id(), &replicas, &configs, directory_id);
                    Decision { records, reply: Ok(()) }
                }
                Err(refusal) => Decision { records: Vec::new(), reply: Err(refusal.error) },
            }
        });
        drop(one_at_a_time);
        match created {
            Ok(Ok(())) => self.partition_count(topic).ok_or(ErrorCode::UnknownTopicOrPartition),
            Ok(Err(error)) => Err(error),
            Err(error) => {
                tracing::error!(%topic, %error, "an internal topic cannot be made");
                Err(ErrorCode::KafkaStorageError)
            }
        }
    }

    fn partition_count(&self, topic: &str) -> Option<i32> {
        self.image().topic(topic).map(|topic| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))
    }

    fn append_internal(
        &self,
        topic: &str,
        partition: i32,
        records: &[InternalRecord],
        now_ms: i64,
    ) -> Result<i64, ErrorCode> {
        let found = self.partition(topic, partition)?;
        if records.is_empty() {
            return found.with_log(now_ms, crate::log::Log::log_end_offset);
        }
        let pairs = records.iter().map(|record| (Some(&record.key[..]), record.value.as_deref()));
        let batch = encode_batch(Vec::new(), BatchOptions::at(0, found.leader_epoch), now_ms, pairs);
        let mut batch = batch
            .map_err(|error| {
                tracing::error!(%topic, partition, %error, "internal records cannot be written");
                ErrorCode::RecordListTooLarge
            })?
            .into_bytes();
        let appended = found.append_internal(&mut batch, None, now_ms).map_err(|failure| {
            tracing::error!(%topic, partition, error = %failure.message, "internal records were not appended");
            failure.error
        })?;
        self.unsynced.note(&found, appended.last_offset + 1);
        Ok(appended.base_offset)
    }

    fn replay_internal(
        &self,
        topic: &str,
        partition: i32,
        each: &mut dyn FnMut(ReplayedRecord),
    ) -> Result<i64, ErrorCode> {
        let found = self.partition(topic, partition)?;
        let now_ms = self.clock.now_ms();
        let mut arena = DecompressArena::default();
        let mut from = found.with_log(now_ms, crate::log::Log::log_start_offset)?;
        loop {
            let read = found.with_log(now_ms, |log| log.read(from, REPLAY_BYTES, log.log_end_offset(), true))?;
            let read = read.map_err(|error: LogError| {
                tracing::error!(%topic, partition, %error, "an internal topic cannot be read");
                ErrorCode::from_code(error.kafka_error_code())
            })?;
            if read.next_offset <= from {
                return Ok(from);
            }
            replay_batches(&read.records, &mut arena, each).map_err(|error| {
                tracing::error!(%topic, partition, %error, "an internal topic has a batch that cannot be read");
                ErrorCode::CorruptMessage
            })?;
            from = read.next_offset;
        }
    }
}

fn replay_batches(
    records: &Bytes,
    arena: &mut DecompressArena,
    each: &mut dyn FnMut(ReplayedRecord),
) -> Result<(), RecordError> {
    for batch in BatchIter::new(records) {
        let batch = batch?;
        if batch.header().attributes.is_control() {
            continue;
        }
        for record in batch.records(arena)? {
            let record = record?;
            each(ReplayedRecord {
                offset: record.offset,
                timestamp_ms: record.timestamp,
                key: record.key.map(Bytes::copy_from_slice),
                value: record.value.map(Bytes::copy_from_slice),
            });
        }
    }
    Ok(())
}
