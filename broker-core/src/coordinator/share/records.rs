//! Keys and values of `__share_group_state`, in Kafka's own format: the type of the record or the version of the value,
//! then the message.
//!
//! Kafka writes a snapshot now and then and the differences between. This broker writes snapshots only: their key is one
//! for each partition of a group, so the topic is compacted like any other, and nobody has to prune it. Differences that
//! Kafka wrote are read.

use bytes::Bytes;
use rkafka_protocol::messages::share_snapshot_key::ShareSnapshotKey;
use rkafka_protocol::messages::share_snapshot_value::{self, ShareSnapshotValue};
use rkafka_protocol::messages::share_update_key::ShareUpdateKey;
use rkafka_protocol::messages::share_update_value::{self, ShareUpdateValue};
use rkafka_protocol::wire::{DecodeError, EncodeError, Message, Reader, Writer};

use super::ShareKey;
use crate::InternalRecord;
use crate::share::{DeliveryState, PersistedBatch};

const SNAPSHOT_TYPE: i16 = 0;
const UPDATE_TYPE: i16 = 1;

/// A record that the shard understands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ShareRecord {
    Snapshot(ShareKey, Option<ShareSnapshotValue>),
    Update(ShareKey, Option<ShareUpdateValue>),
    Other(i16),
}

impl ShareRecord {
    /// # Errors
    /// Bytes that are not what their type says.
    pub fn read(key: Bytes, value: Option<Bytes>) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(key);
        match reader.i16()? {
            SNAPSHOT_TYPE => {
                let key = ShareSnapshotKey::decode(&mut reader, 0)?;
                let key = ShareKey { group_id: key.group_id.into(), topic_id: key.topic_id, partition: key.partition };
                Ok(Self::Snapshot(key, read_value(value)?))
            }
            UPDATE_TYPE => {
                let key = ShareUpdateKey::decode(&mut reader, 0)?;
                let key = ShareKey { group_id: key.group_id.into(), topic_id: key.topic_id, partition: key.partition };
                Ok(Self::Update(key, read_value(value)?))
            }
            other => Ok(Self::Other(other)),
        }
    }
}

fn read_value<M: Message>(value: Option<Bytes>) -> Result<Option<M>, DecodeError> {
    let read = |bytes| {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        M::decode(&mut reader, version)
    };
    value.map(read).transpose()
}

fn versioned<M: Message>(prefix: i16, message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(prefix);
    message.encode(&mut writer, 0)?;
    Ok(Bytes::from(writer.into_vec()))
}

/// The record of a snapshot; without one, that which takes the partition's state away.
pub(super) fn snapshot(key: &ShareKey, value: Option<&ShareSnapshotValue>) -> Result<InternalRecord, EncodeError> {
    let group_id = key.group_id.to_string();
    let key = ShareSnapshotKey { group_id, topic_id: key.topic_id, partition: key.partition };
    let value = value.map(|value| versioned(0, value)).transpose()?;
    Ok(InternalRecord { key: versioned(SNAPSHOT_TYPE, &key)?, value })
}

pub(super) fn to_snapshot(batch: &PersistedBatch) -> share_snapshot_value::StateBatch {
    share_snapshot_value::StateBatch {
        first_offset: batch.first_offset,
        last_offset: batch.last_offset,
        delivery_state: batch.state as i8,
        delivery_count: batch.delivery_count,
        ..Default::default()
    }
}

fn batch(first_offset: i64, last_offset: i64, state: i8, delivery_count: i16) -> Option<PersistedBatch> {
    let state = DeliveryState::of_code(state)?;
    Some(PersistedBatch { first_offset, last_offset, state, delivery_count })
}

/// The batches of a snapshot; one whose state has no meaning is left out, which makes its records available.
pub(super) fn of_snapshot(batches: &[share_snapshot_value::StateBatch]) -> Vec<PersistedBatch> {
    let read = batches.iter();
    read.filter_map(|read| batch(read.first_offset, read.last_offset, read.delivery_state, read.delivery_count))
        .collect()
}

/// As [`of_snapshot`], of an update.
pub(super) fn of_update(batches: &[share_update_value::StateBatch]) -> Vec<PersistedBatch> {
    let read = batches.iter();
    read.filter_map(|read| batch(read.first_offset, read.last_offset, read.delivery_state, read.delivery_count))
        .collect()
}
