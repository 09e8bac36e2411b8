//! Requests of other nodes, and what all responses have in common.

use std::cmp::Ordering;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest, EndQuorumEpochResponse,
};

use super::message::{Action, RaftRequest, RaftResponse, RequestId};
use super::node::{Now, RaftNode};
use super::role::Role;
use super::wire;
use super::{RaftError, RaftLog};

impl<L: RaftLog> RaftNode<L> {
    pub(super) fn answer(&mut self, now: Now, id: RequestId, request: RaftRequest) -> Result<(), RaftError> {
        let response = match request {
            RaftRequest::Vote(request) => RaftResponse::Vote(self.on_vote(now, &request)?),
            RaftRequest::BeginQuorumEpoch(request) => {
                RaftResponse::BeginQuorumEpoch(self.on_begin_quorum_epoch(now, &request)?)
            }
            RaftRequest::EndQuorumEpoch(request) => {
                RaftResponse::EndQuorumEpoch(self.on_end_quorum_epoch(now, &request)?)
            }
            RaftRequest::Fetch(request) => match self.on_fetch(now, id, &request)? {
                Some(response) => RaftResponse::Fetch(response),
                None => return Ok(()),
            },
            RaftRequest::FetchSnapshot(request) => RaftResponse::FetchSnapshot(self.on_fetch_snapshot(now, &request)?),
        };
        self.actions.push_back(Action::Reply { id, response });
        Ok(())
    }

    /// Whether a request is meant for this cluster. Who does not say is believed, as Kafka does.
    pub(super) fn is_own_cluster(&self, cluster_id: Option<&str>) -> bool {
        match (cluster_id, self.config.cluster_id.as_deref()) {
            (Some(theirs), Some(ours)) => theirs == ours,
            _ => true,
        }
    }

    fn on_begin_quorum_epoch(
        &mut self,
        now: Now,
        request: &BeginQuorumEpochRequest,
    ) -> Result<BeginQuorumEpochResponse, RaftError> {
        let refused = |error: ErrorCode| BeginQuorumEpochResponse { error_code: error.code(), ..Default::default() };
        if !self.is_own_cluster(request.cluster_id.as_deref()) {
            return Ok(refused(ErrorCode::InconsistentClusterId));
        }
        let Some((epoch, leader_id)) = wire::parse_begin(request) else {
            return Ok(refused(ErrorCode::InvalidRequest));
        };
        let is_for_other = request.voter_id >= 0 && request.voter_id != self.config.node_id;
        let mut error = self.check_leader_claim(epoch, leader_id);
        if error == ErrorCode::None && is_for_other {
            error = ErrorCode::InvalidVoterKey;
        }
        if error == ErrorCode::None {
            self.learn(now, epoch, Some(leader_id))?;
            // One that gave its leader up too early goes back to it.
            if matches!(self.role, Role::Prospective { .. }) && self.leader_id == Some(leader_id) {
                self.follow(now, epoch, leader_id)?;
            }
        }
        Ok(wire::begin_response(&self.config, self.leader_and_epoch(), error))
    }

    /// What is wrong with a node that says that it leads, or led, in an epoch.
    fn check_leader_claim(&self, epoch: i32, leader_id: i32) -> ErrorCode {
        if !self.config.is_voter() || !self.config.knows_voter(leader_id) {
            return ErrorCode::InconsistentVoterSet;
        }
        match epoch.cmp(&self.epoch) {
            Ordering::Less => ErrorCode::FencedLeaderEpoch,
            // Its own epochs this node knows.
            Ordering::Equal | Ordering::Greater if leader_id == self.config.node_id => ErrorCode::InvalidRequest,
            Ordering::Equal if self.is_leader() || self.leader_id.is_some_and(|known| known != leader_id) => {
                ErrorCode::InvalidRequest
            }
            Ordering::Equal | Ordering::Greater => ErrorCode::None,
        }
    }

