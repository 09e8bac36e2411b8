//! What administrators ask: list, describe, delete.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_groups_response::DescribedGroup;
use rkafka_protocol::messages::group_metadata_value::GroupMetadataValue;
use rkafka_protocol::messages::list_groups_response::ListedGroup;

use super::{ClassicState, GroupShard, Outcome, records};

/// The only type of group here; Kafka compares types without regard to case.
const CLASSIC_TYPE: &str = "Classic";
/// The first version of DescribeGroups that says that there is no such group, rather than that it is dead (KIP-1043).
const FIRST_VERSION_WITH_NOT_FOUND: i16 = 6;

impl GroupShard {
    /// The groups of this partition whose state and type are among those given; no filter lets all pass.
    pub fn list(&self, states: &[String], types: &[String]) -> Vec<ListedGroup> {
        if !types.is_empty() && !types.iter().any(|one| one.trim().eq_ignore_ascii_case(CLASSIC_TYPE)) {
            return Vec::new();
        }
        let passes = |state: ClassicState| {
            states.is_empty() || states.iter().any(|one| one.trim().eq_ignore_ascii_case(state.name()))
        };
        let listed = |group_id: &str, protocol_type: &str, state: ClassicState| ListedGroup {
            group_id: group_id.to_owned(),
            protocol_type: protocol_type.to_owned(),
            group_state: state.name().to_owned(),
            group_type: CLASSIC_TYPE.to_owned(),
            ..Default::default()
        };
        let mut groups = Vec::new();
        for group in self.living_groups().filter(|group| passes(group.state())) {
            groups.push(listed(&group.id, group.protocol_type.as_deref().unwrap_or_default(), group.state()));
        }
        if passes(ClassicState::Empty) {
            for (group_id, group) in self.persisted.groups().filter(|(id, _)| self.living(id).is_none()) {
                let protocol_type = group.metadata.as_ref().map_or("", |metadata| metadata.protocol_type.as_str());
                groups.push(listed(group_id, protocol_type, ClassicState::Empty));
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
        let mut records = self.offset_tombstones(group_id)?;
        records.push(records::group_tombstone(group_id).map_err(|_| ErrorCode::InvalidRequest)?);
        Ok(Outcome { records, reply: () })
    }
}
