//! The records of consumer groups in `__consumer_offsets`, in Kafka's own format (types 3 to 8, and 16).

use bytes::Bytes;
use rkafka_protocol::messages::consumer_group_current_member_assignment_key::ConsumerGroupCurrentMemberAssignmentKey;
use rkafka_protocol::messages::consumer_group_current_member_assignment_value::ConsumerGroupCurrentMemberAssignmentValue;
use rkafka_protocol::messages::consumer_group_member_metadata_key::ConsumerGroupMemberMetadataKey;
use rkafka_protocol::messages::consumer_group_member_metadata_value::ConsumerGroupMemberMetadataValue;
use rkafka_protocol::messages::consumer_group_metadata_key::ConsumerGroupMetadataKey;
use rkafka_protocol::messages::consumer_group_metadata_value::ConsumerGroupMetadataValue;
use rkafka_protocol::messages::consumer_group_partition_metadata_key::ConsumerGroupPartitionMetadataKey;
use rkafka_protocol::messages::consumer_group_regular_expression_key::ConsumerGroupRegularExpressionKey;
use rkafka_protocol::messages::consumer_group_regular_expression_value::ConsumerGroupRegularExpressionValue;
use rkafka_protocol::messages::consumer_group_target_assignment_member_key::ConsumerGroupTargetAssignmentMemberKey;
use rkafka_protocol::messages::consumer_group_target_assignment_member_value::ConsumerGroupTargetAssignmentMemberValue;
use rkafka_protocol::messages::consumer_group_target_assignment_metadata_key::ConsumerGroupTargetAssignmentMetadataKey;
use rkafka_protocol::messages::consumer_group_target_assignment_metadata_value::ConsumerGroupTargetAssignmentMetadataValue;
use rkafka_protocol::wire::{EncodeError, Message, Reader};

use crate::InternalRecord;
use crate::coordinator::group::records::{ReplayError, read_value, versioned};

const GROUP_TYPE: i16 = 3;
const PARTITION_METADATA_TYPE: i16 = 4;
const MEMBER_TYPE: i16 = 5;
const TARGET_EPOCH_TYPE: i16 = 6;
const TARGET_TYPE: i16 = 7;
const CURRENT_TYPE: i16 = 8;
const REGEX_TYPE: i16 = 16;

/// Whether a record type is one of a consumer group's.
pub(in crate::coordinator::group) fn is_consumer_group_type(record_type: i16) -> bool {
    matches!(record_type, GROUP_TYPE..=CURRENT_TYPE | REGEX_TYPE)
}

/// What a record says about a group; `None` takes it away.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::coordinator::group) enum ConsumerRecord {
    /// The group's epoch; its tombstone ends the group.
    Group(Option<ConsumerGroupMetadataValue>),
    /// What Kafka 4.0 wrote about the topics of a group; only whether it is there matters.
    PartitionMetadata { is_set: bool },
    /// Who a member is and what it subscribes to.
    Member { member_id: String, value: Option<ConsumerGroupMemberMetadataValue> },
    /// The epoch of the target assignment.
    TargetEpoch(Option<ConsumerGroupTargetAssignmentMetadataValue>),
    /// What a member shall have.
    Target { member_id: String, value: Option<ConsumerGroupTargetAssignmentMemberValue> },
    /// What a member has.
    Current { member_id: String, value: Option<ConsumerGroupCurrentMemberAssignmentValue> },
    /// The topics that a pattern matches.
    Regex { pattern: String, value: Option<ConsumerGroupRegularExpressionValue> },
}

