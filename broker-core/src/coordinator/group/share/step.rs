//! The shard's part of share groups: it finds the group, makes the draft, and does what follows from its records.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use rkafka_protocol::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;

use super::draft::{ShareDraft, ShareSurroundings};
use super::group::ShareGroup;
use super::heartbeat::check_request;
use super::{NewSharePartition, SharePartitions};
use crate::coordinator::group::consumer::{After, GroupError, HeartbeatingClient, LEAVE_EPOCH, unknown_member};
use crate::coordinator::group::{Effects, GroupShard, Moment, Outcome, TimerChange, coordinated_write};

impl GroupShard {
    /// The partitions that a heartbeat's group would be on for the first time. The share coordinator is to have a state
    /// of each before [`GroupShard::decide_share_heartbeat`] is asked. None where the heartbeat will be refused.
    pub fn new_share_partitions(&self, request: &ShareGroupHeartbeatRequest) -> Vec<NewSharePartition> {
        let mut new = Vec::new();
        let group_id = request.group_id.as_str();
        let joins = request.member_epoch == 0;
        if check_request(request).is_err() || request.member_epoch == LEAVE_EPOCH {
            return new;
        }
        let Ok(group) = self.share_group(group_id, joins) else { return new };
        let member = group.and_then(|group| group.members.get(&request.member_id));
        if !joins && member.is_none() {
            return new;
        }
        let subscribes_anew = request.subscribed_topic_names.is_some();
        if !subscribes_anew && !self.topics_changed(group_id) {
            return new;
        }
        let mut names = group.map(ShareGroup::subscribed_names).unwrap_or_default();
        names.extend(request.subscribed_topic_names.iter().flatten().map(String::as_str));
        for topic in names.into_iter().filter_map(|name| self.image.topic(name)) {
            let begins_anew = group.is_some_and(|group| group.states.deleting.contains_key(&topic.id));
            for partition in (0..).take(topic.partitions.len()) {
                if group.is_none_or(|group| !group.states.has(topic.id, partition)) {
                    new.push(NewSharePartition { topic_id: topic.id, partition, begins_anew });
                }
            }
        }
        new
    }

    /// Decides about a ShareGroupHeartbeat. The share coordinator has a state of the partitions that are `initialized`.
    /// [`GroupShard::after`] is to be called once the records are appended.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, `GROUP_ID_NOT_FOUND`, `GROUP_MAX_SIZE_REACHED`, `UNKNOWN_MEMBER_ID`, `FENCED_MEMBER_EPOCH`.
    pub fn decide_share_heartbeat(
        &self,
        now: Moment,
        request: &ShareGroupHeartbeatRequest,
        client: &HeartbeatingClient,
        initialized: &SharePartitions,
    ) -> Result<Outcome<(ShareGroupHeartbeatResponse, After)>, GroupError> {
        check_request(request)?;
        let around = self.share_surroundings(now);
        let (group_id, member_id) = (request.group_id.as_str(), request.member_id.as_str());
        let group = self.share_group(group_id, request.member_epoch == 0)?;
        let mut draft = ShareDraft::of(group_id, group);
        if request.member_epoch == LEAVE_EPOCH {
            if group.is_none_or(|group| !group.members.contains_key(member_id)) {
                return Err(unknown_member(group_id, member_id));
            }
            tracing::info!(group = group_id, member = member_id, "member left the share group");
            let after = remove_member(&mut draft, around, member_id)?;
            let response = ShareGroupHeartbeatResponse {
                member_id: Some(member_id.to_owned()),
                member_epoch: LEAVE_EPOCH,
                ..Default::default()
            };
            return Ok(Outcome { records: draft.records, reply: (response, after) });
        }
        let response = draft.heartbeat(around, request, client, initialized, self.topics_changed(group_id))?;
        let in_ms = around.settings.timings.session_timeout_ms(group_id, around.image);
        let timers = vec![TimerChange::Session { member_id: member_id.to_owned(), in_ms }];
        let seen_image = Some(around.image.next_offset());
        let after = After { timers, seen_image, ..After::of(group_id) };
        Ok(Outcome { records: draft.records, reply: (response, after) })
    }

    /// The share group of this id; `None` where there is none and one may be made.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, for a group of another kind as well.
    pub(super) fn share_group(&self, group_id: &str, create: bool) -> Result<Option<&ShareGroup>, GroupError> {
        let not_found = |message| Err(GroupError::new(ErrorCode::GroupIdNotFound, message));
        if let Some(group) = self.persisted.share(group_id) {
            return Ok(Some(group));
        }
        if self.persisted.group(group_id).is_some() || self.living(group_id).is_some() {
            return not_found(format!("Group {group_id} is not a share group."));
        }
        if create { Ok(None) } else { not_found(format!("Share group {group_id} not found.")) }
    }

    fn topics_changed(&self, group_id: &str) -> bool {
        self.consumer_timers.get(group_id).is_none_or(|timers| timers.seen_image != self.image.next_offset())
    }

    /// A member's session has ended. Answers what to write; `None` where it is no member any more.
    pub(in crate::coordinator::group) fn expire_share_member(
        &mut self,
        now: Moment,
        group_id: &str,
        member_id: String,
    ) -> Option<Effects> {
        let group = self.persisted.share(group_id)?;
        if !group.members.contains_key(&member_id) {
            return None;
        }
        tracing::info!(group = group_id, member = %member_id, "member removed: its session ended without a heartbeat");
        let mut draft = ShareDraft::of(group_id, Some(group));
        match remove_member(&mut draft, self.share_surroundings(now), &member_id) {
            Ok(after) => Some(coordinated_write(draft.records, after, vec![member_id])),
            Err(error) => {
                tracing::error!(group = group_id, member = %member_id, %error, "the member cannot be removed");
                Some(self.retry_removal(now, group_id, vec![member_id]))
            }
        }
    }

    /// After the log was loaded: the sessions of a group's members begin.
    pub(in crate::coordinator::group) fn start_share_sessions(&mut self, now: Moment, group_id: &str) {
        let Some(group) = self.persisted.share(group_id) else { return };
        let in_ms = self.settings.share.timings.session_timeout_ms(group_id, &self.image);
        let session = |member_id: &String| TimerChange::Session { member_id: member_id.clone(), in_ms };
        let timers = group.members.keys().map(session).collect();
        self.after(now, After { timers, ..After::of(group_id) });
    }

    pub(super) fn share_surroundings(&self, now: Moment) -> ShareSurroundings<'_> {
        ShareSurroundings { now, image: &self.image, settings: &self.settings.share }
    }
}

/// Takes a member out; the others get a new epoch.
fn remove_member(
    draft: &mut ShareDraft<'_>,
    around: ShareSurroundings<'_>,
    member_id: &str,
) -> Result<After, GroupError> {
    draft.remove_member(member_id)?;
    draft.refresh(around, true)?;
    let timers = vec![TimerChange::Gone { member_id: member_id.to_owned() }];
    Ok(After { timers, ..After::of(draft.id) })
}
