//! The living part of a classic group: its members, who waits, and when time is up.
//!
//! Nothing here is persisted but by a [`Write`](super::Write), and what a write says is taken for true only when it was
//! appended ([`ClassicGroup::written`]).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use rkafka_protocol::messages::group_metadata_value::GroupMetadataValue;
use rkafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use rkafka_protocol::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use rkafka_protocol::messages::sync_group_response::SyncGroupResponse;
use rkafka_protocol::wire::{Message, Reader};

use super::member::Member;
use super::{ClassicState, Moment, Reply, Turn, WaiterId};

/// The protocol type of consumers; the topics that such members subscribe to can be read.
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// When a rebalance stops waiting for more members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JoinTimer {
    pub at_ms: i64,
    /// Set in the first rebalance of an empty group, which may be put off while new members keep coming: by how much
    /// this wait was set, and how much of the rebalance timeout is left after it.
    pub initial: Option<(i32, i32)>,
}

/// A classic group as long as it has members, or somebody who is about to become one.
#[derive(Debug, Clone)]
pub(super) struct ClassicGroup {
    pub id: String,
    state: ClassicState,
    /// The state before this one; `Empty` marks the first rebalance.
    before: ClassicState,
    /// When the state was entered, by the date.
    pub state_since_ms: i64,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    /// Member ids that were given out and not used yet, each with the end of its patience (KIP-394).
    pub pending: BTreeMap<String, i64>,
    /// Members that have not asked for their assignment in this generation.
    pub pending_sync: BTreeSet<String>,
    pub join_timer: Option<JoinTimer>,
    pub sync_ends_ms: Option<i64>,
    /// Somebody came while the first rebalance waited.
    pub new_member_came: bool,
    /// The topics that members subscribe to, `None` where it is not known.
    pub subscribed: Option<BTreeSet<String>>,
    /// The deadline under which the shard has noted this group.
    pub noted_deadline_ms: Option<i64>,
}

impl ClassicGroup {
    /// A group that nobody knew.
    pub fn new(id: &str, now: Moment) -> Self {
        Self {
            id: id.to_owned(),
            state: ClassicState::Empty,
            before: ClassicState::Dead,
            state_since_ms: now.date_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            join_timer: None,
            sync_ends_ms: None,
            new_member_came: false,
            subscribed: None,
            noted_deadline_ms: None,
        }
    }

