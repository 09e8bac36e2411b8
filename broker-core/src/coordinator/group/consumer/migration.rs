//! Groups change their kind (KIP-848): a classic group of consumers becomes a consumer group when the first member of
//! the consumer protocol joins, and a classic group again when the last of them is gone.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_member_metadata_value::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMemberMetadataValue,
};
use rkafka_protocol::messages::consumer_group_metadata_value::ConsumerGroupMetadataValue;
use rkafka_protocol::messages::consumer_group_target_assignment_metadata_value::ConsumerGroupTargetAssignmentMetadataValue;
use rkafka_protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use rkafka_protocol::messages::group_metadata_value::{GroupMetadataValue, MemberMetadata};
use rkafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use rkafka_protocol::wire::{DecodeError, Message, Reader};
use uuid::Uuid;

use super::classic_members::{assignment_bytes, read_subscription};
use super::draft::{Draft, Surroundings};
use super::group::{AssignedPartitions, ConsumerGroup, CurrentAssignment, MemberState, Partitions, blank_metadata};
use super::records::ConsumerRecord;
use super::step::consumer_group_not_found;
use super::{GroupError, subscription};
use crate::controller::MetadataImage;
use crate::coordinator::group::classic::{CONSUMER_PROTOCOL_TYPE, ClassicGroup, join_error, sync_error};
use crate::coordinator::group::{ClassicState, Effects, GroupShard, JoinContext, Moment, Turn, records};

/// What is to be done with the living part of a group that has become another kind.
#[derive(Debug)]
pub(in crate::coordinator::group) enum Conversion {
    /// It was a classic group.
    ToConsumer,
    /// It was a consumer group.
    ToClassic {
        /// What each member can do; the log of a classic group keeps only the protocol that was chosen.
        protocols: BTreeMap<String, Vec<JoinGroupRequestProtocol>>,
        /// A request that is to be taken by the classic group, rather than a rebalance to be begun.
        join: Option<Box<(JoinGroupRequest, JoinContext)>>,
    },
}

impl GroupShard {
    /// A draft of the consumer group of this id. Where there is none, or an empty group of another kind, it is begun if
    /// `create` says so; a classic group of consumers becomes one.
    pub(super) fn consumer_draft<'a>(
        &'a self,
        around: Surroundings<'_>,
        group_id: &'a str,
        create: bool,
    ) -> Result<(Draft<'a>, Option<Conversion>), GroupError> {
        if let Some(group) = self.persisted.consumer(group_id) {
            return Ok((Draft::of(group_id, Some(group)), None));
        }
        if self.persisted.share(group_id).is_some() {
            let message = format!("Group {group_id} is not a consumer group.");
            return Err(GroupError::new(ErrorCode::GroupIdNotFound, message));
        }
        if !create {
            return Err(consumer_group_not_found(group_id));
        }
        let mut draft = Draft::of(group_id, None);
        let logged = self.persisted.group(group_id).is_some_and(|group| group.metadata.is_some());
        if logged {
            draft.records.push(records::group_tombstone(group_id).map_err(|error| cannot_write(&error))?);
        }
        match self.living(group_id) {
            Some(group) if group.state() != ClassicState::Empty => {
                self.check_upgrade(group)?;
                upgrade(&mut draft, group, around)?;
                tracing::info!(group = group_id, "classic group becomes a consumer group");
                Ok((draft, Some(Conversion::ToConsumer)))
            }
            // An id that was promised in an empty classic group is of no use any more.
            Some(_) => Ok((draft, Some(Conversion::ToConsumer))),
            None => Ok((draft, None)),
        }
    }

    fn check_upgrade(&self, group: &ClassicGroup) -> Result<(), GroupError> {
        let id = &group.id;
        let refuse = |reason: &str| {
            let message = format!("Cannot upgrade classic group {id} to consumer group because {reason}.");
            Err(GroupError::new(ErrorCode::GroupIdNotFound, message))
        };
        if !self.settings.consumer.may_upgrade() {
            refuse("online upgrade is disabled")
        } else if group.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) {
            refuse("the group does not use the consumer embedded protocol")
        } else if group.members.len() > self.settings.consumer.max_size {
            refuse("the group size exceeds the consumer group maximum size")
        } else {
            Ok(())
        }
    }

    /// Whether the group is classic once these members are out.
    pub(super) fn may_downgrade(&self, group: &ConsumerGroup, gone: &BTreeSet<&str>) -> bool {
        let left = group.members.len().saturating_sub(gone.len());
        self.settings.consumer.may_downgrade()
            && left > 0
            && left <= self.settings.max_size
            && group.is_classic_except(gone)
    }

    /// Writes the end of a consumer group, and the classic group that takes its place.
    pub(super) fn downgrade(
        &self,
        draft: &mut Draft<'_>,
        around: Surroundings<'_>,
        gone: &BTreeSet<&str>,
    ) -> Result<Conversion, GroupError> {
        let (value, protocols) = classic_group(&draft.group, around, gone);
        put_tombstones(draft)?;
        draft.records.push(records::group(draft.id, &value).map_err(|error| cannot_write(&error))?);
        tracing::info!(group = draft.id, "consumer group becomes a classic group");
        Ok(Conversion::ToClassic { protocols, join: None })
    }

    /// Gives the living part of a group its new kind.
    pub(super) fn convert(&mut self, now: Moment, group_id: &str, conversion: Conversion) -> Effects {
        match conversion {
            Conversion::ToConsumer => {
                let mut effects = Effects::default();
                if let Some(group) = self.take_living(group_id) {
                    let mut turn = Turn { now, settings: &self.settings, effects: &mut effects };
                    for mut member in group.members.into_values() {
                        let error = ErrorCode::RebalanceInProgress;
                        ClassicGroup::answer_join(&mut member.clone(), &mut turn, join_error(&member.id, error));
                        ClassicGroup::answer_sync(&mut member, &mut turn, sync_error(error));
                    }
                }
                self.start_consumer_sessions(now, group_id);
                effects
            }
            Conversion::ToClassic { protocols, join } => {
                self.drop_consumer_timers(group_id);
                if !protocols.is_empty() {
                    self.take_up_with(group_id, protocols, now);
                }
                match join {
                    Some(join) => self.join(now, &join.0, &join.1),
                    None => self.rebalance(group_id, now),
                }
            }
        }
    }
}

