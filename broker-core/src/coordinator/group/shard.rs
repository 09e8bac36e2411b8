//! The shard: it finds the group that a request is about, lets it take its step, and keeps the two parts in line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::heartbeat_request::HeartbeatRequest;
use rkafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use rkafka_protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use rkafka_protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use rkafka_protocol::messages::sync_group_request::SyncGroupRequest;

use super::classic::{ClassicGroup, join_error, sync_error};
use super::consumer::ConsumerTimers;
use super::persisted::{Persisted, PersistedGroup};
use super::{
    ClassicState, Effects, GroupSettings, JoinContext, Moment, RecordPlace, ReplayError, Reply, Then, Turn, WaiterId,
    Write, append_error,
};
use crate::controller::MetadataImage;

/// Kafka writes texts of groups with a length of two bytes.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug, Clone)]
pub struct GroupShard {
    pub(super) settings: GroupSettings,
    pub(super) persisted: Persisted,
    /// Groups with members, or with somebody who is about to become one. All others are empty.
    living: BTreeMap<String, ClassicGroup>,
    /// When the sessions of consumer groups' and share groups' members end.
    pub(super) consumer_timers: BTreeMap<String, ConsumerTimers>,
    /// The topics that there are.
    pub(super) image: Arc<MetadataImage>,
    /// When to look at a group again; never later than it has something due.
    pub(super) deadlines: BTreeSet<(i64, String)>,
}

