//! Keys and values of `__transaction_state`, in Kafka's own format: a big-endian version, then the message.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rkafka_protocol::messages::transaction_log_key::TransactionLogKey;
use rkafka_protocol::messages::transaction_log_value::{PartitionsSchema, TransactionLogValue};
use rkafka_protocol::wire::{DecodeError, EncodeError, Message, Reader, Writer};
use thiserror::Error;

use super::entry::Transaction;
use super::state::TransactionState;
use crate::InternalRecord;

/// The only type of key that there is.
const KEY_VERSION: i16 = 0;
/// What Kafka writes from `transaction.version` 1 on, and before.
const VALUE_VERSION: i16 = 1;
const VALUE_VERSION_BEFORE_FEATURES: i16 = 0;

/// Why a record of `__transaction_state` cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransactionRecordError {
    /// The bytes are not what their version says.
    #[error("the {part} of a record of __transaction_state cannot be read: {source}")]
    Bytes {
        /// Key or value.
        part: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
    /// There is no state of this number.
    #[error("`{transactional_id}` is in a state with the number {state}, which this broker does not know")]
    State {
        /// Whose record it is.
        transactional_id: String,
        /// The number.
        state: i8,
    },
}

fn unreadable(part: &'static str) -> impl Fn(DecodeError) -> TransactionRecordError {
    move |source| TransactionRecordError::Bytes { part, source }
}

/// A record as a shard understands it: the transactional id, and its state or `None` for a tombstone. `None` for a
/// record of a kind that this broker does not know, as newer ones may write.
pub(super) type TransactionRecord = Option<(String, Option<Transaction>)>;

/// Reads a record.
///
/// # Errors
/// Bytes that are not what their version says, or an unknown state.
pub(super) fn read(key: Bytes, value: Option<Bytes>) -> Result<TransactionRecord, TransactionRecordError> {
    let mut reader = Reader::new(key);
    let version = reader.i16().map_err(unreadable("version of the key"))?;
    if version != KEY_VERSION {
        return Ok(None);
    }
    let key = TransactionLogKey::decode(&mut reader, 0).map_err(unreadable("key"))?;
    let Some(value) = value else { return Ok(Some((key.transactional_id, None))) };
    let mut reader = Reader::new(value);
    let version = reader.i16().map_err(unreadable("version of the value"))?;
    let value = TransactionLogValue::decode(&mut reader, version).map_err(unreadable("value"))?;
    let Some(state) = TransactionState::from_id(value.transaction_status) else {
        let state = value.transaction_status;
        return Err(TransactionRecordError::State { transactional_id: key.transactional_id, state });
    };
    let mut partitions: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for topic in value.transaction_partitions.into_iter().flatten() {
        partitions.entry(topic.topic).or_default().extend(topic.partition_ids);
    }
    let transaction = Transaction {
        producer_id: value.producer_id,
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        producer_epoch: value.producer_epoch,
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions,
        start_ms: value.transaction_start_timestamp_ms,
        last_update_ms: value.transaction_last_update_timestamp_ms,
        client_version: value.client_transaction_version,
    };
    Ok(Some((key.transactional_id, Some(transaction))))
}

fn key(transactional_id: &str) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(KEY_VERSION);
    TransactionLogKey { transactional_id: transactional_id.to_owned() }.encode(&mut writer, 0)?;
    Ok(Bytes::from(writer.into_vec()))
}

