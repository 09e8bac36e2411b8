//! JoinGroup: who may come in, and what that sets off.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::join_group_request::JoinGroupRequest;

use super::classic::{ClassicGroup, join_error};
use super::member::Member;
use super::{ClassicState, Then, Turn, WaiterId};

/// How long a new member's first request may wait. It cannot send heartbeats, and a client that gave up and asked anew
/// would otherwise leave a dead member behind at each attempt (Kafka's `group.new.member.join.timeout`, fixed there
/// too).
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// The first version in which a dynamic member is sent away with an id before it may come in (KIP-394).
pub(super) const FIRST_VERSION_WITH_REQUIRED_ID: i16 = 4;
/// The first version that can tell a leader to leave the assignment as it is (KIP-814).
const FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT: i16 = 9;

/// What a JoinGroup brings besides its message.
#[derive(Debug, Clone)]
pub struct JoinContext {
    /// The version of the request.
    pub version: i16,
    /// The `client.id`.
    pub client_id: String,
    /// The client's address as descriptions show it, such as `/127.0.0.1`.
    pub client_host: String,
    /// The id for this member, should it be new. The machine has no randomness of its own.
    pub new_member_id: String,
    /// Who is to be answered.
    pub waiter: WaiterId,
}

impl ClassicGroup {
    /// Takes a JoinGroup. It is answered at once, or when the rebalance is through.
    pub fn join(&mut self, request: &JoinGroupRequest, context: &JoinContext, turn: &mut Turn<'_>) {
        let member_id = request.member_id.as_str();
        if !self.has_room_for(member_id, turn.settings.max_size) {
            if let Some(member) = self.remove(member_id) {
                Self::dismiss(member, turn, ErrorCode::GroupMaxSizeReached);
                self.complete_if_all_joined(turn);
            }
            return turn.reply_join(context.waiter, join_error("", ErrorCode::GroupMaxSizeReached));
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            return turn.reply_join(context.waiter, join_error(member_id, ErrorCode::InconsistentGroupProtocol));
        }
        if !member_id.is_empty() {
            return self.join_known(request, context, turn);
        }
        match request.group_instance_id.as_deref().map(|instance| self.static_member(instance).map(|m| m.id.clone())) {
            Some(Some(old_id)) => self.replace_static(request, context, &old_id, turn),
            None if context.version >= FIRST_VERSION_WITH_REQUIRED_ID => {
                let ends_ms = turn.now.monotonic_ms.saturating_add(i64::from(request.session_timeout_ms));
                self.pending.insert(context.new_member_id.clone(), ends_ms);
                turn.reply_join(context.waiter, join_error(&context.new_member_id, ErrorCode::MemberIdRequired));
            }
            _ => self.add_and_rebalance(request, context, &context.new_member_id, turn),
        }
    }

    /// Whether one more may come in, or this one is in already. While a rebalance gathers, those who wait are counted,
    /// so that the last to come are sent away should the limit have been lowered.
    fn has_room_for(&self, member_id: &str, max_size: usize) -> bool {
        let member = self.members.get(member_id);
        match self.state() {
            ClassicState::Empty | ClassicState::Dead => true,
            ClassicState::PreparingRebalance => {
                member.is_some_and(|member| member.join_waiter.is_some())
                    || self.members.values().filter(|member| member.join_waiter.is_some()).count() < max_size
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                member.is_some() || self.members.len() < max_size
            }
        }
    }

    fn join_known(&mut self, request: &JoinGroupRequest, context: &JoinContext, turn: &mut Turn<'_>) {
        let member_id = request.member_id.as_str();
        if self.pending.contains_key(member_id) {
            if request.group_instance_id.is_some() {
                // Ids are promised to dynamic members only; this one must begin anew.
                return turn.reply_join(context.waiter, join_error(member_id, ErrorCode::UnknownMemberId));
            }
            return self.add_and_rebalance(request, context, member_id, turn);
        }
        if let Err(error) = self.check_member(member_id, request.group_instance_id.as_deref()) {
            return turn.reply_join(context.waiter, join_error(member_id, error));
        }
        let unchanged = self.members.get(member_id).is_some_and(|member| member.matches(&request.protocols));
        let rebalance = match self.state() {
            ClassicState::PreparingRebalance => true,
            // The first answer may have been lost; the member is told the same again.
            ClassicState::CompletingRebalance => !unchanged,
            // A leader that asks again wants a rebalance: it has seen topics change.
            ClassicState::Stable => !unchanged || self.is_leader(member_id),
            ClassicState::Empty | ClassicState::Dead => {
                return turn.reply_join(context.waiter, join_error(member_id, ErrorCode::UnknownMemberId));
            }
        };
        if rebalance {
            self.update(member_id, request, context.waiter, turn);
            self.rebalance_or_complete(turn);
        } else {
            let mut response = self.joined(member_id);
            if self.state() == ClassicState::Stable {
                response.members = Vec::new();
            }
            turn.reply_join(context.waiter, response);
        }
    }

