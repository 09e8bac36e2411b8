//! What coordinators need of the broker: append records to an internal topic's partition, and read it all back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use rkafka_protocol::records::{
    BatchIter, BatchOptions, ControlRecord, ControlRecordType, DecompressArena, NO_PRODUCER_ID, RecordError,
    encode_batch,
};
use tokio::time::timeout_at;

use crate::BrokerState;
use crate::MetadataImage;
use crate::coordinator::share::SHARE_STATE_TOPIC;
use crate::log::{LogError, TransactionMarker, VerificationGuard};
use crate::replication::Partition;

/// How much of a partition is read at once while it is replayed.
const REPLAY_BYTES: usize = 1024 * 1024;

/// How long whoever waits for what is committed in another topic than those of groups and share groups waits for it:
/// transactions, and markers in the partitions of records.
const COMMITTED_WITHIN: Duration = Duration::from_secs(5);

/// The sequence that Kafka's coordinators write in each batch of a transaction: it is not checked for them.
const COORDINATOR_SEQUENCE: i32 = 0;

/// A record for an internal topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InternalRecord {
    /// The key; compaction keeps the last record of each.
    pub key: Bytes,
    /// The value, or `None` for a tombstone.
    pub value: Option<Bytes>,
}

/// What an internal topic holds, as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayedEntry {
    /// A record, of a transaction or not.
    Record(ReplayedRecord),
    /// The end of a producer's transaction in this partition.
    Marker {
        /// The marker's offset.
        offset: i64,
        /// Whose transaction ends.
        producer_id: i64,
        /// Whether what it wrote counts.
        commit: bool,
    },
}

/// A record of an internal topic as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedRecord {
    /// Its offset.
    pub offset: i64,
    /// The producer in whose transaction it was written, or -1; such a record counts once its marker commits it.
    pub producer_id: i64,
    /// Its time in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The key, `None` for null.
    pub key: Option<Bytes>,
    /// The value, `None` for a tombstone.
    pub value: Option<Bytes>,
}

/// Who writes in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionalProducer {
    /// The producer's id.
    pub id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// The permission to begin a transaction in this partition; not needed where it is open already.
    pub guard: Option<VerificationGuard>,
}

/// The name of the topic that holds groups and their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The name of the topic that holds transactional ids and their transactions.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// How far a partition was written, and by the leader of which epoch. What is said on the strength of it must wait until
/// it is committed in that very epoch: a later leader may have something else there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPoint {
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// The offset behind the last record.
    pub end: i64,
}

/// What [`InternalLog::committed`] gives.
pub type CommittedFuture<'a> = Pin<Box<dyn Future<Output = Result<(), ErrorCode>> + Send + 'a>>;

/// What [`InternalLog::ensure_internal_topic`] gives: how many partitions the topic has.
pub type InternalTopicFuture<'a> = Pin<Box<dyn Future<Output = Result<i32, ErrorCode>> + Send + 'a>>;

/// The logs of internal topics. [`crate::BrokerState`] implements it; a test of a coordinator may do so too.
///
/// What appends returns as soon as the page cache has the bytes, and may be called from async code. Who tells somebody of
/// it, or goes on to write elsewhere what must not outlive it, waits for [`InternalLog::committed`] before: with one replica
/// that is so at once, or with group commit once the bytes are on the disk, and with several once enough of them have it.
pub trait InternalLog: Send + Sync {
    /// Makes the internal topic, if it is not there, with as many partitions as the broker's settings say
    /// (`offsets.topic.num.partitions` for [`OFFSETS_TOPIC`], `transaction.state.log.num.partitions` for
    /// [`TRANSACTIONS_TOPIC`]), and answers how many it has.
    ///
    /// # Errors
    /// `KAFKA_STORAGE_ERROR` where the metadata log cannot be written.
    fn ensure_internal_topic<'a>(&'a self, topic: &'a str) -> InternalTopicFuture<'a>;

    /// What exists in the cluster right now.
    fn image(&self) -> Arc<MetadataImage>;

    /// How many partitions the topic has, `None` where it does not exist (yet).
    fn partition_count(&self, topic: &str) -> Option<i32>;

    /// The epoch in which this broker leads the partition. Takes no lock of the log.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`; `UNKNOWN_TOPIC_OR_PARTITION`; `KAFKA_STORAGE_ERROR` where its disk failed: what a
    /// coordinator knows of it is not what its successor will find, so that it is not to be told.
    fn led_epoch(&self, topic: &str, partition: i32) -> Result<i32, ErrorCode>;

    /// Whether all up to `point` is committed, and this broker still leads in the point's epoch.
    fn is_committed(&self, topic: &str, partition: i32, point: LogPoint) -> bool;

