//! Keys and values of `__consumer_offsets`, in Kafka's own format: a big-endian version, then the message.
//!
//! The version of a key is also the type of the record: 0 and 1 are an offset, 2 is a classic group's metadata, 3 to 8
//! and 16 are of consumer groups, 10 to 15 of share groups.

use bytes::Bytes;
use rkafka_protocol::messages::group_metadata_key::GroupMetadataKey;
use rkafka_protocol::messages::group_metadata_value::GroupMetadataValue;
use rkafka_protocol::messages::offset_commit_key::OffsetCommitKey;
use rkafka_protocol::messages::offset_commit_value::OffsetCommitValue;
use rkafka_protocol::wire::{DecodeError, EncodeError, Message, Reader, Writer};
use thiserror::Error;

use super::consumer::{ConsumerRecord, is_consumer_group_type};
use super::share::{ShareGroupRecord, is_share_group_type};
use crate::InternalRecord;

/// The record types, which Kafka writes where a version stands. Offsets had type 0 before there were timestamps.
const OFFSET_COMMIT_TYPES: [i16; 2] = [0, 1];
const GROUP_METADATA_TYPE: i16 = 2;
/// What Kafka 4.3 writes.
const GROUP_METADATA_VERSION: i16 = 3;
/// What Kafka 4.3 writes: with the topic id where it is known, or the old layout where the client chose an expiry.
const OFFSET_VERSION: i16 = 4;
const OFFSET_VERSION_WITH_EXPIRY: i16 = 1;

/// Why a record of `__consumer_offsets` cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("a record of __consumer_offsets cannot be read: {part}: {source}")]
pub struct ReplayError {
    part: &'static str,
    source: DecodeError,
}

impl ReplayError {
    pub(super) fn of(part: &'static str) -> impl Fn(DecodeError) -> Self {
        move |source| Self { part, source }
    }
}

/// A record that a shard understands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum GroupRecord {
    Offset {
        key: OffsetCommitKey,
        value: Option<OffsetCommitValue>,
    },
    Group {
        key: GroupMetadataKey,
        value: Option<GroupMetadataValue>,
    },
    /// Of a consumer group.
    Consumer {
        group_id: String,
        record: ConsumerRecord,
    },
    /// Of a share group.
    Share {
        group_id: String,
        record: ShareGroupRecord,
    },
    /// Of a type that this broker does not write: other kinds of groups.
    Other {
        record_type: i16,
    },
}

impl GroupRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// Bytes that are not what their type says.
    pub fn read(key: Bytes, value: Option<Bytes>) -> Result<Self, ReplayError> {
        let mut reader = Reader::new(key);
        let record_type = reader.i16().map_err(ReplayError::of("type of the key"))?;
        if OFFSET_COMMIT_TYPES.contains(&record_type) {
            let key = OffsetCommitKey::decode(&mut reader, 0).map_err(ReplayError::of("key of an offset"))?;
            Ok(Self::Offset { key, value: read_value(value, "value of an offset")? })
        } else if record_type == GROUP_METADATA_TYPE {
            let key = GroupMetadataKey::decode(&mut reader, 0).map_err(ReplayError::of("key of a group"))?;
            Ok(Self::Group { key, value: read_value(value, "value of a group")? })
        } else if is_consumer_group_type(record_type) {
            let (group_id, record) = ConsumerRecord::read(record_type, &mut reader, value)?;
            Ok(Self::Consumer { group_id, record })
        } else if is_share_group_type(record_type) {
            let (group_id, record) = ShareGroupRecord::read(record_type, &mut reader, value)?;
            Ok(Self::Share { group_id, record })
        } else {
            Ok(Self::Other { record_type })
        }
    }
}

pub(super) fn read_value<M: Message>(value: Option<Bytes>, part: &'static str) -> Result<Option<M>, ReplayError> {
    value
        .map(|bytes| {
            let mut reader = Reader::new(bytes);
            let version = reader.i16()?;
            M::decode(&mut reader, version)
        })
        .transpose()
        .map_err(ReplayError::of(part))
}

pub(super) fn versioned<M: Message>(prefix: i16, message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(prefix);
    message.encode(&mut writer, version)?;
    Ok(Bytes::from(writer.into_vec()))
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Result<Bytes, EncodeError> {
    let key = OffsetCommitKey { group: group.to_owned(), topic: topic.to_owned(), partition };
    versioned(1, &key, 0)
}

fn group_key(group: &str) -> Result<Bytes, EncodeError> {
    versioned(GROUP_METADATA_TYPE, &GroupMetadataKey { group: group.to_owned() }, 0)
}

/// The record of a committed offset.
pub(super) fn offset(
    group: &str,
    topic: &str,
    partition: i32,
    value: &OffsetCommitValue,
) -> Result<InternalRecord, EncodeError> {
    let version = if value.expire_timestamp == -1 { OFFSET_VERSION } else { OFFSET_VERSION_WITH_EXPIRY };
    Ok(InternalRecord { key: offset_key(group, topic, partition)?, value: Some(versioned(version, value, version)?) })
}

/// The record that takes a committed offset away.
pub(super) fn offset_tombstone(group: &str, topic: &str, partition: i32) -> Result<InternalRecord, EncodeError> {
    Ok(InternalRecord { key: offset_key(group, topic, partition)?, value: None })
}

/// The record of a group's metadata.
pub(super) fn group(group: &str, value: &GroupMetadataValue) -> Result<InternalRecord, EncodeError> {
    let value = versioned(GROUP_METADATA_VERSION, value, GROUP_METADATA_VERSION)?;
    Ok(InternalRecord { key: group_key(group)?, value: Some(value) })
}

/// The record that takes a group away.
pub(super) fn group_tombstone(group: &str) -> Result<InternalRecord, EncodeError> {
    Ok(InternalRecord { key: group_key(group)?, value: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_has_kafkas_bytes() {
        let value = OffsetCommitValue { offset: 7, commit_timestamp: 9, ..Default::default() };
        let record = offset("g", "t", 3, &value).unwrap();
        assert_eq!(record.key.as_ref(), [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 3]);
        let mut expected = vec![0, 4];
        expected.extend_from_slice(&7i64.to_be_bytes());
        expected.extend_from_slice(&(-1i32).to_be_bytes());
        expected.push(1); // A compact empty string.
        expected.extend_from_slice(&9i64.to_be_bytes());
        expected.push(0); // No tagged fields.
        assert_eq!(record.value.as_deref(), Some(expected.as_slice()));
    }

    #[test]
    fn an_offset_with_its_own_expiry_keeps_it() {
        let value = OffsetCommitValue { offset: 7, expire_timestamp: 11, ..Default::default() };
        let record = offset("g", "t", 3, &value).unwrap();
        match GroupRecord::read(record.key, record.value).unwrap() {
            GroupRecord::Offset { value: Some(read), .. } => assert_eq!(read.expire_timestamp, 11),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn foreign_bytes_are_an_error_and_newer_types_are_none() {
        assert!(GroupRecord::read(Bytes::from_static(&[0]), None).is_err());
        assert!(GroupRecord::read(Bytes::from_static(&[0, 1, 0, 9, 1]), None).is_err());
        assert!(GroupRecord::read(Bytes::from_static(&[0, 2, 0, 1, b'g']), Some(Bytes::from_static(&[0, 9]))).is_err());
        let newer = GroupRecord::read(Bytes::from_static(&[0, 17, 1, 2]), None).unwrap();
        assert_eq!(newer, GroupRecord::Other { record_type: 17 });
    }
}