impl GroupShard {
    /// A shard whose log is empty.
    pub fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            persisted: Persisted::default(),
            living: BTreeMap::new(),
            consumer_timers: BTreeMap::new(),
            image: Arc::default(),
            deadlines: BTreeSet::new(),
        }
    }

    /// What the cluster looks like now. To be told before any step that may look at topics: a heartbeat, a join, a
    /// sync, a leave, what is due, a description.
    pub fn see(&mut self, image: Arc<MetadataImage>) {
        self.image = image;
    }

    /// Takes a record of the log for true. To be called for each record of the log when it is loaded, and for each that
    /// was appended since.
    ///
    /// # Errors
    /// The record is not in Kafka's format; it changed nothing.
    pub fn replay(&mut self, place: RecordPlace, key: Bytes, value: Option<Bytes>) -> Result<(), ReplayError> {
        self.persisted.replay(place, key, value)
    }

    /// Takes the end of a producer's transaction for true, as [`GroupShard::replay`] does a record: what it wrote
    /// counts from now on, or never.
    pub fn replay_marker(&mut self, producer_id: i64, commit: bool) {
        self.persisted.end_transaction(producer_id, commit);
    }

    /// After the log was loaded: groups that had members have them again, and their sessions begin.
    pub fn start(&mut self, now: Moment) {
        let with_members: Vec<String> = self
            .persisted
            .groups()
            .filter(|(_, group)| group.metadata.as_ref().is_some_and(|metadata| !metadata.members.is_empty()))
            .map(|(group_id, _)| group_id.clone())
            .collect();
        for group_id in with_members {
            self.take_up(&group_id, now);
            self.note_deadline(&group_id);
        }
        let consumer_groups: Vec<String> = self
            .persisted
            .groups()
            .filter(|(_, group)| group.consumer.is_some())
            .map(|(group_id, _)| group_id.clone())
            .collect();
        for group_id in consumer_groups {
            self.start_consumer_sessions(now, &group_id);
        }
        let is_share = |(group_id, group): (&String, &PersistedGroup)| group.share.is_some().then(|| group_id.clone());
        let share_groups: Vec<String> = self.persisted.groups().filter_map(is_share).collect();
        for group_id in share_groups {
            self.start_share_sessions(now, &group_id);
        }
    }

    /// When [`GroupShard::on_time`] is to be called, on the monotonic clock.
    pub fn deadline_ms(&self) -> Option<i64> {
        self.deadlines.first().map(|(at_ms, _)| *at_ms)
    }

    /// Does one thing that is due; `None` once there is nothing more.
    pub fn on_time(&mut self, now: Moment) -> Option<Effects> {
        while let Some((at_ms, group_id)) = self.deadlines.first().cloned() {
            if at_ms > now.monotonic_ms {
                return None;
            }
            if let Some(effects) = self.expire_consumer(now, &group_id) {
                return Some(effects);
            }
            let (did, effects) = self.with_group(&group_id, now, |group, turn| group.expire_one(turn));
            if did == Some(true) {
                return Some(effects);
            }
            // Heartbeats move deadlines without being noted; now it is.
            self.deadlines.remove(&(at_ms, group_id.clone()));
            if let Some(group) = self.living.get_mut(&group_id) {
                group.noted_deadline_ms = None;
            }
            if let Some(timers) = self.consumer_timers.get_mut(&group_id) {
                timers.noted_deadline_ms = None;
            }
            self.note_deadline(&group_id);
            self.note_consumer_deadline(&group_id);
        }
        None
    }

    /// Takes a JoinGroup; its answer is among the effects of this or of a later call.
    pub fn join(&mut self, now: Moment, request: &JoinGroupRequest, context: &JoinContext) -> Effects {
        let mut effects = Effects::default();
        let group_id = request.group_id.as_str();
        if let Err(error) = self.check_join(request, context) {
            effects.replies.push((context.waiter, Reply::Join(join_error(&request.member_id, error))));
            return effects;
        }
        if self.persisted.share(group_id).is_some() {
            let error = join_error(&request.member_id, ErrorCode::InconsistentGroupProtocol);
            effects.replies.push((context.waiter, Reply::Join(error)));
            return effects;
        }
        if self.persisted.consumer(group_id).is_some() {
            return self.join_consumer(now, request, context);
        }
        let is_new = !self.living.contains_key(group_id) && self.persisted.group(group_id).is_none();
        if !self.living.contains_key(group_id) {
            if is_new && !request.member_id.is_empty() {
                let response = join_error(&request.member_id, ErrorCode::UnknownMemberId);
                effects.replies.push((context.waiter, Reply::Join(response)));
                return effects;
            }
            self.take_up(group_id, now);
        }
        let (_, effects) = self.with_group(group_id, now, |group, turn| {
            let blank = group.metadata(|_| Bytes::new());
            group.join(request, context, turn);
            // The group is in the log from its first day, as in Kafka, so that it is listed after a restart.
            let has_somebody = !(group.members.is_empty() && group.pending.is_empty());
            if is_new && has_somebody && turn.effects.writes.is_empty() {
                turn.write_group(&group.id, &blank, Then::Created { group: group.id.clone() });
            }
        });
        effects
    }

    fn check_join(&self, request: &JoinGroupRequest, context: &JoinContext) -> Result<(), ErrorCode> {
        check_group_id(&request.group_id)?;
        let timeouts = self.settings.session_timeout_ms_min..=self.settings.session_timeout_ms_max;
        if !timeouts.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        let instance_id = request.group_instance_id.as_deref().unwrap_or_default();
        let mut texts = [instance_id, &request.member_id, &request.protocol_type, &context.new_member_id]
            .into_iter()
            .chain(request.protocols.iter().map(|one| one.name.as_str()));
        if texts.any(|text| text.len() > TEXT_BYTES_MAX) { Err(ErrorCode::InvalidRequest) } else { Ok(()) }
    }

    /// Takes a SyncGroup; its answer is among the effects of this or of a later call.
    pub fn sync(&mut self, now: Moment, request: &SyncGroupRequest, waiter: WaiterId) -> Effects {
        let error = match check_group_id(&request.group_id) {
            Ok(()) => ErrorCode::UnknownMemberId,
            Err(error) => error,
        };
        if self.persisted.consumer(&request.group_id).is_some() {
            return self.sync_consumer(now, request, waiter);
        }
        if !self.living.contains_key(&request.group_id) {
            let replies = vec![(waiter, Reply::Sync(sync_error(error)))];
            return Effects { replies, writes: Vec::new() };
        }
        self.with_group(&request.group_id, now, |group, turn| group.sync(request, waiter, turn)).1
    }

    /// Takes a heartbeat.
    ///
    /// # Errors
    /// `INVALID_GROUP_ID`, `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `ILLEGAL_GENERATION`, `REBALANCE_IN_PROGRESS`.
    pub fn heartbeat(&mut self, now: Moment, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        check_group_id(&request.group_id)?;
        if self.persisted.consumer(&request.group_id).is_some() {
            return self.heartbeat_consumer(now, request);
        }
        let group = self.living.get_mut(&request.group_id).ok_or(ErrorCode::UnknownMemberId)?;
        let mut effects = Effects::default();
        let mut turn = Turn { now, settings: &self.settings, effects: &mut effects };
        let instance_id = request.group_instance_id.as_deref();
        let result = group.heartbeat(&request.member_id, instance_id, request.generation_id, &mut turn);
        self.note_session(&request.group_id, &request.member_id);
        result
    }

    /// A member has shown that it lives, by committing an offset.
    pub fn keep_alive(&mut self, now: Moment, group_id: &str, member_id: &str) {
        if let Some(group) = self.living.get_mut(group_id)
            && matches!(group.state(), ClassicState::Stable | ClassicState::PreparingRebalance)
        {
            let mut effects = Effects::default();
            group.keep_alive(member_id, &Turn { now, settings: &self.settings, effects: &mut effects });
            self.note_session(group_id, member_id);
        }
    }

    /// A session that goes on moves its end away, which need not be noted; one that begins may end before all else.
    fn note_session(&mut self, group_id: &str, member_id: &str) {
        let Some(group) = self.living.get(group_id) else { return };
        let ends_ms = group.members.get(member_id).and_then(|member| member.session_ends_ms);
        if ends_ms.is_some_and(|ends_ms| group.noted_deadline_ms.is_none_or(|noted_ms| ends_ms < noted_ms)) {
            self.note_deadline(group_id);
        }
    }

    /// Takes members out of a group. The answer holds good once the effects' writes are through, whatever came of them.
    pub fn leave(&mut self, now: Moment, request: &LeaveGroupRequest) -> (LeaveGroupResponse, Effects) {
        if let Err(error) = check_group_id(&request.group_id) {
            return (LeaveGroupResponse { error_code: error.code(), ..Default::default() }, Effects::default());
        }
        if self.persisted.consumer(&request.group_id).is_some() {
            return self.leave_consumer(now, request);
        }
        let (response, effects) = self.with_group(&request.group_id, now, |group, turn| group.leave(request, turn));
        (response.unwrap_or_else(|| nobody_left(request)), effects)
    }

    /// A waiting request was given up by its client: the member counts as absent until it asks again, or is out at once
    /// where it cannot know its id.
    pub fn forget_waiter(&mut self, now: Moment, group_id: &str, waiter: WaiterId) -> Effects {
        let (_, effects) = self.with_group(group_id, now, |group, turn| {
            let Some(member_id) = group.forget_waiter(waiter, turn.now) else { return };
            if group.members.get(&member_id).is_some_and(|member| member.is_new && !member.knows_id) {
                group.remove(&member_id);
                group.after_removal(turn);
            }
        });
        effects
    }

    /// Goes on with a step once its record is in the log, and replayed, or not. Errors are to be as the log gave them;
    /// members are told what Kafka tells them.
    pub fn written(&mut self, now: Moment, write: Write, result: Result<(), ErrorCode>) -> Effects {
        let result = result.map_err(append_error);
        match write.then {
            Then::Created { group } => {
                let Err(error) = result else { return Effects::default() };
                self.forget_created(now, &group, error)
            }
            Then::Assigned { group, generation, assignments } => {
                let go_on = |group: &mut ClassicGroup, turn: &mut Turn<'_>| {
                    group.assigned(generation, assignments, result, turn);
                };
                self.with_group(&group, now, go_on).1
            }
            Then::Replaced { group, member_id, old, leader_told } => {
                let go_on = |group: &mut ClassicGroup, turn: &mut Turn<'_>| {
                    group.replaced(&member_id, *old, leader_told, result, turn);
                };
                self.with_group(&group, now, go_on).1
            }
            Then::Consumer { after, removing } => match result {
                Ok(()) => self.after(now, *after),
                Err(error) => self.consumer_step_failed(now, *after, removing, error),
            },
            Then::Emptied { group, generation } => {
                match result {
                    Ok(()) => self.release_if_empty(&group),
                    // The log still has the last generation with its members; should the broker fall now, they come
                    // back and their sessions end. The living group stays and knows better.
                    Err(error) => {
                        tracing::warn!(group, generation, error = error.name(), "an empty group could not be written");
                    }
                }
                Effects::default()
            }
        }
    }

    /// A group was deleted: its tombstones are in the log and replayed.
    pub fn deleted(&mut self, now: Moment, group_id: &str) -> Effects {
        let (_, effects) = self.with_group(group_id, now, |group, turn| group.die(turn));
        self.drop_living(group_id);
        self.drop_consumer_timers(group_id);
        effects
    }

    /// Takes a group's living part away, for it becomes another kind.
    pub(super) fn take_living(&mut self, group_id: &str) -> Option<ClassicGroup> {
        let group = self.living.remove(group_id)?;
        if let Some(at_ms) = group.noted_deadline_ms {
            self.deadlines.remove(&(at_ms, group_id.to_owned()));
        }
        Some(group)
    }

    /// Makes a group living that was of another kind; `protocols` are what each member can do.
    pub(super) fn take_up_with(
        &mut self,
        group_id: &str,
        protocols: BTreeMap<String, Vec<JoinGroupRequestProtocol>>,
        now: Moment,
    ) {
        self.take_up(group_id, now);
        let Some(group) = self.living.get_mut(group_id) else { return };
        for (member_id, protocols) in protocols {
            if let Some(member) = group.members.get_mut(&member_id) {
                member.protocols = protocols;
            }
        }
        self.note_deadline(group_id);
    }

    /// Begins a rebalance in a stable group.
    pub(super) fn rebalance(&mut self, group_id: &str, now: Moment) -> Effects {
        self.with_group(group_id, now, |group, turn| group.rebalance_or_complete(turn)).1
    }

    fn forget_created(&mut self, now: Moment, group_id: &str, error: ErrorCode) -> Effects {
        let (_, effects) = self.with_group(group_id, now, |group, turn| {
            for (_, member) in std::mem::take(&mut group.members) {
                ClassicGroup::dismiss(member, turn, error);
            }
        });
        self.drop_living(group_id);
        effects
    }

    pub(super) fn living(&self, group_id: &str) -> Option<&ClassicGroup> {
        self.living.get(group_id)
    }

    pub(super) fn living_groups(&self) -> impl Iterator<Item = &ClassicGroup> {
        self.living.values()
    }

    /// Makes a group living, as the log knows it or new.
    fn take_up(&mut self, group_id: &str, now: Moment) {
        let metadata = self.persisted.group(group_id).and_then(|group| group.metadata.as_ref());
        let group = match metadata {
            Some(metadata) => ClassicGroup::from_persisted(group_id, metadata, now),
            None => ClassicGroup::new(group_id, now),
        };
        self.living.insert(group_id.to_owned(), group);
    }

    /// Lets a living group take a step, notes its next deadline, and releases it should it be empty.
    fn with_group<R>(
        &mut self,
        group_id: &str,
        now: Moment,
        step: impl FnOnce(&mut ClassicGroup, &mut Turn<'_>) -> R,
    ) -> (Option<R>, Effects) {
        let mut effects = Effects::default();
        let result = self.living.get_mut(group_id).map(|group| {
            let mut turn = Turn { now, settings: &self.settings, effects: &mut effects };
            step(group, &mut turn)
        });
        if effects.writes.is_empty() {
            self.release_if_empty(group_id);
        }
        self.note_deadline(group_id);
        (result, effects)
    }

    /// An empty group needs no living part, provided that the log says the same.
    fn release_if_empty(&mut self, group_id: &str) {
        let Some(group) = self.living.get(group_id) else { return };
        let logged = self.persisted.group(group_id).and_then(|group| group.metadata.as_ref());
        let same = logged.map_or(group.generation == 0, |metadata| {
            metadata.generation == group.generation && metadata.members.is_empty()
        });
        if group.state() == ClassicState::Empty && group.pending.is_empty() && same {
            self.drop_living(group_id);
        }
    }

    fn drop_living(&mut self, group_id: &str) {
        self.take_living(group_id);
    }

    fn note_deadline(&mut self, group_id: &str) {
        let Some(group) = self.living.get_mut(group_id) else { return };
        let due = group.deadline_ms();
        if due != group.noted_deadline_ms {
            if let Some(at_ms) = group.noted_deadline_ms {
                self.deadlines.remove(&(at_ms, group_id.to_owned()));
            }
            if let Some(at_ms) = due {
                self.deadlines.insert((at_ms, group_id.to_owned()));
            }
            group.noted_deadline_ms = due;
        }
    }
}

/// Group ids may not be empty where members are concerned, nor longer than a record can say.
fn check_group_id(group_id: &str) -> Result<(), ErrorCode> {
    if group_id.is_empty() || group_id.len() > TEXT_BYTES_MAX { Err(ErrorCode::InvalidGroupId) } else { Ok(()) }
}

/// The answer to a LeaveGroup of a group that is not there.
fn nobody_left(request: &LeaveGroupRequest) -> LeaveGroupResponse {
    let one = |identity: &MemberIdentity| MemberResponse {
        member_id: identity.member_id.clone(),
        group_instance_id: identity.group_instance_id.clone(),
        error_code: ErrorCode::UnknownMemberId.code(),
        ..Default::default()
    };
    LeaveGroupResponse { members: request.members.iter().map(one).collect(), ..Default::default() }
}