    /// A group as its last record says. The sessions of its members begin now.
    pub fn from_persisted(id: &str, value: &GroupMetadataValue, now: Moment) -> Self {
        let mut group = Self::new(id, now);
        let protocol = value.protocol.clone().unwrap_or_default();
        for metadata in &value.members {
            let mut member = Member::from_persisted(metadata, &protocol);
            member.keep_alive(now.monotonic_ms);
            group.members.insert(member.id.clone(), member);
        }
        group.state = if group.members.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        if value.current_state_timestamp != -1 {
            group.state_since_ms = value.current_state_timestamp;
        }
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type.clone()).filter(|name| !name.is_empty());
        group.protocol = value.protocol.clone();
        // A leader that is no member could never be waited for.
        group.leader = value
            .leader
            .clone()
            .filter(|leader| group.members.contains_key(leader))
            .or_else(|| group.members.keys().next().cloned());
        group.subscribed = group.subscribed_topics();
        group
    }

    pub fn state(&self) -> ClassicState {
        self.state
    }

    pub fn is_first_rebalance(&self) -> bool {
        self.state == ClassicState::PreparingRebalance && self.before == ClassicState::Empty
    }

    /// Goes to another state, and says so. A step that the table does not have is a fault of this code; it is reported
    /// and not taken.
    pub fn enter(&mut self, next: ClassicState, now: Moment) {
        if !self.state.may_become(next) {
            debug_assert!(false, "group {}: {:?} -> {next:?}", self.id, self.state);
            tracing::error!(group = %self.id, from = ?self.state, to = ?next, "a step that no group may take was refused");
            return;
        }
        tracing::debug!(group = %self.id, generation = self.generation, from = ?self.state, to = ?next, "group state");
        self.before = self.state;
        self.state = next;
        self.state_since_ms = now.date_ms;
    }

    pub fn static_member(&self, instance_id: &str) -> Option<&Member> {
        self.members.values().find(|member| member.instance_id.as_deref() == Some(instance_id))
    }

    pub fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Whether the request's member is one, and the right one where it names an instance.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`; `FENCED_INSTANCE_ID` where another member has taken the instance's place.
    pub fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_member(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(member) if member.id != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Whether somebody with these protocols may be a member.
    pub fn supports(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == ClassicState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|one| self.members.values().all(|member| member.supports(&one.name)))
    }

    /// The protocol that all members support and most of them like best; by name where votes are equal, so that a
    /// replay of the same requests chooses the same.
    pub fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let supported_by_all = |name: &str| self.members.values().all(|other| other.supports(name));
            if let Some(vote) = member.protocols.iter().find(|one| supported_by_all(&one.name)) {
                *votes.entry(vote.name.as_str()).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.iter().find(|(_, count)| **count == most).map(|(name, _)| (*name).to_owned())
    }

    pub fn all_have_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.join_waiter.is_some())
    }

    /// The longest that any member wants to be waited for; at least a millisecond, so that no timer stands still.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0).max(1)
    }

    pub fn add(&mut self, member: Member) {
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member, or the promise of one, out of all lists. Its waiting requests are the caller's to answer.
    pub fn remove(&mut self, member_id: &str) -> Option<Member> {
        self.pending.remove(member_id);
        self.pending_sync.remove(member_id);
        let removed = self.members.remove(member_id);
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        removed
    }

    /// Answers a waiting JoinGroup; the answer's member id is set here.
    pub fn answer_join(member: &mut Member, turn: &mut Turn<'_>, response: JoinGroupResponse) {
        if let Some(waiter) = member.join_waiter.take() {
            turn.effects.replies.push((waiter, Reply::Join(response)));
        }
    }

    /// Answers a waiting SyncGroup, and answers whether there was one.
    pub fn answer_sync(member: &mut Member, turn: &mut Turn<'_>, response: SyncGroupResponse) -> bool {
        match member.sync_waiter.take() {
            Some(waiter) => {
                turn.effects.replies.push((waiter, Reply::Sync(response)));
                true
            }
            None => false,
        }
    }

    /// Tells the waiting requests of a member who is no longer one.
    pub fn dismiss(mut member: Member, turn: &mut Turn<'_>, error: ErrorCode) {
        let member_id = if error == ErrorCode::FencedInstanceId { member.id.clone() } else { String::new() };
        Self::answer_join(&mut member, turn, join_error(&member_id, error));
        Self::answer_sync(&mut member, turn, sync_error(error));
    }

    /// What a member is told of the present generation.
    pub fn joined(&self, member_id: &str) -> JoinGroupResponse {
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            members: if self.is_leader(member_id) { self.subscriptions() } else { Vec::new() },
            ..Default::default()
        }
    }

    /// What the leader is told of all members.
    pub fn subscriptions(&self) -> Vec<JoinGroupResponseMember> {
        let one = |member: &Member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.subscription(self.protocol.as_deref()),
            ..Default::default()
        };
        self.members.values().map(one).collect()
    }

    /// The group's record, with each member's assignment from `assignment`.
    pub fn metadata(&self, assignment: impl Fn(&Member) -> Bytes) -> GroupMetadataValue {
        let protocol = self.protocol.as_deref();
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since_ms,
            members: self.members.values().map(|member| member.to_persisted(protocol, assignment(member))).collect(),
            ..Default::default()
        }
    }

    /// The topics that all members together subscribe to. Only consumers' subscriptions can be read; their first
    /// version is the beginning of every later one.
    pub fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let mut reader = Reader::new(member.subscription(self.protocol.as_deref()));
            reader.i16().ok()?;
            topics.extend(ConsumerProtocolSubscription::decode(&mut reader, 0).ok()?.topics);
        }
        Some(topics)
    }

    /// Whether a topic's offsets may not be deleted. Where subscriptions cannot be read, every topic counts.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE),
        }
    }

    /// When something of this group is due, on the monotonic clock.
    pub fn deadline_ms(&self) -> Option<i64> {
        let sessions = self.members.values().filter_map(|member| member.session_ends_ms);
        let pending = self.pending.values().copied();
        let timers = self.join_timer.map(|timer| timer.at_ms).into_iter().chain(self.sync_ends_ms);
        sessions.chain(pending).chain(timers).min()
    }

    /// The waiting request of somebody who hung up. A member who may know its id keeps its place for a session; one
    /// that cannot know it is taken out by the caller.
    pub fn forget_waiter(&mut self, waiter: WaiterId, now: Moment) -> Option<String> {
        let member = self
            .members
            .values_mut()
            .find(|member| member.join_waiter == Some(waiter) || member.sync_waiter == Some(waiter))?;
        if member.join_waiter == Some(waiter) {
            member.join_waiter = None;
        } else {
            member.sync_waiter = None;
        }
        member.keep_alive(now.monotonic_ms);
        Some(member.id.clone())
    }
}

/// A JoinGroup answer that is an error.
pub(in crate::coordinator) fn join_error(member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error.code(),
        generation_id: -1,
        protocol_type: None,
        protocol_name: None,
        member_id: member_id.to_owned(),
        ..Default::default()
    }
}

/// A SyncGroup answer that is an error.
pub(in crate::coordinator) fn sync_error(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.code(), protocol_type: None, protocol_name: None, ..Default::default() }
}
