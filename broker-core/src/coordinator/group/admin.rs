//! What administrators ask: list, describe, delete.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_groups_response::DescribedGroup;
use rkafka_protocol::messages::group_metadata_value::GroupMetadataValue;
use rkafka_protocol::messages::list_groups_response::ListedGroup;

use super::classic::CONSUMER_PROTOCOL_TYPE;
use super::consumer::{Draft, put_tombstones};
use super::share::ShareDraft;
use super::{ClassicState, GroupShard, Outcome, records};

/// The types of groups here; Kafka compares types without regard to case.
const CLASSIC_TYPE: &str = "Classic";
const CONSUMER_TYPE: &str = "Consumer";
const SHARE_TYPE: &str = "Share";
const SHARE_PROTOCOL_TYPE: &str = "share";
/// The first version of DescribeGroups that says that there is no such group, rather than that it is dead (KIP-1043).
const FIRST_VERSION_WITH_NOT_FOUND: i16 = 6;

impl GroupShard {
    /// The groups of this partition whose state and type are among those given; no filter lets all pass.
    pub fn list(&self, states: &[String], types: &[String]) -> Vec<ListedGroup> {
        let mut groups = Vec::new();
        let mut list = |group_id: &str, protocol_type: &str, state: &str, group_type: &str| {
            if passes(types, group_type) && passes(states, state) {
                groups.push(ListedGroup {
                    group_id: group_id.to_owned(),
                    protocol_type: protocol_type.to_owned(),
                    group_state: state.to_owned(),
                    group_type: group_type.to_owned(),
                    ..Default::default()
                });
            }
        };
        for group in self.living_groups() {
            let protocol_type = group.protocol_type.as_deref().unwrap_or_default();
            list(&group.id, protocol_type, group.state().name(), CLASSIC_TYPE);
        }
        for (group_id, group) in self.persisted.groups().filter(|(id, _)| self.living(id).is_none()) {
            if let Some(consumer) = &group.consumer {
                list(group_id, CONSUMER_PROTOCOL_TYPE, consumer.state().name(), CONSUMER_TYPE);
            } else if let Some(share) = &group.share {
                list(group_id, SHARE_PROTOCOL_TYPE, share.state_name(), SHARE_TYPE);
            } else {
                let protocol_type = group.metadata.as_ref().map_or("", |metadata| metadata.protocol_type.as_str());
                list(group_id, protocol_type, ClassicState::Empty.name(), CLASSIC_TYPE);
            }
        }
        groups
    }

    /// A group's state and members. Members' subscriptions are told once the group is stable.
    pub fn describe(&self, group_id: &str, version: i16) -> DescribedGroup {
        let mut described = DescribedGroup { group_id: group_id.to_owned(), ..Default::default() };
        if let Some(group) = self.living(group_id) {
            let protocol = group.protocol.as_deref().filter(|_| group.state() == ClassicState::Stable);
            described.group_state = group.state().name().to_owned();
            described.protocol_type = group.protocol_type.clone().unwrap_or_default();
            described.protocol_data = protocol.unwrap_or_default().to_owned();
            described.members = group.members.values().map(|member| member.described(protocol)).collect();
        } else if self.persisted.consumer(group_id).is_some() || self.persisted.share(group_id).is_some() {
            // Only ConsumerGroupDescribe and ShareGroupDescribe tell of these.
            described.group_state = ClassicState::Dead.name().to_owned();
            if version >= FIRST_VERSION_WITH_NOT_FOUND {
                described.error_code = ErrorCode::GroupIdNotFound.code();
                described.error_message = Some(format!("Group {group_id} is not a classic group."));
            }
        } else if let Some(group) = self.persisted.group(group_id) {
            let protocol_type = |metadata: &GroupMetadataValue| metadata.protocol_type.clone();
            described.group_state = ClassicState::Empty.name().to_owned();
            described.protocol_type = group.metadata.as_ref().map(protocol_type).unwrap_or_default();
        } else {
            described.group_state = ClassicState::Dead.name().to_owned();
            if version >= FIRST_VERSION_WITH_NOT_FOUND {
                described.error_code = ErrorCode::GroupIdNotFound.code();
                described.error_message = Some(format!("Group {group_id} not found."));
            }
        }
        described
    }

    /// Decides about the deletion of a group: tombstones for it and for its offsets. Once they are appended,
    /// [`GroupShard::deleted`] is to be called.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`; `NON_EMPTY_GROUP` where it has members.
    pub fn decide_delete(&self, group_id: &str) -> Result<Outcome<()>, ErrorCode> {
        match self.living(group_id).map(|group| group.state()) {
            Some(ClassicState::Dead) => return Err(ErrorCode::GroupIdNotFound),
            Some(ClassicState::Empty) => {}
            Some(_) => return Err(ErrorCode::NonEmptyGroup),
            None if self.persisted.group(group_id).is_none() => return Err(ErrorCode::GroupIdNotFound),
            None => {}
        }
        let consumer = self.persisted.consumer(group_id);
        if consumer.is_some_and(|group| !group.members.is_empty()) {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let share = self.persisted.share(group_id);
        if share.is_some_and(|group| !group.members.is_empty()) {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let mut records = self.offset_tombstones(group_id)?;
        if consumer.is_some() {
            let mut draft = Draft::of(group_id, consumer);
            put_tombstones(&mut draft).map_err(|error| error.code)?;
            records.append(&mut draft.records);
        } else if share.is_some() {
            let mut draft = ShareDraft::of(group_id, share);
            draft.put_tombstones().map_err(|error| error.code)?;
            records.append(&mut draft.records);
        } else {
            records.push(records::group_tombstone(group_id).map_err(|_| ErrorCode::InvalidRequest)?);
        }
        Ok(Outcome { records, reply: () })
    }
}

/// Whether a name is among those that are asked for; none lets all pass.
fn passes(asked: &[String], name: &str) -> bool {
    asked.is_empty() || asked.iter().any(|one| one.trim().eq_ignore_ascii_case(name))
}