    /// Waits until all up to `point` is committed. Cancel safe.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER` where this broker leads no longer, or in another epoch; `KAFKA_STORAGE_ERROR`;
    /// `REQUEST_TIMED_OUT` where it takes too long. Whether the records are there is not known then.
    fn committed<'a>(&'a self, topic: &'a str, partition: i32, point: LogPoint) -> CommittedFuture<'a>;

    /// The partitions that this broker leads of which anything is kept, and whose disks work. The others are empty, or
    /// another broker's.
    fn kept_partitions(&self, topic: &str) -> Vec<i32>;

    /// Appends the records as one batch, whose records all bear `now_ms`, as the leader of `leader_epoch`; answers the
    /// offset of the first. With no records nothing is appended, and the answer is the end of the log.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `RECORD_LIST_TOO_LARGE`, `KAFKA_STORAGE_ERROR`; `NOT_ENOUGH_REPLICAS`;
    /// `NOT_LEADER_OR_FOLLOWER` where this broker leads no longer, or in another epoch. Nothing was appended then.
    fn append_internal(
        &self,
        topic: &str,
        partition: i32,
        leader_epoch: i32,
        records: &[InternalRecord],
        now_ms: i64,
    ) -> Result<i64, ErrorCode>;

    /// Appends records as [`InternalLog::append_internal`] does, but in the transaction of a producer, which is open in
    /// this partition from then on.
    ///
    /// # Errors
    /// The same; `INVALID_PRODUCER_EPOCH` where the partition has seen a later epoch of the producer;
    /// `INVALID_TXN_STATE` where the records would begin the transaction and the producer's guard does not stand.
    fn append_transactional(
        &self,
        topic: &str,
        partition: i32,
        leader_epoch: i32,
        producer: TransactionalProducer,
        records: &[InternalRecord],
        now_ms: i64,
    ) -> Result<i64, ErrorCode>;

    /// Ends a producer's transaction in the partition; answers how far that is in the log.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`; `INVALID_PRODUCER_EPOCH` and `TRANSACTION_COORDINATOR_FENCED` for a marker that
    /// comes too late; `NOT_LEADER_OR_FOLLOWER`; `NOT_ENOUGH_REPLICAS`; `KAFKA_STORAGE_ERROR`.
    fn append_marker(
        &self,
        topic: &str,
        partition: i32,
        marker: &TransactionMarker,
        now_ms: i64,
    ) -> Result<LogPoint, ErrorCode>;

    /// Hands what stands from offset `from` on to `each`, in the order of offsets: about a megabyte of it, so that a
    /// caller may let others work between. A `from` before the start of the log means the start. Answers where to go
    /// on, which is `from` at the end of the log.
    ///
    /// It reads beyond the high watermark, as the loader of Kafka's coordinators does: a new leader's log stays as it is
    /// while it leads, and what it found there will be committed. What is told on the strength of it waits until it is.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `KAFKA_STORAGE_ERROR`, `CORRUPT_MESSAGE`.
    fn read_internal(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        each: &mut dyn FnMut(ReplayedEntry),
    ) -> Result<i64, ErrorCode>;

    /// Hands each record of the partition to `each`, in the order of their offsets, from the start of the log to its
    /// end; answers the end. For topics that have no transactions; markers are left out.
    ///
    /// # Errors
    /// As [`InternalLog::read_internal`].
    fn replay_internal(
        &self,
        topic: &str,
        partition: i32,
        each: &mut dyn FnMut(ReplayedRecord),
    ) -> Result<i64, ErrorCode> {
        let mut from = 0;
        loop {
            let next = self.read_internal(topic, partition, from, &mut |entry| {
                if let ReplayedEntry::Record(record) = entry {
                    each(record);
                }
            })?;
            if next <= from {
                return Ok(from);
            }
            from = next;
        }
    }
}

impl InternalLog for BrokerState {
    fn image(&self) -> Arc<MetadataImage> {
        BrokerState::image(self)
    }

    fn ensure_internal_topic<'a>(&'a self, topic: &'a str) -> InternalTopicFuture<'a> {
        Box::pin(make_internal_topic(self, topic))
    }

