//! The shard's part of consumer groups: it finds the group, makes the draft, and does what follows from its records.

use std::collections::BTreeSet;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use rkafka_protocol::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;

use super::draft::{Draft, Surroundings};
use super::group::{LEAVE_EPOCH, MemberState, STATIC_LEAVE_EPOCH};
use super::heartbeat::{HeartbeatingClient, check_request, unknown_member};
use super::migration::Conversion;
use super::timers::{ConsumerTimers, Expired, TimerChange};
use super::{ConsumerGroup, ConsumerMember, GroupError};
use crate::InternalRecord;
use crate::coordinator::group::classic::{join_error, sync_error};
use crate::coordinator::group::{Effects, GroupShard, Moment, Outcome, Reply, Then, WaiterId, Write};

/// How long it takes until a timer whose records could not be written runs out again, as in Kafka.
const RETRY_MS: i64 = 500;
/// How many members whose sessions have ended are taken out in one step.
const MEMBERS_AT_ONCE: usize = 1_000;

/// What of a step is not in the log. It counts once the step's records are appended and replayed, and is to be given
/// to [`GroupShard::after`] then.
#[derive(Debug, Default)]
pub struct After {
    pub(in crate::coordinator::group) group: String,
    pub(in crate::coordinator::group) timers: Vec<TimerChange>,
    /// The end of the metadata log that the group's topics were compared with.
    pub(in crate::coordinator::group) seen_image: Option<i64>,
    pub(in crate::coordinator::group) replies: Vec<(WaiterId, Reply)>,
    pub(in crate::coordinator::group) conversion: Option<Conversion>,
}

impl After {
    pub(in crate::coordinator::group) fn of(group: &str) -> Self {
        Self { group: group.to_owned(), ..Self::default() }
    }
}

impl GroupShard {
    /// Decides about a ConsumerGroupHeartbeat. [`GroupShard::after`] is to be called once the records are appended.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, `UNSUPPORTED_ASSIGNOR`, `INVALID_REGULAR_EXPRESSION`, `GROUP_ID_NOT_FOUND`,
    /// `GROUP_MAX_SIZE_REACHED`, `UNKNOWN_MEMBER_ID`, `FENCED_MEMBER_EPOCH`, `FENCED_INSTANCE_ID`,
    /// `UNRELEASED_INSTANCE_ID`.
    pub fn decide_consumer_heartbeat(
        &self,
        now: Moment,
        request: &ConsumerGroupHeartbeatRequest,
        client: &HeartbeatingClient,
    ) -> Result<Outcome<(ConsumerGroupHeartbeatResponse, After)>, GroupError> {
        check_request(request, client.version, &self.settings.consumer)?;
        let around = self.surroundings(now);
        let group_id = request.group_id.as_str();
        if request.member_epoch == LEAVE_EPOCH || request.member_epoch == STATIC_LEAVE_EPOCH {
            return self.decide_consumer_leave(around, request);
        }
        let (mut draft, conversion) = self.consumer_draft(around, group_id, request.member_epoch == 0)?;
        let image_end = around.image.next_offset();
        let topics_changed = self.consumer_timers(group_id).is_none_or(|timers| timers.seen_image != image_end);
        let (response, timers) = draft.heartbeat(around, request, client, topics_changed)?;
        let after = After { timers, seen_image: Some(image_end), conversion, ..After::of(group_id) };
        Ok(Outcome { records: draft.records, reply: (response, after) })
    }