/// Tombstones for all that the log says of a consumer group, in Kafka's order.
pub(in crate::coordinator::group) fn put_tombstones(draft: &mut Draft<'_>) -> Result<(), GroupError> {
    let members: Vec<String> = draft.group.members.keys().cloned().collect();
    let targets: Vec<String> = draft.group.targets.keys().cloned().collect();
    let patterns: Vec<String> = draft.group.patterns.keys().cloned().collect();
    for member_id in &members {
        draft.put(ConsumerRecord::Current { member_id: member_id.clone(), value: None })?;
    }
    for member_id in targets {
        draft.put(ConsumerRecord::Target { member_id, value: None })?;
    }
    draft.put(ConsumerRecord::TargetEpoch(None))?;
    for member_id in members {
        draft.put(ConsumerRecord::Member { member_id, value: None })?;
    }
    for pattern in patterns {
        draft.put(ConsumerRecord::Regex { pattern, value: None })?;
    }
    if draft.group.has_partition_metadata {
        draft.put(ConsumerRecord::PartitionMetadata { is_set: false })?;
    }
    draft.put(ConsumerRecord::Group(None))
}

/// Writes a classic group as a consumer group: members keep what they have, at the generation that was.
fn upgrade(draft: &mut Draft<'_>, group: &ClassicGroup, around: Surroundings<'_>) -> Result<(), GroupError> {
    let id = &group.id;
    let malformed = |reason: String| {
        let message = format!("Cannot upgrade classic group {id} to consumer group because {reason}.");
        GroupError::new(ErrorCode::GroupIdNotFound, message)
    };
    let mut given: BTreeSet<(Uuid, i32)> = BTreeSet::new();
    let mut targets: Vec<(&String, Partitions)> = Vec::new();
    for (member_id, member) in &group.members {
        let broken = |_: DecodeError| malformed("the embedded consumer protocol is malformed".to_owned());
        let Some(first) = member.protocols.first() else { continue };
        let subscription = read_subscription(&first.metadata).map_err(broken)?;
        let assignment = read_assignment(&member.assignment).map_err(broken)?;
        if assignment.user_data.as_ref().is_some_and(|data| !data.is_empty()) {
            return Err(malformed(
                "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default \
                 assignor before re-attempting the upgrade"
                    .to_owned(),
            ));
        }
        let mut target = by_id(&assignment, around.image);
        // A leader may give a partition twice. Here it has one owner, the first.
        target.iter_mut().for_each(|(topic, of_topic)| of_topic.retain(|one| given.insert((*topic, *one))));
        target.retain(|_, of_topic| !of_topic.is_empty());
        let protocols = member.protocols.iter().map(|protocol| ClassicProtocol {
            name: protocol.name.clone(),
            metadata: protocol.metadata.clone(),
            ..Default::default()
        });
        let metadata = ConsumerGroupMemberMetadataValue {
            instance_id: member.instance_id.clone(),
            rack_id: subscription.rack_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            subscribed_topic_names: subscription.topics,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            classic_member_metadata: Some(ClassicMemberMetadata {
                session_timeout_ms: member.session_timeout_ms,
                supported_protocols: protocols.collect(),
                ..Default::default()
            }),
            ..blank_metadata()
        };
        draft.put(ConsumerRecord::Member { member_id: member_id.clone(), value: Some(metadata) })?;
        targets.push((member_id, target));
    }
    // The epoch is the generation, also where that is still 0 because the first rebalance goes on.
    let metadata_hash = subscription::metadata_hash(&draft.group.subscribed_names(), around.image);
    let epoch = group.generation;
    let value = ConsumerGroupMetadataValue { epoch, metadata_hash, ..Default::default() };
    draft.put(ConsumerRecord::Group(Some(value)))?;
    for (member_id, target) in &targets {
        draft.put_target(member_id, target)?;
    }
    let value = ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: epoch, ..Default::default() };
    draft.put(ConsumerRecord::TargetEpoch(Some(value)))?;
    for (member_id, target) in targets {
        let since_now = |of_topic: BTreeSet<i32>| of_topic.into_iter().map(|partition| (partition, epoch)).collect();
        let assigned: AssignedPartitions = target.into_iter().map(|(topic, of)| (topic, since_now(of))).collect();
        let current = CurrentAssignment {
            epoch,
            previous_epoch: epoch,
            state: MemberState::Stable,
            assigned,
            revoking: AssignedPartitions::new(),
        };
        draft.put_current(member_id, &current)?;
    }
    Ok(())
}

