//! ShareGroupHeartbeat: members come, go on and leave.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use rkafka_protocol::messages::share_group_heartbeat_response::{
    Assignment, ShareGroupHeartbeatResponse, TopicPartitions as AssignedTopic,
};
use rkafka_protocol::messages::share_group_member_metadata_value::ShareGroupMemberMetadataValue;

use super::SharePartitions;
use super::draft::{ShareDraft, ShareSurroundings};
use super::group::{ShareAssignment, ShareMember};
use super::records::ShareGroupRecord;
use crate::coordinator::group::consumer::{GroupError, HeartbeatingClient, LEAVE_EPOCH, Partitions, unknown_member};

/// Whether a request can be meant so, before any group is looked at.
pub(super) fn check_request(request: &ShareGroupHeartbeatRequest) -> Result<(), GroupError> {
    let invalid = |message: &str| Err(GroupError::new(ErrorCode::InvalidRequest, message));
    let is_blank = |text: &str| text.trim().is_empty();
    if is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    if request.member_epoch == 0 && request.subscribed_topic_names.as_ref().is_none_or(Vec::is_empty) {
        return invalid("SubscribedTopicNames must be set in first request.");
    }
    if request.member_epoch < LEAVE_EPOCH {
        return invalid("MemberEpoch is invalid.");
    }
    Ok(())
}

impl ShareDraft<'_> {
    /// A heartbeat of somebody who stays, in a group that was found or made for it.
    pub(super) fn heartbeat(
        &mut self,
        around: ShareSurroundings<'_>,
        request: &ShareGroupHeartbeatRequest,
        client: &HeartbeatingClient,
        initialized: &SharePartitions,
        topics_changed: bool,
    ) -> Result<ShareGroupHeartbeatResponse, GroupError> {
        let joins = request.member_epoch == 0;
        let member_id = request.member_id.as_str();
        let max_size = around.settings.max_size;
        if self.group.members.len() >= max_size && !self.group.members.contains_key(member_id) {
            return Err(GroupError::new(
                ErrorCode::GroupMaxSizeReached,
                format!("The share group has reached its maximum capacity of {max_size} members."),
            ));
        }
        let before = match self.group.members.get(member_id) {
            Some(member) => {
                if !joins {
                    check_epoch(&member.current, request.member_epoch)?;
                }
                member.clone()
            }
            None if joins => {
                tracing::info!(group = self.id, member = member_id, "joins the share group");
                ShareMember::default()
            }
            None => return Err(unknown_member(self.id, member_id)),
        };
        let mut bump = self.put_member(&before, updated(&before.metadata, request, client), member_id)?;
        bump |= self.note_initialized(initialized, around.image)?;
        if bump || topics_changed {
            self.refresh(around, bump)?;
        }
        self.retarget(around)?;
        self.reconcile(member_id, around.image)?;
        let after = self.group.members.get(member_id).map(|member| member.current.clone()).unwrap_or_default();
        // Who says its topics again has begun anew, or has missed an answer.
        let says_everything = joins || request.subscribed_topic_names.is_some();
        let tells = says_everything || after.assigned != before.current.assigned;
        Ok(ShareGroupHeartbeatResponse {
            member_id: Some(member_id.to_owned()),
            member_epoch: after.epoch,
            heartbeat_interval_ms: around.settings.timings.heartbeat_interval_ms(self.id, around.image),
            assignment: tells.then(|| assignment(&after.assigned)),
            ..Default::default()
        })
    }

    /// Writes who a member is, if that is new. Answers whether it subscribes to other topics than before.
    fn put_member(
        &mut self,
        before: &ShareMember,
        metadata: ShareGroupMemberMetadataValue,
        member_id: &str,
    ) -> Result<bool, GroupError> {
        let is_known = self.group.members.contains_key(member_id);
        if is_known && before.metadata == metadata {
            return Ok(false);
        }
        let bump = !is_known || before.metadata.subscribed_topic_names != metadata.subscribed_topic_names;
        self.put(ShareGroupRecord::Member { member_id: member_id.to_owned(), value: Some(metadata) })?;
        Ok(bump)
    }
}

/// Whether a member may go on with the epoch that it sent. The one before will do: the answer with the new one may have
/// been lost.
fn check_epoch(current: &ShareAssignment, epoch: i32) -> Result<(), GroupError> {
    let which = match epoch {
        _ if epoch == current.epoch || epoch == current.previous_epoch => return Ok(()),
        _ if epoch > current.epoch => "greater",
        _ => "smaller",
    };
    let known = current.epoch;
    Err(GroupError::new(
        ErrorCode::FencedMemberEpoch,
        format!(
            "The share group member has a {which} member epoch ({epoch}) than the one known by the group coordinator \
             ({known}). The member must abandon all its partitions and rejoin."
        ),
    ))
}

/// What a request says, and what it leaves out as it was.
fn updated(
    before: &ShareGroupMemberMetadataValue,
    request: &ShareGroupHeartbeatRequest,
    client: &HeartbeatingClient,
) -> ShareGroupMemberMetadataValue {
    let mut metadata = before.clone();
    if let Some(rack_id) = &request.rack_id {
        metadata.rack_id = Some(rack_id.clone());
    }
    if let Some(names) = &request.subscribed_topic_names {
        metadata.subscribed_topic_names.clone_from(names);
        // Kafka keeps them in order, so that another order is no other subscription.
        metadata.subscribed_topic_names.sort_unstable();
        metadata.subscribed_topic_names.dedup();
    }
    metadata.client_id.clone_from(&client.client_id);
    metadata.client_host.clone_from(&client.client_host);
    metadata
}

fn assignment(assigned: &Partitions) -> Assignment {
    let one = |(topic_id, partitions): (&uuid::Uuid, &std::collections::BTreeSet<i32>)| AssignedTopic {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    };
    Assignment { topic_partitions: assigned.iter().map(one).collect(), ..Default::default() }
}