    fn decide_consumer_leave(
        &self,
        around: Surroundings<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<Outcome<(ConsumerGroupHeartbeatResponse, After)>, GroupError> {
        let group_id = request.group_id.as_str();
        let group = self.persisted.consumer(group_id).ok_or_else(|| consumer_group_not_found(group_id))?;
        let member_id = request.member_id.as_str();
        let mut draft = Draft::of(group_id, Some(group));
        if let Some(instance_id) = &request.instance_id {
            draft.check_static(instance_id, member_id)?;
        } else if !group.members.contains_key(member_id) {
            return Err(unknown_member(group_id, member_id));
        }
        let after = if request.member_epoch == STATIC_LEAVE_EPOCH {
            tracing::info!(group = group_id, member = member_id, "static member left for a moment");
            draft.leave_static(member_id)?;
            let revoked = TimerChange::Revoked { member_id: member_id.to_owned() };
            After { timers: vec![revoked], ..After::of(group_id) }
        } else {
            tracing::info!(group = group_id, member = member_id, "member left");
            self.remove_members(&mut draft, around, &BTreeSet::from([member_id]))?
        };
        let response = ConsumerGroupHeartbeatResponse {
            member_id: Some(member_id.to_owned()),
            member_epoch: request.member_epoch,
            ..Default::default()
        };
        Ok(Outcome { records: draft.records, reply: (response, after) })
    }

    /// Takes members out: the others get a new epoch, or go on as a classic group if no member speaks the consumer
    /// protocol any more.
    pub(super) fn remove_members(
        &self,
        draft: &mut Draft<'_>,
        around: Surroundings<'_>,
        gone: &BTreeSet<&str>,
    ) -> Result<After, GroupError> {
        if self.may_downgrade(&draft.group, gone) {
            let conversion = self.downgrade(draft, around, gone)?;
            return Ok(After { conversion: Some(conversion), ..After::of(draft.id) });
        }
        let mut after = After::of(draft.id);
        for member_id in gone {
            draft.remove_member(member_id)?;
            after.timers.push(TimerChange::Gone { member_id: (*member_id).to_owned() });
        }
        draft.forget_unused_patterns()?;
        draft.refresh(around, true)?;
        Ok(after)
    }

    /// Does what follows from a step whose records are appended and replayed.
    pub fn after(&mut self, now: Moment, after: After) -> Effects {
        let After { group, timers, seen_image, replies, conversion } = after;
        let mut effects = match conversion {
            Some(conversion) => self.convert(now, &group, conversion),
            None => Effects::default(),
        };
        effects.replies.extend(replies);
        if self.manned_consumer(&group).is_none() && !self.is_manned_share(&group) {
            self.drop_consumer_timers(&group);
            return effects;
        }
        let all = self.consumer_timers.entry(group.clone()).or_default();
        if let Some(image_end) = seen_image {
            all.seen_image = image_end;
        }
        // A deadline that moves away need not be noted; the timer will look and find nothing.
        let earliest = timers.into_iter().filter_map(|change| all.apply(now.monotonic_ms, change)).min();
        if earliest.is_some_and(|at_ms| all.noted_deadline_ms.is_none_or(|noted_ms| at_ms < noted_ms)) {
            self.note_consumer_deadline(&group);
        }
        effects
    }

    /// After the log was loaded: the sessions of a group's members begin.
    pub(in crate::coordinator::group) fn start_consumer_sessions(&mut self, now: Moment, group_id: &str) {
        let Some(group) = self.persisted.consumer(group_id) else { return };
        let timers = group.members.iter().flat_map(|(id, member)| self.first_timers(group_id, id, member)).collect();
        self.after(now, After { timers, ..After::of(group_id) });
    }

    /// The timers of a member that was just read from the log, or taken over from a classic group.
    pub(super) fn first_timers(&self, group_id: &str, id: &str, member: &ConsumerMember) -> Vec<TimerChange> {
        let session_ms = member.classic().map_or_else(
            || self.settings.consumer.timings.session_timeout_ms(group_id, &self.image),
            |classic| i64::from(classic.session_timeout_ms),
        );
        let mut timers = vec![TimerChange::Session { member_id: id.to_owned(), in_ms: session_ms }];
        if member.classic().is_none() && member.current.state == MemberState::UnrevokedPartitions {
            timers.push(TimerChange::Revoke {
                member_id: id.to_owned(),
                epoch: member.current.epoch,
                in_ms: i64::from(member.metadata.rebalance_timeout_ms),
            });
        }
        timers
    }

    /// Does one thing that is due in a group whose coordinator assigns; `None` where there is nothing.
    pub(in crate::coordinator::group) fn expire_consumer(&mut self, now: Moment, group_id: &str) -> Option<Effects> {
        loop {
            let (member_id, expired) = self.consumer_timers.get_mut(group_id)?.take_expired(now.monotonic_ms)?;
            if self.persisted.share(group_id).is_some() {
                match self.expire_share_member(now, group_id, member_id) {
                    Some(effects) => return Some(effects),
                    None => continue,
                }
            }
            let mut gone = BTreeSet::from([member_id]);
            if matches!(expired, Expired::Session)
                && let Some(timers) = self.consumer_timers.get_mut(group_id)
            {
                // A fleet that is gone ends at one time, and each step looks at the whole group.
                gone.extend(timers.take_ended_sessions(now.monotonic_ms, MEMBERS_AT_ONCE));
            }
            let Some(group) = self.persisted.consumer(group_id) else { continue };
            gone.retain(|member_id| {
                let is_meant = |epoch: i32| !matches!(expired, Expired::Revoke { epoch: of } if of != epoch);
                group.members.get(member_id).is_some_and(|member| is_meant(member.current.epoch))
            });
            if gone.is_empty() {
                continue;
            }
            let why = match expired {
                Expired::Session => "its session ended without a heartbeat",
                Expired::Revoke { .. } => "it did not give up its partitions in time",
                Expired::Rejoin => "it did not join the rebalance in time",
                Expired::Sync => "it did not ask for its assignment",
            };
            for member_id in &gone {
                tracing::info!(group = group_id, member = %member_id, why, "member removed");
            }
            let mut draft = Draft::of(group_id, Some(group));
            let ids = gone.iter().map(String::as_str).collect();
            let removed = self.remove_members(&mut draft, self.surroundings(now), &ids);
            let gone = gone.into_iter().collect();
            return match removed {
                Ok(after) => Some(coordinated_write(draft.records, after, gone)),
                Err(error) => {
                    tracing::error!(group = group_id, members = ?gone, %error, "members cannot be removed");
                    Some(self.retry_removal(now, group_id, gone))
                }
            };
        }
    }

    /// Members could not be removed; it is tried again soon.
    pub(in crate::coordinator::group) fn retry_removal(
        &mut self,
        now: Moment,
        group_id: &str,
        members: Vec<String>,
    ) -> Effects {
        let again = |member_id| TimerChange::Session { member_id, in_ms: RETRY_MS };
        let timers = members.into_iter().map(again).collect();
        self.after(now, After { timers, ..After::of(group_id) })
    }

    /// The records of a step could not be appended: nothing has changed, and who waits is told.
    pub(in crate::coordinator::group) fn consumer_step_failed(
        &mut self,
        now: Moment,
        after: After,
        removing: Vec<String>,
        error: ErrorCode,
    ) -> Effects {
        let mut replies = Vec::new();
        for (waiter, reply) in after.replies {
            let reply = match reply {
                Reply::Join(response) => Reply::Join(join_error(&response.member_id, error)),
                Reply::Sync(_) => Reply::Sync(sync_error(error)),
            };
            replies.push((waiter, reply));
        }
        if let Some(Conversion::ToClassic { join: Some(join), .. }) = after.conversion {
            let (request, context) = *join;
            replies.push((context.waiter, Reply::Join(join_error(&request.member_id, error))));
        }
        let mut effects = match removing.is_empty() {
            false => self.retry_removal(now, &after.group, removing),
            true => Effects::default(),
        };
        effects.replies.extend(replies);
        effects
    }

    pub(super) fn surroundings(&self, now: Moment) -> Surroundings<'_> {
        Surroundings { now, image: &self.image, settings: &self.settings.consumer }
    }