impl ConsumerRecord {
    /// Whether it takes something away.
    pub fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(value) => value.is_none(),
            Self::PartitionMetadata { is_set } => !is_set,
            Self::Member { value, .. } => value.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::Target { value, .. } => value.is_none(),
            Self::Current { value, .. } => value.is_none(),
            Self::Regex { value, .. } => value.is_none(),
        }
    }

    /// Reads a record whose type was read from its key, and the group that it is about.
    ///
    /// # Errors
    /// Bytes that are not what their type says.
    pub fn read(record_type: i16, key: &mut Reader, value: Option<Bytes>) -> Result<(String, Self), ReplayError> {
        let key_of = |part| ReplayError::of(part);
        Ok(match record_type {
            GROUP_TYPE => {
                let key = ConsumerGroupMetadataKey::decode(key, 0).map_err(key_of("key of a consumer group"))?;
                (key.group_id, Self::Group(read_value(value, "value of a consumer group")?))
            }
            PARTITION_METADATA_TYPE => {
                let key =
                    ConsumerGroupPartitionMetadataKey::decode(key, 0).map_err(key_of("key of a group's topics"))?;
                (key.group_id, Self::PartitionMetadata { is_set: value.is_some() })
            }
            MEMBER_TYPE => {
                let key = ConsumerGroupMemberMetadataKey::decode(key, 0).map_err(key_of("key of a member"))?;
                let value = read_value(value, "value of a member")?;
                (key.group_id, Self::Member { member_id: key.member_id, value })
            }
            TARGET_EPOCH_TYPE => {
                let key = ConsumerGroupTargetAssignmentMetadataKey::decode(key, 0)
                    .map_err(key_of("key of a target assignment's epoch"))?;
                (key.group_id, Self::TargetEpoch(read_value(value, "epoch of a target assignment")?))
            }
            TARGET_TYPE => {
                let key = ConsumerGroupTargetAssignmentMemberKey::decode(key, 0)
                    .map_err(key_of("key of a target assignment"))?;
                let value = read_value(value, "target assignment")?;
                (key.group_id, Self::Target { member_id: key.member_id, value })
            }
            CURRENT_TYPE => {
                let key = ConsumerGroupCurrentMemberAssignmentKey::decode(key, 0)
                    .map_err(key_of("key of a current assignment"))?;
                let value = read_value(value, "current assignment")?;
                (key.group_id, Self::Current { member_id: key.member_id, value })
            }
            _ => {
                let key =
                    ConsumerGroupRegularExpressionKey::decode(key, 0).map_err(key_of("key of a topic pattern"))?;
                let value = read_value(value, "value of a topic pattern")?;
                (key.group_id, Self::Regex { pattern: key.regular_expression, value })
            }
        })
    }

    /// The record as it is appended.
    ///
    /// # Errors
    /// A text that is longer than Kafka's format allows.
    pub fn encode(&self, group_id: &str) -> Result<InternalRecord, EncodeError> {
        let group_id = group_id.to_owned();
        Ok(match self {
            Self::Group(value) => InternalRecord {
                key: versioned(GROUP_TYPE, &ConsumerGroupMetadataKey { group_id }, 0)?,
                value: encode_value(value.as_ref())?,
            },
            // This broker keeps a hash instead, so that all it ever writes of this type is the tombstone.
            Self::PartitionMetadata { .. } => InternalRecord {
                key: versioned(PARTITION_METADATA_TYPE, &ConsumerGroupPartitionMetadataKey { group_id }, 0)?,
                value: None,
            },
            Self::Member { member_id, value } => {
                let key = ConsumerGroupMemberMetadataKey { group_id, member_id: member_id.clone() };
                InternalRecord { key: versioned(MEMBER_TYPE, &key, 0)?, value: encode_value(value.as_ref())? }
            }
            Self::TargetEpoch(value) => InternalRecord {
                key: versioned(TARGET_EPOCH_TYPE, &ConsumerGroupTargetAssignmentMetadataKey { group_id }, 0)?,
                value: encode_value(value.as_ref())?,
            },
            Self::Target { member_id, value } => {
                let key = ConsumerGroupTargetAssignmentMemberKey { group_id, member_id: member_id.clone() };
                InternalRecord { key: versioned(TARGET_TYPE, &key, 0)?, value: encode_value(value.as_ref())? }
            }
            Self::Current { member_id, value } => {
                let key = ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id: member_id.clone() };
                InternalRecord { key: versioned(CURRENT_TYPE, &key, 0)?, value: encode_value(value.as_ref())? }
            }
            Self::Regex { pattern, value } => {
                let key = ConsumerGroupRegularExpressionKey { group_id, regular_expression: pattern.clone() };
                InternalRecord { key: versioned(REGEX_TYPE, &key, 0)?, value: encode_value(value.as_ref())? }
            }
        })
    }
}

fn encode_value<M: Message>(value: Option<&M>) -> Result<Option<Bytes>, EncodeError> {
    value.map(|value| versioned(0, value, 0)).transpose()
}
