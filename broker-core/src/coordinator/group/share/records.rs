//! The records of share groups in `__consumer_offsets`, in Kafka's own format (types 10 to 15).

use bytes::Bytes;
use rkafka_protocol::messages::share_group_current_member_assignment_key::ShareGroupCurrentMemberAssignmentKey;
use rkafka_protocol::messages::share_group_current_member_assignment_value::ShareGroupCurrentMemberAssignmentValue;
use rkafka_protocol::messages::share_group_member_metadata_key::ShareGroupMemberMetadataKey;
use rkafka_protocol::messages::share_group_member_metadata_value::ShareGroupMemberMetadataValue;
use rkafka_protocol::messages::share_group_metadata_key::ShareGroupMetadataKey;
use rkafka_protocol::messages::share_group_metadata_value::ShareGroupMetadataValue;
use rkafka_protocol::messages::share_group_state_partition_metadata_key::ShareGroupStatePartitionMetadataKey;
use rkafka_protocol::messages::share_group_state_partition_metadata_value::ShareGroupStatePartitionMetadataValue;
use rkafka_protocol::messages::share_group_target_assignment_member_key::ShareGroupTargetAssignmentMemberKey;
use rkafka_protocol::messages::share_group_target_assignment_member_value::ShareGroupTargetAssignmentMemberValue;
use rkafka_protocol::messages::share_group_target_assignment_metadata_key::ShareGroupTargetAssignmentMetadataKey;
use rkafka_protocol::messages::share_group_target_assignment_metadata_value::ShareGroupTargetAssignmentMetadataValue;
use rkafka_protocol::wire::{EncodeError, Message, Reader};

use crate::InternalRecord;
use crate::coordinator::group::records::{ReplayError, read_value, versioned};

const MEMBER_TYPE: i16 = 10;
const GROUP_TYPE: i16 = 11;
const TARGET_EPOCH_TYPE: i16 = 12;
const TARGET_TYPE: i16 = 13;
const CURRENT_TYPE: i16 = 14;
const STATES_TYPE: i16 = 15;

/// Whether a record type is one of a share group's.
pub(in crate::coordinator::group) fn is_share_group_type(record_type: i16) -> bool {
    matches!(record_type, MEMBER_TYPE..=STATES_TYPE)
}

/// What a record says about a group; `None` takes it away.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::coordinator::group) enum ShareGroupRecord {
    /// Who a member is and what it subscribes to.
    Member { member_id: String, value: Option<ShareGroupMemberMetadataValue> },
    /// The group's epoch; its tombstone ends the group.
    Group(Option<ShareGroupMetadataValue>),
    /// The epoch of the target assignment.
    TargetEpoch(Option<ShareGroupTargetAssignmentMetadataValue>),
    /// What a member shall have.
    Target { member_id: String, value: Option<ShareGroupTargetAssignmentMemberValue> },
    /// What a member has.
    Current { member_id: String, value: Option<ShareGroupCurrentMemberAssignmentValue> },
    /// The partitions of which the share coordinator keeps a state for the group.
    States(Option<ShareGroupStatePartitionMetadataValue>),
}

impl ShareGroupRecord {
    /// Whether it takes something away.
    pub fn is_tombstone(&self) -> bool {
        match self {
            Self::Member { value, .. } => value.is_none(),
            Self::Group(value) => value.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::Target { value, .. } => value.is_none(),
            Self::Current { value, .. } => value.is_none(),
            Self::States(value) => value.is_none(),
        }
    }

    /// Reads a record whose type was read from its key, and the group that it is about.
    ///
    /// # Errors
    /// Bytes that are not what their type says.
    pub fn read(record_type: i16, key: &mut Reader, value: Option<Bytes>) -> Result<(String, Self), ReplayError> {
        let key_of = |part| ReplayError::of(part);
        Ok(match record_type {
            MEMBER_TYPE => {
                let key =
                    ShareGroupMemberMetadataKey::decode(key, 0).map_err(key_of("key of a share group's member"))?;
                let value = read_value(value, "value of a share group's member")?;
                (key.group_id, Self::Member { member_id: key.member_id, value })
            }
            GROUP_TYPE => {
                let key = ShareGroupMetadataKey::decode(key, 0).map_err(key_of("key of a share group"))?;
                (key.group_id, Self::Group(read_value(value, "value of a share group")?))
            }
            TARGET_EPOCH_TYPE => {
                let key = ShareGroupTargetAssignmentMetadataKey::decode(key, 0)
                    .map_err(key_of("key of a share group's target assignment's epoch"))?;
                (key.group_id, Self::TargetEpoch(read_value(value, "epoch of a share group's target assignment")?))
            }
            TARGET_TYPE => {
                let key = ShareGroupTargetAssignmentMemberKey::decode(key, 0)
                    .map_err(key_of("key of a share group's target assignment"))?;
                let value = read_value(value, "target assignment of a share group")?;
                (key.group_id, Self::Target { member_id: key.member_id, value })
            }
            CURRENT_TYPE => {
                let key = ShareGroupCurrentMemberAssignmentKey::decode(key, 0)
                    .map_err(key_of("key of a share group's current assignment"))?;
                let value = read_value(value, "current assignment of a share group")?;
                (key.group_id, Self::Current { member_id: key.member_id, value })
            }
            _ => {
                let key = ShareGroupStatePartitionMetadataKey::decode(key, 0)
                    .map_err(key_of("key of a share group's partitions"))?;
                (key.group_id, Self::States(read_value(value, "partitions of a share group")?))
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
            Self::Member { member_id, value } => {
                let key = ShareGroupMemberMetadataKey { group_id, member_id: member_id.clone() };
                InternalRecord { key: versioned(MEMBER_TYPE, &key, 0)?, value: encode_value(value.as_ref())? }
            }
            Self::Group(value) => InternalRecord {
                key: versioned(GROUP_TYPE, &ShareGroupMetadataKey { group_id }, 0)?,
                value: encode_value(value.as_ref())?,
            },
            Self::TargetEpoch(value) => InternalRecord {
                key: versioned(TARGET_EPOCH_TYPE, &ShareGroupTargetAssignmentMetadataKey { group_id }, 0)?,
                value: encode_value(value.as_ref())?,
            },
            Self::Target { member_id, value } => {
                let key = ShareGroupTargetAssignmentMemberKey { group_id, member_id: member_id.clone() };
                InternalRecord { key: versioned(TARGET_TYPE, &key, 0)?, value: encode_value(value.as_ref())? }
            }
            Self::Current { member_id, value } => {
                let key = ShareGroupCurrentMemberAssignmentKey { group_id, member_id: member_id.clone() };
                InternalRecord { key: versioned(CURRENT_TYPE, &key, 0)?, value: encode_value(value.as_ref())? }
            }
            Self::States(value) => InternalRecord {
                key: versioned(STATES_TYPE, &ShareGroupStatePartitionMetadataKey { group_id }, 0)?,
                value: encode_value(value.as_ref())?,
            },
        })
    }
}

fn encode_value<M: Message>(value: Option<&M>) -> Result<Option<Bytes>, EncodeError> {
    value.map(|value| versioned(0, value, 0)).transpose()
}
