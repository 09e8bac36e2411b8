//! The machine of one `__consumer_offsets` partition.
//!
//! It has two parts. What the log says ([`persisted`]) changes by [`GroupShard::replay`] alone; requests about it are
//! decided without changing anything (`decide_*`), and their [`Outcome`] counts once its records are appended and
//! replayed. The living part ([`classic`]) is who is a member right now, who waits, and when time is up; it is not in
//! the log, and follows the transitions of [`ClassicState`]. Where a living step must be in the log before anybody may
//! hear of it, [`Effects`] hold a [`Write`], and the step is finished by [`GroupShard::written`].

mod admin;
mod classic;
mod join;
mod member;
mod offsets;
mod persisted;
mod rebalance;
mod records;
mod state;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::group_metadata_value::GroupMetadataValue;
use rkafka_protocol::messages::heartbeat_request::HeartbeatRequest;
use rkafka_protocol::messages::join_group_request::JoinGroupRequest;
use rkafka_protocol::messages::join_group_response::JoinGroupResponse;
use rkafka_protocol::messages::leave_group_request::LeaveGroupRequest;
use rkafka_protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use rkafka_protocol::messages::sync_group_request::SyncGroupRequest;
use rkafka_protocol::messages::sync_group_response::SyncGroupResponse;

use crate::{BrokerConfig, InternalRecord};
use classic::ClassicGroup;
pub(super) use classic::{join_error, sync_error};
use member::Member;
use persisted::Persisted;

pub use join::JoinContext;
pub use records::ReplayError;
pub use state::ClassicState;

/// Who waits for a late answer: a number that the driver gives out.
pub type WaiterId = u64;

/// Kafka writes texts of groups with a length of two bytes.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// The time as the machine is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// For timeouts: milliseconds on a clock that never jumps.
    pub monotonic_ms: i64,
    /// For records: milliseconds since the epoch.
    pub date_ms: i64,
}

/// What of the broker's settings the machine needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`, which Kafka compares with the number of UTF-16 code units.
    pub offset_metadata_max_length: usize,
}

impl GroupSettings {
    /// The group settings among the broker's.
    pub fn of(config: &BrokerConfig) -> Self {
        let milliseconds = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        Self {
            session_timeout_ms_min: milliseconds(config.group_min_session_timeout),
            session_timeout_ms_max: milliseconds(config.group_max_session_timeout),
            initial_rebalance_delay_ms: milliseconds(config.group_initial_rebalance_delay),
            max_size: usize::try_from(config.group_max_size).unwrap_or(usize::MAX),
            offset_metadata_max_length: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(0),
        }
    }
}

/// A decision that counts once its records are appended and replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<R> {
    /// To be appended, all or none.
    pub records: Vec<InternalRecord>,
    /// The answer after that.
    pub reply: R,
}

/// A late answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To a JoinGroup.
    Join(JoinGroupResponse),
    /// To a SyncGroup.
    Sync(SyncGroupResponse),
}

/// What is to be done after a living step: answers that may go out now, and records to append.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answers that are ready.
    pub replies: Vec<(WaiterId, Reply)>,
    /// To be appended in this order, and each to be reported by [`GroupShard::written`].
    pub writes: Vec<Write>,
}

/// Records of a living step. It must be handed back to [`GroupShard::written`], whatever came of it.
#[derive(Debug)]
#[must_use]
pub struct Write {
    record: Result<InternalRecord, ErrorCode>,
    then: Then,
}

impl Write {
    /// The record to append.
    ///
    /// # Errors
    /// It cannot be written in Kafka's format; the write is to be reported with this error.
    pub fn record(&self) -> Result<&InternalRecord, ErrorCode> {
        self.record.as_ref().map_err(|error| *error)
    }
}

/// How a living step goes on once its record is in the log.
#[derive(Debug)]
enum Then {
    /// A group was made by its first join.
    Created { group: String },
    /// The leader's assignment.
    Assigned { group: String, generation: i32, assignments: BTreeMap<String, Bytes> },
    /// The last member is gone.
    Emptied { group: String, generation: i32 },
    /// A static member has a new id. `leader_told` is the leader that older clients are told.
    Replaced { group: String, member_id: String, old: Box<Member>, leader_told: Option<String> },
}