    fn on_end_quorum_epoch(
        &mut self,
        now: Now,
        request: &EndQuorumEpochRequest,
    ) -> Result<EndQuorumEpochResponse, RaftError> {
        let refused = |error: ErrorCode| EndQuorumEpochResponse { error_code: error.code(), ..Default::default() };
        if !self.is_own_cluster(request.cluster_id.as_deref()) {
            return Ok(refused(ErrorCode::InconsistentClusterId));
        }
        let Some((epoch, leader_id, preferred)) = wire::parse_end(request) else {
            return Ok(refused(ErrorCode::InvalidRequest));
        };
        let error = self.check_leader_claim(epoch, leader_id);
        if error == ErrorCode::None {
            self.learn(now, epoch, Some(leader_id))?;
            let delay = self.election_delay(&preferred);
            match &mut self.role {
                Role::Follower(following) => {
                    following.fetch_until = now.monotonic_ms + delay;
                    // It may help another to be elected at once.
                    following.has_fetched = false;
                }
                Role::Unattached { election_at } => *election_at = now.monotonic_ms + delay,
                _ => {}
            }
            if delay == 0 {
                let response = wire::end_response(&self.config, self.leader_and_epoch(), error);
                self.tick(now)?;
                return Ok(response);
            }
        }
        Ok(wire::end_response(&self.config, self.leader_and_epoch(), error))
    }

    /// How long to wait after a leader gave up: the one it prefers does not, the next ones ever longer.
    fn election_delay(&mut self, preferred: &[i32]) -> i64 {
        let most = self.config.election_backoff_max_ms;
        match preferred.iter().position(|id| *id == self.config.node_id) {
            Some(0) => 0,
            Some(position) => {
                let step = self.config.retry_backoff_ms;
                ((step << position.min(16)) + self.random.below(step)).min(most)
            }
            None => self.random.below(most),
        }
    }

    pub(super) fn on_begin_response(
        &mut self,
        now: Now,
        from: i32,
        response: &BeginQuorumEpochResponse,
    ) -> Result<(), RaftError> {
        let name = "BeginQuorumEpoch";
        let Some(partition) = self.accepted(now, from, name, wire::single!(response, topics)) else { return Ok(()) };
        let error = ErrorCode::from_code(partition.error_code);
        let leader_id = wire::leader_id(partition.leader_id);
        if self.is_of_this_epoch(now, from, name, error, leader_id, partition.leader_epoch)?
            && let Role::Leader(leading) = &mut self.role
        {
            leading.to_begin.remove(&from);
        }
        Ok(())
    }

    pub(super) fn on_end_response(
        &mut self,
        now: Now,
        from: i32,
        response: &EndQuorumEpochResponse,
    ) -> Result<(), RaftError> {
        let name = "EndQuorumEpoch";
        let Some(partition) = self.accepted(now, from, name, wire::single!(response, topics)) else { return Ok(()) };
        let error = ErrorCode::from_code(partition.error_code);
        let leader_id = wire::leader_id(partition.leader_id);
        if self.is_of_this_epoch(now, from, name, error, leader_id, partition.leader_epoch)?
            && let Role::Resigned { to_tell, .. } = &mut self.role
        {
            to_tell.remove(&from);
        }
        Ok(())
    }

    /// Tells the others that this node's epoch is over.
    pub(super) fn tell_end(&mut self, now: Now) {
        let Role::Resigned { to_tell, preferred, .. } = &self.role else { return };
        let told: Vec<i32> = to_tell.iter().copied().filter(|id| self.peers.is_ready(*id)).collect();
        let preferred = preferred.clone();
        for to in told {
            let request = wire::end_request(&self.config, self.epoch, &preferred);
            self.call(now, to, RaftRequest::EndQuorumEpoch(request));
        }
    }

    /// What all responses tell: whether epoch and leader are still the same, so that the rest of it counts.
    pub(super) fn is_of_this_epoch(
        &mut self,
        now: Now,
        from: i32,
        name: &'static str,
        error: ErrorCode,
        leader_id: Option<i32>,
        epoch: i32,
    ) -> Result<bool, RaftError> {
        if epoch > self.epoch || (epoch == self.epoch && self.leader_id.is_none() && leader_id.is_some()) {
            let before = self.leader_and_epoch();
            self.learn(now, epoch, leader_id)?;
            if self.leader_and_epoch() != before {
                return Ok(false);
            }
        }
        if error != ErrorCode::None {
            self.note_refusal(now, from, name, error);
        }
        Ok(error == ErrorCode::None && epoch == self.epoch)
    }

    /// What a response says of the log's one partition. Where it says nothing of it, that is noted.
    pub(super) fn accepted<T>(
        &mut self,
        now: Now,
        from: i32,
        name: &'static str,
        partition: Result<T, ErrorCode>,
    ) -> Option<T> {
        partition.map_err(|error| self.note_refusal(now, from, name, error)).ok()
    }

    pub(super) fn note_refusal(&mut self, now: Now, from: i32, name: &'static str, error: ErrorCode) {
        tracing::debug!(node_id = self.config.node_id, from, ?error, "{name} was refused");
        self.leave_alone(now, from);
    }
}
