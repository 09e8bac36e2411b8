//! What is inside of a producer's batch: every record is walked before the batch is taken, as Kafka does, for a consumer
//! that meets a broken one cannot go on. A batch that is to be compressed otherwise is written anew here.

use std::fmt;

use rkafka_protocol::records::{
    Attributes, BatchBuilder, BatchOptions, Codec, Compressor, DecompressArena, RecordBatch, RecordError, RecordIter,
    TimestampType as WireTimestampType, set_max_timestamp,
};

use super::batch::NO_TIMESTAMP;
use super::config::{LogConfig, TimestampType};
use super::error::AppendError;

/// Of more records than this it is not said one by one what is wrong with them.
const NAMED_RECORDS_MAX: usize = 1000;
/// Room for unpacked records beyond this is given back after each batch.
const ARENA_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// What the settings of a log say about the records in it.
#[derive(Debug, Clone, Copy)]
pub struct RecordRules {
    /// Whether each record must have a key, because the cleaner goes by keys.
    pub needs_keys: bool,
    /// Which time the records bear.
    pub timestamp_type: TimestampType,
    /// How far behind the broker's clock a record's time may be, in milliseconds.
    pub before_max_ms: i64,
    /// How far ahead of the broker's clock a record's time may be, in milliseconds.
    pub after_max_ms: i64,
    /// The largest batch.
    pub max_message_bytes: u32,
    /// How batches are compressed in the log; `None` leaves each as its producer made it.
    pub codec: Option<Codec>,
}

impl RecordRules {
    /// The rules of a log with these settings.
    pub fn of(config: &LogConfig) -> Self {
        Self {
            needs_keys: config.cleanup_policy.compact,
            timestamp_type: config.message_timestamp_type,
            before_max_ms: config.message_timestamp_before_max_ms,
            after_max_ms: config.message_timestamp_after_max_ms,
            max_message_bytes: config.max_message_bytes,
            codec: config.codec(),
        }
    }

    /// Why a record cannot have this time.
    fn refuses_time(&self, timestamp_ms: i64, now_ms: i64) -> bool {
        let behind_ms = now_ms.saturating_sub(timestamp_ms);
        timestamp_ms != NO_TIMESTAMP
            && (behind_ms > self.before_max_ms || behind_ms.saturating_neg() > self.after_max_ms)
    }
}

/// Walks batches; holds the buffers and contexts that it takes.
#[derive(Debug, Default)]
pub struct RecordValidator {
    arena: DecompressArena,
    compressor: Compressor,
}

/// What a walk over a batch's records found.
struct Walked {
    max_timestamp: i64,
    /// Offset deltas count up from 0.
    is_ordered: bool,
    without_key: Rejected,
    out_of_time: Rejected,
}

/// Records that cannot be in this log, the first of them by their place in the batch and with their time.
#[derive(Default)]
struct Rejected {
    count: usize,
    first: Vec<(i32, i64)>,
}

impl Rejected {
    #[cold]
    fn add(&mut self, index: u32, timestamp: i64) {
        self.count += 1;
        if self.first.len() < NAMED_RECORDS_MAX {
            self.first.push((i32::try_from(index).unwrap_or(i32::MAX), timestamp));
        }
    }

    fn named(&self, reason: impl Fn(i32, i64) -> String) -> Vec<(i32, String)> {
        self.first.iter().map(|(index, timestamp)| (*index, reason(*index, *timestamp))).collect()
    }
}

impl RecordValidator {
    /// Checks one batch of a producer, down to its records' headers. Corrects its greatest time where the producer has
    /// it wrong. Answers the batch to append in its stead where it has to be compressed otherwise, or its records are
    /// numbered wrongly, which Kafka mends in compressed batches too.
    ///
    /// The checksum is checked where something is found wrong or changed; otherwise that is left to the append. What is
    /// wrong with the header is left to it as well. `partition` is for the words of errors.
    ///
    /// # Errors
    /// [`AppendError::InvalidRecord`] for what is no sound batch, [`AppendError::InvalidRecords`] and
    /// [`AppendError::InvalidTimestamps`] for records that the rules forbid, [`AppendError::MessageTooLarge`], and
    /// [`AppendError::CorruptMessage`] where the checksum is wrong.
    pub fn validate(
        &mut self,
        bytes: &mut [u8],
        rules: &RecordRules,
        now_ms: i64,
        partition: fmt::Arguments<'_>,
    ) -> Result<Option<Vec<u8>>, AppendError> {
        let result = self.check(bytes, rules, now_ms, partition);
        self.arena.shrink_to(ARENA_KEPT_BYTES);
        result
    }