/// One call's time, settings and results.
struct Turn<'a> {
    now: Moment,
    settings: &'a GroupSettings,
    effects: &'a mut Effects,
}

impl Turn<'_> {
    fn reply_join(&mut self, waiter: WaiterId, response: JoinGroupResponse) {
        self.effects.replies.push((waiter, Reply::Join(response)));
    }

    fn reply_sync(&mut self, waiter: WaiterId, response: SyncGroupResponse) {
        self.effects.replies.push((waiter, Reply::Sync(response)));
    }

    fn write_group(&mut self, group_id: &str, value: &GroupMetadataValue, then: Then) {
        let record = records::group(group_id, value).map_err(|error| {
            tracing::error!(group = group_id, %error, "the group cannot be written");
            ErrorCode::UnknownServerError
        });
        self.effects.writes.push(Write { record, then });
    }
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug, Clone)]
pub struct GroupShard {
    settings: GroupSettings,
    persisted: Persisted,
    /// Groups with members, or with somebody who is about to become one. All others are empty.
    living: BTreeMap<String, ClassicGroup>,
    /// When to look at a living group again; never later than it has something due.
    deadlines: BTreeSet<(i64, String)>,
}

impl GroupShard {
    /// A shard whose log is empty.
    pub fn new(settings: GroupSettings) -> Self {
        Self { settings, persisted: Persisted::default(), living: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    /// Takes a record of the log for true. To be called for each record of the log when it is loaded, and for each that
    /// was appended since.
    ///
    /// # Errors
    /// The record is not in Kafka's format; it changed nothing.
    pub fn replay(&mut self, key: Bytes, value: Option<Bytes>) -> Result<(), ReplayError> {
        self.persisted.replay(key, value)
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
            let (did, effects) = self.with_group(&group_id, now, |group, turn| group.expire_one(turn));
            if did == Some(true) {
                return Some(effects);
            }
            // Heartbeats move deadlines without being noted; now it is.
            self.deadlines.remove(&(at_ms, group_id.clone()));
            if let Some(group) = self.living.get_mut(&group_id) {
                group.noted_deadline_ms = None;
            }
            self.note_deadline(&group_id);
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
        let (response, effects) = self.with_group(&request.group_id, now, |group, turn| group.leave(request, turn));
        (response.unwrap_or_else(|| nobody_left(request)), effects)
    }

    /// A waiting request was given up by its client: the member counts as absent until it asks again, or is out at once
    /// where it cannot know its id.
    pub fn forget_waiter(&mut self, now: Moment, group_id: &str, waiter: WaiterId) -> Effects {
        let (_, effects) = self.with_group(group_id, now, |group, turn| {
            let Some(member_id) = group.forget_waiter(waiter, turn.now) else { return };
            if group.members.get(&member_id).is_some_and(|member| member.is_new) {
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
        effects
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

    fn living(&self, group_id: &str) -> Option<&ClassicGroup> {
        self.living.get(group_id)
    }

    fn living_groups(&self) -> impl Iterator<Item = &ClassicGroup> {
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
        if let Some(ClassicGroup { noted_deadline_ms: Some(at_ms), .. }) = self.living.remove(group_id) {
            self.deadlines.remove(&(at_ms, group_id.to_owned()));
        }
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
    let one = |identity: &rkafka_protocol::messages::leave_group_request::MemberIdentity| MemberResponse {
        member_id: identity.member_id.clone(),
        group_instance_id: identity.group_instance_id.clone(),
        error_code: ErrorCode::UnknownMemberId.code(),
        ..Default::default()
    };
    LeaveGroupResponse { members: request.members.iter().map(one).collect(), ..Default::default() }
}

/// What a client is told when a record of its group could not be appended.
pub(super) fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        other => other,
    }
}