/// The classic group that a consumer group becomes without these members, and what the others can do.
pub(super) fn classic_group(
    group: &ConsumerGroup,
    around: Surroundings<'_>,
    gone: &BTreeSet<&str>,
) -> (GroupMetadataValue, BTreeMap<String, Vec<JoinGroupRequestProtocol>>) {
    let mut protocols: BTreeMap<String, Vec<JoinGroupRequestProtocol>> = BTreeMap::new();
    for (member_id, member) in group.members.iter().filter(|(id, _)| !gone.contains(id.as_str())) {
        let known = member.classic().into_iter().flat_map(|classic| &classic.supported_protocols);
        let known = known.map(|one| JoinGroupRequestProtocol {
            name: one.name.clone(),
            metadata: one.metadata.clone(),
            ..Default::default()
        });
        protocols.insert(member_id.clone(), known.collect());
    }
    // The first that all of them know; they were let in only where there is one.
    let known_to_all = |name: &str| protocols.values().all(|known| known.iter().any(|one| one.name == name));
    let chosen = protocols.values().next().and_then(|known| known.iter().find(|one| known_to_all(&one.name)));
    let chosen = chosen.map(|one| one.name.clone());
    let one = |(member_id, known): (&String, &Vec<JoinGroupRequestProtocol>)| {
        let member = group.members.get(member_id)?;
        let classic = member.classic()?;
        let protocol = known.iter().find(|one| Some(&one.name) == chosen.as_ref());
        let subscription = protocol.map(|one| one.metadata.clone()).unwrap_or_default();
        let target = group.targets.get(member_id).cloned().unwrap_or_default();
        Some(MemberMetadata {
            member_id: member_id.clone(),
            group_instance_id: member.metadata.instance_id.clone(),
            client_id: member.metadata.client_id.clone(),
            client_host: member.metadata.client_host.clone(),
            rebalance_timeout: member.metadata.rebalance_timeout_ms,
            session_timeout: classic.session_timeout_ms,
            assignment: assignment_bytes(&target, &subscription, around.image),
            subscription,
            ..Default::default()
        })
    };
    let members: Vec<MemberMetadata> = protocols.iter().filter_map(one).collect();
    let value = GroupMetadataValue {
        protocol_type: CONSUMER_PROTOCOL_TYPE.to_owned(),
        generation: group.epoch,
        protocol: chosen,
        leader: members.first().map(|member| member.member_id.clone()),
        current_state_timestamp: around.now.date_ms,
        members,
        ..Default::default()
    };
    (value, protocols)
}

/// A leader's assignment; none was made yet where there are no bytes.
fn read_assignment(bytes: &bytes::Bytes) -> Result<ConsumerProtocolAssignment, DecodeError> {
    if bytes.is_empty() {
        return Ok(ConsumerProtocolAssignment::default());
    }
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?;
    ConsumerProtocolAssignment::decode(&mut reader, version.clamp(0, ConsumerProtocolAssignment::VERSIONS.max))
}

/// The partitions of an assignment that exist.
fn by_id(assignment: &ConsumerProtocolAssignment, image: &MetadataImage) -> Partitions {
    let mut partitions = Partitions::new();
    for assigned in &assignment.assigned_partitions {
        let Some(topic) = image.topic(&assigned.topic) else { continue };
        let exists = |partition: &&i32| topic.partition(**partition).is_some();
        partitions.entry(topic.id).or_default().extend(assigned.partitions.iter().filter(exists));
    }
    partitions
}

pub(super) fn cannot_write(error: &rkafka_protocol::wire::EncodeError) -> GroupError {
    GroupError::new(ErrorCode::InvalidRequest, format!("The group cannot be written: {error}."))
}