    fn check(
        &mut self,
        bytes: &mut [u8],
        rules: &RecordRules,
        now_ms: i64,
        partition: fmt::Arguments<'_>,
    ) -> Result<Option<Vec<u8>>, AppendError> {
        let Ok(batch) = RecordBatch::read(bytes) else { return Ok(None) };
        let header = *batch.header();
        if header.total_len() > rules.max_message_bytes as usize {
            let max_message_bytes = rules.max_message_bytes;
            return Err(AppendError::MessageTooLarge { bytes: header.total_len(), max_message_bytes });
        }
        let Ok(compression) = header.attributes.compression() else { return Ok(None) };
        let walked = batch.records(&mut self.arena).and_then(|records| {
            let walked = walk(records.clone(), rules, now_ms)?;
            Ok((walked, records))
        });
        let is_stamped = header.attributes.timestamp_type() == WireTimestampType::LogAppendTime;
        let has_fault = match &walked {
            Err(_) => true,
            Ok((walked, _)) => is_stamped || walked.without_key.count > 0 || walked.out_of_time.count > 0,
        };
        let codec = rules.codec.filter(|codec| codec.compression() != compression);
        let needs_rewrite = codec.is_some() || matches!(&walked, Ok((walked, _)) if !walked.is_ordered);
        let wrong_maximum = match &walked {
            Ok((walked, _)) if rules.timestamp_type == TimestampType::CreateTime => {
                (walked.max_timestamp != header.max_timestamp).then_some(walked.max_timestamp)
            }
            _ => None,
        };
        if has_fault || needs_rewrite || wrong_maximum.is_some() {
            // What was damaged on the way is not the producer's fault, and must not get a new checksum.
            batch.verify_crc().map_err(|error| corrupt(&error))?;
        }
        let (walked, records) = walked.map_err(|error| invalid(&error))?;
        if walked.without_key.count > 0 {
            let reason = format!("Compacted topic cannot accept message without key in topic partition {partition}.");
            return Err(AppendError::InvalidRecords { records: walked.without_key.named(|_, _| reason.clone()) });
        }
        if is_stamped {
            return Err(AppendError::InvalidTimestamp {
                timestamp_ms: header.max_timestamp,
                reason: "Producer should not set timestamp type to LogAppendTime.".to_owned(),
            });
        }
        if walked.out_of_time.count > 0 {
            let (least, most) = (now_ms.saturating_sub(rules.before_max_ms), now_ms.saturating_add(rules.after_max_ms));
            let records = walked.out_of_time.named(|index, timestamp| {
                format!(
                    "Timestamp {timestamp} of message with offset {index} is out of range. The timestamp should be \
                     within [{least}, {most}]"
                )
            });
            return Err(AppendError::InvalidTimestamps { records });
        }
        if needs_rewrite {
            let mut attributes = Attributes::default();
            attributes = attributes.with_transactional(header.attributes.is_transactional());
            attributes = attributes.with_control(header.attributes.is_control());
            let options = BatchOptions::default()
                .with_producer(header.producer_id, header.producer_epoch, header.base_sequence)
                .with_attributes(attributes);
            let codec = rules.codec.unwrap_or(Codec::new(compression));
            let rewritten = rewrite(records, options, codec, &mut self.compressor);
            return rewritten.map(Some).map_err(|error| invalid(&error));
        }
        if let Some(maximum) = wrong_maximum {
            set_max_timestamp(bytes, maximum).map_err(|error| invalid(&error))?;
        }
        Ok(None)
    }
}

fn walk(records: RecordIter<'_>, rules: &RecordRules, now_ms: i64) -> Result<Walked, RecordError> {
    let mut walked = Walked {
        max_timestamp: NO_TIMESTAMP,
        is_ordered: true,
        without_key: Rejected::default(),
        out_of_time: Rejected::default(),
    };
    let checks_time = rules.timestamp_type == TimestampType::CreateTime;
    for (index, parsed) in (0u32..).zip(records.with_deltas()) {
        let (record, delta) = parsed?;
        record.headers.validate()?;
        walked.max_timestamp = walked.max_timestamp.max(record.timestamp);
        walked.is_ordered &= i64::from(delta) == i64::from(index);
        if rules.needs_keys && record.key.is_none() {
            walked.without_key.add(index, record.timestamp);
        } else if checks_time && rules.refuses_time(record.timestamp, now_ms) {
            walked.out_of_time.add(index, record.timestamp);
        }
    }
    Ok(walked)
}

fn rewrite(
    records: RecordIter<'_>,
    options: BatchOptions,
    codec: Codec,
    compressor: &mut Compressor,
) -> Result<Vec<u8>, RecordError> {
    let mut builder = BatchBuilder::new(Vec::new(), options);
    for record in records {
        let record = record?;
        // The walk has found all headers sound.
        let headers = record.headers.iter().filter_map(Result::ok);
        builder.append(record.timestamp, record.key, record.value, headers)?;
    }
    Ok(builder.seal(codec, compressor)?.into_bytes())
}

fn corrupt(error: &RecordError) -> AppendError {
    AppendError::CorruptMessage { position: 0, reason: error.to_string() }
}

fn invalid(error: &RecordError) -> AppendError {
    AppendError::InvalidRecord { position: 0, reason: error.to_string() }
}