/// The record of a transactional id's state. Without features (`server_version` 0) the value has no room for the ids
/// that rotate and for the client's version, as in Kafka.
pub(super) fn state(
    transactional_id: &str,
    transaction: &Transaction,
    server_version: i16,
) -> Result<InternalRecord, EncodeError> {
    let version = if server_version >= 1 { VALUE_VERSION } else { VALUE_VERSION_BEFORE_FEATURES };
    let partitions = transaction.partitions.iter().map(|(topic, ids)| PartitionsSchema {
        topic: topic.clone(),
        partition_ids: ids.iter().copied().collect(),
        ..Default::default()
    });
    let mut value = TransactionLogValue {
        producer_id: transaction.producer_id,
        producer_epoch: transaction.producer_epoch,
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_status: transaction.state as i8,
        transaction_partitions: (transaction.state != TransactionState::Empty).then(|| partitions.collect()),
        transaction_last_update_timestamp_ms: transaction.last_update_ms,
        transaction_start_timestamp_ms: transaction.start_ms,
        ..Default::default()
    };
    if version >= VALUE_VERSION {
        value.previous_producer_id = transaction.previous_producer_id;
        value.next_producer_id = transaction.next_producer_id;
        value.client_transaction_version = transaction.client_version;
    }
    let mut writer = Writer::new();
    writer.i16(version);
    value.encode(&mut writer, version)?;
    Ok(InternalRecord { key: key(transactional_id)?, value: Some(Bytes::from(writer.into_vec())) })
}

/// The record that takes a transactional id away.
pub(super) fn tombstone(transactional_id: &str) -> Result<InternalRecord, EncodeError> {
    Ok(InternalRecord { key: key(transactional_id)?, value: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction() -> Transaction {
        Transaction {
            producer_id: 7,
            previous_producer_id: 6,
            next_producer_id: -1,
            producer_epoch: 3,
            timeout_ms: 60_000,
            state: TransactionState::Ongoing,
            partitions: BTreeMap::from([("t".to_owned(), BTreeSet::from([0, 2]))]),
            start_ms: 11,
            last_update_ms: 12,
            client_version: 2,
        }
    }

    #[test]
    fn a_state_has_kafkas_bytes() {
        let record = state("id", &transaction(), 2).unwrap();
        assert_eq!(record.key.as_ref(), [0, 0, 0, 2, b'i', b'd']);
        let mut expected = vec![0, 1];
        expected.extend_from_slice(&7i64.to_be_bytes());
        expected.extend_from_slice(&[0, 3, 0, 0, 0xea, 0x60, 1]);
        // One topic of two partitions, in compact arrays and strings, without tagged fields.
        expected.extend_from_slice(&[2, 2, b't', 3, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        expected.extend_from_slice(&12i64.to_be_bytes());
        expected.extend_from_slice(&11i64.to_be_bytes());
        // Two tagged fields: the previous producer id (tag 0), and the client's version (tag 2).
        expected.extend_from_slice(&[2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 6, 2, 2, 0, 2]);
        assert_eq!(record.value.as_deref(), Some(expected.as_slice()));
        assert_eq!(read(record.key, record.value).unwrap(), Some(("id".to_owned(), Some(transaction()))));
    }

    #[test]
    fn without_features_the_old_layout_is_written() {
        let record = state("id", &transaction(), 0).unwrap();
        assert_eq!(record.value.as_ref().unwrap()[..2], [0, 0]);
        let (_, read) = read(record.key, record.value).unwrap().unwrap();
        let expected = Transaction { previous_producer_id: -1, client_version: 0, ..transaction() };
        assert_eq!(read, Some(expected));
    }

    #[test]
    fn foreign_bytes_are_an_error_and_newer_kinds_are_none() {
        assert!(read(Bytes::from_static(&[0]), None).is_err());
        assert!(read(Bytes::from_static(&[0, 0, 0, 9, 1]), None).is_err());
        let key = Bytes::from_static(&[0, 0, 0, 1, b'i']);
        assert!(read(key.clone(), Some(Bytes::from_static(&[0, 9]))).is_err());
        assert_eq!(read(Bytes::from_static(&[0, 1, 1]), None).unwrap(), None);
        assert_eq!(read(key.clone(), None).unwrap(), Some(("i".to_owned(), None)));
        let mut strange = state("i", &transaction(), 2).unwrap();
        let mut value = strange.value.take().unwrap().to_vec();
        value[16] = 99;
        let error = read(key, Some(value.into())).unwrap_err();
        assert_eq!(error, TransactionRecordError::State { transactional_id: "i".to_owned(), state: 99 });
    }
}