    fn add_and_rebalance(
        &mut self,
        request: &JoinGroupRequest,
        context: &JoinContext,
        member_id: &str,
        turn: &mut Turn<'_>,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if self.is_first_rebalance() {
            self.new_member_came = true;
        }
        self.add(Member {
            id: member_id.to_owned(),
            instance_id: request.group_instance_id.clone(),
            client_id: context.client_id.clone(),
            client_host: context.client_host.clone(),
            rebalance_timeout_ms: rebalance_timeout_ms(request, context.version),
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols.clone(),
            assignment: bytes::Bytes::new(),
            join_waiter: Some(context.waiter),
            sync_waiter: None,
            is_new: true,
            knows_id: !request.member_id.is_empty(),
            session_ends_ms: Some(turn.now.monotonic_ms.saturating_add(NEW_MEMBER_JOIN_TIMEOUT_MS)),
        });
        self.rebalance_or_complete(turn);
    }

    /// Takes over what a member's new request says. An earlier request of the member that still waits is told to come
    /// again; it can only be one that its client has given up.
    fn update(&mut self, member_id: &str, request: &JoinGroupRequest, waiter: WaiterId, turn: &mut Turn<'_>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        Self::answer_join(member, turn, join_error(member_id, ErrorCode::RebalanceInProgress));
        member.protocols = request.protocols.clone();
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        if member.rebalance_timeout_ms < 0 {
            member.rebalance_timeout_ms = request.session_timeout_ms;
        }
        member.session_timeout_ms = request.session_timeout_ms;
        member.join_waiter = Some(waiter);
    }

    /// A static member came back without its id: it takes the place of its old self, which is fenced. In a stable group
    /// that changes nothing for the others, so there is no rebalance (KIP-345).
    fn replace_static(&mut self, request: &JoinGroupRequest, context: &JoinContext, old_id: &str, turn: &mut Turn<'_>) {
        let new_id = context.new_member_id.as_str();
        let leader_before = self.leader.clone();
        let Some(old) = self.members.remove(old_id) else { return };
        let mut new =
            Member { id: new_id.to_owned(), join_waiter: None, sync_waiter: None, is_new: false, ..old.clone() };
        new.keep_alive(turn.now.monotonic_ms);
        self.members.insert(new_id.to_owned(), new);
        if self.is_leader(old_id) {
            self.leader = Some(new_id.to_owned());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.to_owned());
        }
        Self::dismiss(old.clone(), turn, ErrorCode::FencedInstanceId);
        self.update(new_id, request, context.waiter, turn);

        match self.state() {
            ClassicState::Stable if self.select_protocol() == self.protocol => {
                let mut old = old;
                (old.join_waiter, old.sync_waiter) = (None, None);
                let skips = context.version >= FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT;
                let leader_told = if skips { None } else { Some(leader_before.unwrap_or_default()) };
                let value = self.metadata(|member| member.assignment.clone());
                let then = Then::Replaced {
                    group: self.id.clone(),
                    member_id: new_id.to_owned(),
                    old: Box::new(old),
                    leader_told,
                };
                turn.write_group(&self.id, &value, then);
            }
            ClassicState::Stable => self.rebalance_or_complete(turn),
            // The leader may have been told of the old id already, so that an assignment would miss the new one.
            ClassicState::CompletingRebalance => self.prepare_rebalance(turn),
            _ => self.complete_if_all_joined(turn),
        }
    }

    /// The record of a static member's new id was appended, or not.
    pub fn replaced(
        &mut self,
        member_id: &str,
        old: Member,
        leader_told: Option<String>,
        result: Result<(), ErrorCode>,
        turn: &mut Turn<'_>,
    ) {
        let mut response = self.joined(member_id);
        let Some(member) = self.members.get_mut(member_id) else { return };
        match result {
            Ok(()) => {
                if let Some(leader) = leader_told {
                    // Before KIP-814 a restarted leader must not learn that it leads, or it would assign anew.
                    response.leader = leader;
                    response.members = Vec::new();
                } else {
                    response.skip_assignment = response.leader == member_id;
                }
                Self::answer_join(member, turn, response);
            }
            Err(error) => {
                Self::answer_join(member, turn, join_error("", error));
                let mut restored = old;
                restored.keep_alive(turn.now.monotonic_ms);
                self.members.remove(member_id);
                if self.is_leader(member_id) {
                    self.leader = Some(restored.id.clone());
                }
                self.members.insert(restored.id.clone(), restored);
            }
        }
    }
}

pub(super) fn rebalance_timeout_ms(request: &JoinGroupRequest, version: i16) -> i32 {
    // Version 0 had the session timeout only.
    if version == 0 || request.rebalance_timeout_ms < 0 {
        request.session_timeout_ms
    } else {
        request.rebalance_timeout_ms
    }
}
