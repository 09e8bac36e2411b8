//! SyncGroup, Heartbeat and LeaveGroup.

use std::collections::BTreeMap;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use rkafka_protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use rkafka_protocol::messages::sync_group_request::SyncGroupRequest;
use rkafka_protocol::messages::sync_group_response::SyncGroupResponse;

use super::classic::{ClassicGroup, sync_error};
use super::offsets::Committer;
use super::{ClassicState, Then, Turn, WaiterId};

impl ClassicGroup {
    /// Takes a SyncGroup. It is answered at once, or when the leader has brought the assignment.
    pub fn sync(&mut self, request: &SyncGroupRequest, waiter: WaiterId, turn: &mut Turn<'_>) {
        if let Err(error) = self.check_sync(request) {
            return turn.reply_sync(waiter, sync_error(error));
        }
        self.pending_sync.remove(&request.member_id);
        if self.pending_sync.is_empty() {
            self.sync_ends_ms = None;
        }
        let is_leader = self.is_leader(&request.member_id);
        let (protocol_type, protocol_name) = (self.protocol_type.clone(), self.protocol.clone());
        let stable = self.state() == ClassicState::Stable;
        let Some(member) = self.members.get_mut(&request.member_id) else { return };
        if stable {
            let assignment = member.assignment.clone();
            let response = SyncGroupResponse { protocol_type, protocol_name, assignment, ..Default::default() };
            return turn.reply_sync(waiter, response);
        }
        // An earlier request that still waits can only be one that its client has given up.
        Self::answer_sync(member, turn, sync_error(ErrorCode::RebalanceInProgress));
        member.sync_waiter = Some(waiter);
        if is_leader {
            let given: BTreeMap<String, Bytes> =
                request.assignments.iter().map(|one| (one.member_id.clone(), one.assignment.clone())).collect();
            let value = self.metadata(|member| given.get(&member.id).cloned().unwrap_or_default());
            let then = Then::Assigned { group: self.id.clone(), generation: self.generation, assignments: given };
            turn.write_group(&self.id, &value, then);
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        match self.state() {
            ClassicState::Dead => return Err(ErrorCode::CoordinatorNotAvailable),
            ClassicState::Empty => return Err(ErrorCode::UnknownMemberId),
            _ => {}
        }
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        let differs = |sent: &Option<String>, ours: &Option<String>| sent.is_some() && sent != ours;
        if request.generation_id != self.generation {
            Err(ErrorCode::IllegalGeneration)
        } else if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            Err(ErrorCode::InconsistentGroupProtocol)
        } else if self.state() == ClassicState::PreparingRebalance {
            Err(ErrorCode::RebalanceInProgress)
        } else {
            Ok(())
        }
    }

    /// The record with the leader's assignment was appended, or not. Should the group have moved on meanwhile, the
    /// assignment is of the past.
    pub fn assigned(
        &mut self,
        generation: i32,
        mut assignments: BTreeMap<String, Bytes>,
        result: Result<(), ErrorCode>,
        turn: &mut Turn<'_>,
    ) {
        if self.state() != ClassicState::CompletingRebalance || self.generation != generation {
            return;
        }
        if let Err(error) = result {
            self.fail_assignment(error, turn);
            return self.prepare_rebalance(turn);
        }
        let (protocol_type, protocol_name) = (self.protocol_type.clone(), self.protocol.clone());
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
            let response = SyncGroupResponse {
                protocol_type: protocol_type.clone(),
                protocol_name: protocol_name.clone(),
                assignment: member.assignment.clone(),
                ..Default::default()
            };
            if Self::answer_sync(member, turn, response) {
                member.keep_alive(turn.now.monotonic_ms);
            }
        }
        self.enter(ClassicState::Stable, turn.now);
    }

    /// Takes a heartbeat.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `ILLEGAL_GENERATION`; `REBALANCE_IN_PROGRESS` where the member shall
    /// join again, which keeps its session all the same.
    pub fn heartbeat(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        turn: &mut Turn<'_>,
    ) -> Result<(), ErrorCode> {
        if self.state() == ClassicState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.check_member(member_id, instance_id)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        self.keep_alive(member_id, turn);
        match self.state() {
            ClassicState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            ClassicState::Empty => Err(ErrorCode::UnknownMemberId),
            _ => Ok(()),
        }
    }

    /// The session of a member begins anew.
    pub fn keep_alive(&mut self, member_id: &str, turn: &Turn<'_>) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.keep_alive(turn.now.monotonic_ms);
        }
    }

    /// Takes members out, one answer each. An administrator names static members by their instance alone.
    pub fn leave(&mut self, request: &LeaveGroupRequest, turn: &mut Turn<'_>) -> LeaveGroupResponse {
        if self.state() == ClassicState::Dead {
            let error_code = ErrorCode::CoordinatorNotAvailable.code();
            return LeaveGroupResponse { error_code, ..Default::default() };
        }
        let mut members = Vec::with_capacity(request.members.len());
        let mut somebody_left = false;
        for identity in &request.members {
            let result = self.leave_one(identity, turn);
            somebody_left |= result.is_ok();
            members.push(MemberResponse {
                member_id: identity.member_id.clone(),
                group_instance_id: identity.group_instance_id.clone(),
                error_code: result.err().unwrap_or(ErrorCode::None).code(),
                ..Default::default()
            });
        }
        if somebody_left {
            match self.state() {
                ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(turn),
                _ => self.complete_if_all_joined(turn),
            }
        }
        LeaveGroupResponse { members, ..Default::default() }
    }

    fn leave_one(&mut self, identity: &MemberIdentity, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        let instance_id = identity.group_instance_id.as_deref();
        let member_id = if identity.member_id.is_empty() {
            let member = instance_id.and_then(|instance| self.static_member(instance));
            member.map(|member| member.id.clone()).ok_or(ErrorCode::UnknownMemberId)?
        } else {
            if !self.pending.contains_key(&identity.member_id) {
                self.check_member(&identity.member_id, instance_id)?;
            }
            identity.member_id.clone()
        };
        let reason = identity.reason.as_deref().unwrap_or("not provided");
        tracing::info!(group = %self.id, member = %member_id, reason, "member left");
        if let Some(member) = self.remove(&member_id) {
            Self::dismiss(member, turn, ErrorCode::UnknownMemberId);
        }
        Ok(())
    }

    /// Whether an offset may be committed by this member of this generation.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `ILLEGAL_GENERATION`, or `REBALANCE_IN_PROGRESS` while the assignment
    /// is awaited.
    pub fn check_commit(&self, committer: &Committer<'_>) -> Result<(), ErrorCode> {
        let Committer { member_id, instance_id, generation, is_transactional, .. } = *committer;
        if self.state() == ClassicState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if generation < 0 && self.state() == ClassicState::Empty {
            // An administrator, or a consumer that only keeps its offsets here.
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            // Old producers do not say for which member they commit.
            return if is_transactional { Ok(()) } else { Err(ErrorCode::UnknownMemberId) };
        }
        self.check_member(member_id, instance_id)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if !is_transactional && self.state() == ClassicState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }
}