    fn partition_count(&self, topic: &str) -> Option<i32> {
        self.image().topic(topic).map(|topic| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))
    }

    fn kept_partitions(&self, topic: &str) -> Vec<i32> {
        let count = self.partition_count(topic).unwrap_or(0);
        let is_kept = |partition: &i32| self.dirs.has(topic, *partition) && self.led_epoch(topic, *partition).is_ok();
        (0..count).filter(is_kept).collect()
    }

    fn led_epoch(&self, topic: &str, partition: i32) -> Result<i32, ErrorCode> {
        let found = self.partition(topic, partition)?;
        found.check_dir()?;
        found.led_epoch()
    }

    fn is_committed(&self, topic: &str, partition: i32, point: LogPoint) -> bool {
        let found = self.partition(topic, partition);
        found.is_ok_and(|found| found.check_dir().is_ok() && found.is_committed(point.leader_epoch, point.end))
    }

    fn committed<'a>(&'a self, topic: &'a str, partition: i32, point: LogPoint) -> CommittedFuture<'a> {
        Box::pin(async move {
            let found = self.partition(topic, partition)?;
            let within = match topic {
                OFFSETS_TOPIC => self.config.offsets_commit_timeout,
                SHARE_STATE_TOPIC => self.config.share_coordinator_write_timeout,
                _ => COMMITTED_WITHIN,
            };
            let deadline = self.clock.now() + within;
            match timeout_at(deadline, found.committed(point.leader_epoch, point.end)).await {
                Ok(committed) => committed,
                Err(_) => Err(ErrorCode::RequestTimedOut),
            }
        })
    }

    fn append_internal(
        &self,
        topic: &str,
        partition: i32,
        leader_epoch: i32,
        records: &[InternalRecord],
        now_ms: i64,
    ) -> Result<i64, ErrorCode> {
        append(self, (topic, partition, leader_epoch), None, records, now_ms)
    }

    fn append_transactional(
        &self,
        topic: &str,
        partition: i32,
        leader_epoch: i32,
        producer: TransactionalProducer,
        records: &[InternalRecord],
        now_ms: i64,
    ) -> Result<i64, ErrorCode> {
        append(self, (topic, partition, leader_epoch), Some(producer), records, now_ms)
    }

    fn append_marker(
        &self,
        topic: &str,
        partition: i32,
        marker: &TransactionMarker,
        now_ms: i64,
    ) -> Result<LogPoint, ErrorCode> {
        let found = self.partition(topic, partition)?;
        check_in_sync(&found)?;
        let appended = found.append_marker(marker, now_ms).map_err(|failure| {
            tracing::warn!(topic, partition, ?marker, error = %failure.message, "a transaction marker was not written");
            failure.error
        })?;
        Ok(LogPoint { leader_epoch: appended.leader_epoch, end: appended.last_offset + 1 })
    }

    fn read_internal(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        each: &mut dyn FnMut(ReplayedEntry),
    ) -> Result<i64, ErrorCode> {
        let found = self.partition(topic, partition)?;
        let read = found.with_log(self.clock.now_ms(), |log| {
            let from = from.max(log.log_start_offset());
            log.read(from, REPLAY_BYTES, log.log_end_offset(), true)
        })?;
        let read = read.map_err(|error: LogError| {
            tracing::error!(%topic, partition, %error, "an internal topic cannot be read");
            ErrorCode::from_code(error.kafka_error_code())
        })?;
        hand_out(&read.records, &mut DecompressArena::default(), each).map_err(|error| {
            tracing::error!(%topic, partition, %error, "an internal topic has a batch that cannot be read");
            ErrorCode::CorruptMessage
        })?;
        Ok(read.next_offset.max(from))
    }
}