    pub(super) fn consumer_timers(&self, group_id: &str) -> Option<&ConsumerTimers> {
        self.consumer_timers.get(group_id)
    }

    pub(in crate::coordinator::group) fn drop_consumer_timers(&mut self, group_id: &str) {
        if let Some(ConsumerTimers { noted_deadline_ms: Some(at_ms), .. }) = self.consumer_timers.remove(group_id) {
            self.deadlines.remove(&(at_ms, group_id.to_owned()));
        }
    }

    pub(in crate::coordinator::group) fn note_consumer_deadline(&mut self, group_id: &str) {
        let Some(timers) = self.consumer_timers.get_mut(group_id) else { return };
        let due = timers.deadline_ms();
        let noted = std::mem::replace(&mut timers.noted_deadline_ms, due);
        if due != noted {
            if let Some(at_ms) = noted {
                self.deadlines.remove(&(at_ms, group_id.to_owned()));
            }
            if let Some(at_ms) = due {
                self.deadlines.insert((at_ms, group_id.to_owned()));
            }
        }
    }

    /// Whether this is a share group with members.
    fn is_manned_share(&self, group_id: &str) -> bool {
        self.persisted.share(group_id).is_some_and(|group| !group.members.is_empty())
    }

    /// The consumer group of this id with members, `None` where there is none or another kind.
    pub(in crate::coordinator::group) fn manned_consumer(&self, group_id: &str) -> Option<&ConsumerGroup> {
        self.persisted.consumer(group_id).filter(|group| !group.members.is_empty())
    }
}

pub(super) fn consumer_group_not_found(group_id: &str) -> GroupError {
    GroupError::new(ErrorCode::GroupIdNotFound, format!("Consumer group {group_id} not found."))
}

/// A step of a group whose coordinator assigns, and whose records are to be appended. `removing` are the members that a
/// timer takes out.
pub(in crate::coordinator::group) fn coordinated_write(
    records: Vec<InternalRecord>,
    after: After,
    removing: Vec<String>,
) -> Effects {
    let then = Then::Consumer { after: Box::new(after), removing };
    Effects { replies: Vec::new(), writes: vec![Write { records: Ok(records), then }] }
}
