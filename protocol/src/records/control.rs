//! Control batches: transaction markers, and the records by which a quorum tells of itself.

use super::builder::{BatchBuilder, BatchOptions, NO_HEADERS};
use super::compression::{Codec, Compressor};
use super::error::RecordError;
use super::header::NO_SEQUENCE;
use super::sealed::SealedBatch;
use super::view::RecordView;

/// What a control record says, by the type in its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlRecordType {
    /// A transaction was aborted.
    Abort,
    /// A transaction was committed.
    Commit,
    /// A leader was elected in a KRaft quorum (`LeaderChangeMessage`).
    LeaderChange,
    /// First record of a snapshot (`SnapshotHeaderRecord`).
    SnapshotHeader,
    /// Last record of a snapshot (`SnapshotFooterRecord`).
    SnapshotFooter,
    /// The quorum's `kraft.version` (KIP-853).
    KRaftVersion,
    /// The quorum's voters (KIP-853).
    KRaftVoters,
    /// A type of a newer Kafka: to be skipped.
    Unknown(i16),
}

impl ControlRecordType {
    /// The number in the key.
    pub const fn id(self) -> i16 {
        match self {
            ControlRecordType::Abort => 0,
            ControlRecordType::Commit => 1,
            ControlRecordType::LeaderChange => 2,
            ControlRecordType::SnapshotHeader => 3,
            ControlRecordType::SnapshotFooter => 4,
            ControlRecordType::KRaftVersion => 5,
            ControlRecordType::KRaftVoters => 6,
            ControlRecordType::Unknown(id) => id,
        }
    }

    /// The type of a number.
    pub const fn from_id(id: i16) -> ControlRecordType {
        match id {
            0 => ControlRecordType::Abort,
            1 => ControlRecordType::Commit,
            2 => ControlRecordType::LeaderChange,
            3 => ControlRecordType::SnapshotHeader,
            4 => ControlRecordType::SnapshotFooter,
            5 => ControlRecordType::KRaftVersion,
            6 => ControlRecordType::KRaftVoters,
            other => ControlRecordType::Unknown(other),
        }
    }

    /// The key of a control record: version 0 and the type.
    pub const fn to_key(self) -> [u8; 4] {
        let id = self.id().to_be_bytes();
        [0, 0, id[0], id[1]]
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionResult {
    /// It was committed.
    Commit,
    /// It was aborted.
    Abort,
}

/// The marker that ends a transaction in a partition (`EndTxnMarker` version 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// How it ended.
    pub result: TransactionResult,
    /// Epoch of the transaction coordinator that decided.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// The marker's batch, finished. `options` give the offset, the leader epoch, the producer's id and its epoch; the
    /// flags are set here, and the sequence to -1.
    ///
    /// # Errors
    /// `timestamp_ms` is out of range.
    pub fn encode(&self, options: BatchOptions, timestamp_ms: i64) -> Result<SealedBatch, RecordError> {
        let record_type = match self.result {
            TransactionResult::Commit => ControlRecordType::Commit,
            TransactionResult::Abort => ControlRecordType::Abort,
        };
        let mut value = [0; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        let attributes = options.attributes.with_transactional(true);
        encode_control_batch(options.with_attributes(attributes), timestamp_ms, [(record_type, &value[..])])
    }
}

/// A finished control batch of any types; the values are the messages of the type, encoded.
///
/// # Errors
/// `timestamp_ms` is out of range, or there are no records.
pub fn encode_control_batch<'v>(
    mut options: BatchOptions,
    timestamp_ms: i64,
    records: impl IntoIterator<Item = (ControlRecordType, &'v [u8])>,
) -> Result<SealedBatch, RecordError> {
    options.attributes = options.attributes.with_control(true);
    options.base_sequence = NO_SEQUENCE;
    let mut builder = BatchBuilder::new(Vec::with_capacity(128), options);
    for (record_type, value) in records {
        builder.append(timestamp_ms, Some(&record_type.to_key()), Some(value), NO_HEADERS)?;
    }
    let mut sealed = builder.seal(Codec::NONE, &mut Compressor::new())?;
    sealed.finish();
    Ok(sealed)
}

/// A record of a control batch, parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlRecord<'a> {
    /// What it says.
    pub record_type: ControlRecordType,
    /// Its message, encoded.
    pub value: &'a [u8],
    offset: i64,
}

impl<'a> ControlRecord<'a> {
    /// Parses a record of a batch whose attributes say that it is a control batch. Newer key versions are read as the
    /// first one, as Kafka does.
    ///
    /// # Errors
    /// The key is missing, short or of a negative version.
    pub fn parse(record: &RecordView<'a>) -> Result<ControlRecord<'a>, RecordError> {
        let malformed = |reason| RecordError::MalformedControlRecord { offset: record.offset, reason };
        let key = record.key.ok_or_else(|| malformed("it has no key"))?;
        let key = key.first_chunk::<4>().ok_or_else(|| malformed("its key is shorter than 4 bytes"))?;
        if i16::from_be_bytes([key[0], key[1]]) < 0 {
            return Err(malformed("its key has a negative version"));
        }
        Ok(ControlRecord {
            record_type: ControlRecordType::from_id(i16::from_be_bytes([key[2], key[3]])),
            value: record.value.unwrap_or_default(),
            offset: record.offset,
        })
    }

    /// The transaction marker, if it is one.
    ///
    /// # Errors
    /// The marker's value is short or of a negative version.
    pub fn end_transaction(&self) -> Result<Option<EndTransactionMarker>, RecordError> {
        let result = match self.record_type {
            ControlRecordType::Commit => TransactionResult::Commit,
            ControlRecordType::Abort => TransactionResult::Abort,
            _ => return Ok(None),
        };
        let malformed = |reason| RecordError::MalformedControlRecord { offset: self.offset, reason };
        let value =
            self.value.first_chunk::<6>().ok_or_else(|| malformed("its transaction marker is shorter than 6 bytes"))?;
        if i16::from_be_bytes([value[0], value[1]]) < 0 {
            return Err(malformed("its transaction marker has a negative version"));
        }
        let coordinator_epoch = i32::from_be_bytes([value[2], value[3], value[4], value[5]]);
        Ok(Some(EndTransactionMarker { result, coordinator_epoch }))
    }
}