async fn make_internal_topic(broker: &BrokerState, topic: &str) -> Result<i32, ErrorCode> {
    if topic == SHARE_STATE_TOPIC && !broker.has_coordinators() {
        return Err(ErrorCode::CoordinatorNotAvailable);
    }
    if let Some(count) = broker.partition_count(topic) {
        return Ok(count);
    }
    let (partitions, segment_bytes) = match topic {
        OFFSETS_TOPIC => (broker.config.offsets_topic_num_partitions, 104_857_600),
        TRANSACTIONS_TOPIC => {
            (broker.config.transaction_state_log_num_partitions, broker.config.transaction_state_log_segment_bytes)
        }
        SHARE_STATE_TOPIC => (
            broker.config.share_coordinator_state_topic_num_partitions,
            broker.config.share_coordinator_state_topic_segment_bytes,
        ),
        _ => (1, 104_857_600),
    };
    let min_isr = match topic {
        TRANSACTIONS_TOPIC => Some(broker.config.transaction_state_log_min_isr),
        SHARE_STATE_TOPIC => Some(broker.config.share_coordinator_state_topic_min_isr),
        _ => None,
    };
    // What Kafka's coordinators give their topics, and this broker knows.
    let mut configs = vec![
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", segment_bytes.to_string()),
    ];
    configs.extend(min_isr.map(|replicas| ("min.insync.replicas", replicas.to_string())));
    let configs = configs.into_iter().map(|(name, value)| CreatableTopicConfig {
        name: name.to_owned(),
        value: Some(value),
        ..Default::default()
    });
    let asked = CreatableTopic {
        name: topic.to_owned(),
        num_partitions: partitions,
        replication_factor: broker.internal_replication_factor(topic),
        configs: configs.collect(),
        ..Default::default()
    };
    let created = broker.create_topics_anywhere(vec![asked]).await.pop();
    match created {
        // Somebody else may have been quicker.
        Some(Ok(()) | Err(ErrorCode::TopicAlreadyExists)) => {
            broker.partition_count(topic).ok_or(ErrorCode::CoordinatorNotAvailable)
        }
        Some(Err(error)) => {
            tracing::warn!(%topic, error = error.name(), "an internal topic cannot be made now");
            // Whatever it is, as that fewer brokers are there than replicas are wanted, may pass.
            Err(if error == ErrorCode::KafkaStorageError { error } else { ErrorCode::CoordinatorNotAvailable })
        }
        None => Err(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Coordinators write as with `acks=all`.
fn check_in_sync(partition: &Partition) -> Result<(), ErrorCode> {
    match partition.shortage() {
        None => Ok(()),
        Some((in_sync, least)) => {
            let (topic, index) = (&*partition.topic, partition.index);
            tracing::debug!(topic, index, in_sync, least, "too few replicas are in sync for what is to be written");
            Err(ErrorCode::NotEnoughReplicas)
        }
    }
}

fn append(
    broker: &BrokerState,
    (topic, partition, leader_epoch): (&str, i32, i32),
    producer: Option<TransactionalProducer>,
    records: &[InternalRecord],
    now_ms: i64,
) -> Result<i64, ErrorCode> {
    let found = broker.partition(topic, partition)?;
    if records.is_empty() {
        return found.with_log(now_ms, crate::log::Log::log_end_offset);
    }
    check_in_sync(&found)?;
    // Many small records may be one batch, all or none; but what one client says is no more than a client may write.
    let bytes_max = found.with_log(now_ms, |log| log.config().max_message_bytes)? as usize;
    let bytes = |record: &InternalRecord| record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
    if let Some(bytes) = records.iter().map(bytes).find(|bytes| *bytes > bytes_max) {
        tracing::warn!(%topic, partition, bytes, bytes_max, "an internal record is larger than max.message.bytes");
        return Err(ErrorCode::MessageTooLarge);
    }
    let mut options = BatchOptions::at(0, leader_epoch);
    if let Some(TransactionalProducer { id, epoch, .. }) = producer {
        let attributes = options.attributes.with_transactional(true);
        options = options.with_attributes(attributes).with_producer(id, epoch, COORDINATOR_SEQUENCE);
    }
    let pairs = records.iter().map(|record| (Some(&record.key[..]), record.value.as_deref()));
    let batch = encode_batch(Vec::new(), options, now_ms, pairs);
    let mut batch = batch
        .map_err(|error| {
            tracing::error!(%topic, partition, %error, "internal records cannot be written");
            ErrorCode::RecordListTooLarge
        })?
        .into_bytes();
    let guard = producer.and_then(|producer| producer.guard);
    let appended = found.append_internal(leader_epoch, &mut batch, guard, now_ms).map_err(|failure| {
        tracing::error!(%topic, partition, error = %failure.message, "internal records were not appended");
        failure.error
    })?;
    Ok(appended.base_offset)
}

fn hand_out(
    records: &Bytes,
    arena: &mut DecompressArena,
    each: &mut dyn FnMut(ReplayedEntry),
) -> Result<(), RecordError> {
    for batch in BatchIter::new(records) {
        let batch = batch?;
        let header = *batch.header();
        let producer_id = if header.attributes.is_transactional() { header.producer_id } else { NO_PRODUCER_ID };
        for record in batch.records(arena)? {
            let record = record?;
            if !header.attributes.is_control() {
                each(ReplayedEntry::Record(ReplayedRecord {
                    offset: record.offset,
                    producer_id,
                    timestamp_ms: record.timestamp,
                    key: record.key.map(Bytes::copy_from_slice),
                    value: record.value.map(Bytes::copy_from_slice),
                }));
                continue;
            }
            let commit = match ControlRecord::parse(&record)?.record_type {
                ControlRecordType::Commit => true,
                ControlRecordType::Abort => false,
                // Of a newer Kafka, or of a quorum: nothing that an internal topic's state depends on.
                _ => continue,
            };
            each(ReplayedEntry::Marker { offset: record.offset, producer_id, commit });
        }
    }
    Ok(())
}
