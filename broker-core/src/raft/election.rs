//! Votes: given, and sought (Vote, KIP-595 and KIP-996).

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{VoteRequest, VoteResponse};

use super::message::RaftRequest;
use super::node::{Now, RaftNode};
use super::role::Role;
use super::wire::{self, Ballot};
use super::{RaftError, RaftLog};
use crate::planted::{self, Bug};

impl<L: RaftLog> RaftNode<L> {
    pub(super) fn on_vote(&mut self, now: Now, request: &VoteRequest) -> Result<VoteResponse, RaftError> {
        if !self.is_own_cluster(request.cluster_id.as_deref()) {
            let error_code = ErrorCode::InconsistentClusterId.code();
            return Ok(VoteResponse { error_code, ..Default::default() });
        }
        let Some(ballot) = wire::parse_vote(request) else {
            return Ok(VoteResponse { error_code: ErrorCode::InvalidRequest.code(), ..Default::default() });
        };
        let error = self.check_ballot(request.voter_id, ballot);
        if error != ErrorCode::None {
            return Ok(wire::refused_vote(&self.config, self.leader_and_epoch(), error));
        }
        if ballot.epoch > self.epoch {
            self.detach(now, ballot.epoch)?;
        }
        let granted = self.would_grant(ballot);
        if granted && !ballot.is_pre_vote && self.voted_id != Some(ballot.candidate_id) {
            self.voted_id = Some(ballot.candidate_id);
            if !planted::is(Bug::RaftVoteNotPersisted) {
                self.persist()?;
            }
        }
        if granted && !ballot.is_pre_vote && !matches!(self.role, Role::Candidate { .. }) {
            // The candidate has its time.
            let election_at = self.election_timeout(now);
            self.take_role(Role::Unattached { election_at }, None);
        }
        Ok(wire::vote_response(&self.config, self.leader_and_epoch(), granted))
    }

    fn check_ballot(&self, voter_id: i32, ballot: Ballot) -> ErrorCode {
        let is_for_other = voter_id >= 0 && voter_id != self.config.node_id;
        let end = ballot.end;
        // A candidate asks in an epoch of its own, of which no log has a record.
        let is_impossible = end.offset < 0
            || end.epoch < 0
            || end.epoch > ballot.epoch
            || (!ballot.is_pre_vote && end.epoch == ballot.epoch);
        if is_for_other {
            ErrorCode::InvalidVoterKey
        } else if !self.config.is_voter() || !self.config.knows_voter(ballot.candidate_id) {
            ErrorCode::InconsistentVoterSet
        } else if is_impossible {
            ErrorCode::InvalidRequest
        } else if ballot.epoch < self.epoch {
            ErrorCode::FencedLeaderEpoch
        } else {
            ErrorCode::None
        }
    }

    /// Whether the vote is the candidate's, in the present epoch.
    fn would_grant(&self, ballot: Ballot) -> bool {
        let is_up_to_date = planted::is(Bug::RaftVoteIgnoresLog) || ballot.end.is_up_to_date_with(self.log.end());
        if ballot.is_pre_vote {
            return is_up_to_date
                && match &self.role {
                    Role::Follower(following) => !following.has_fetched,
                    Role::Leader(leading) => leading.high_watermark.is_none(),
                    _ => true,
                };
        }
        match (&self.role, self.voted_id) {
            (Role::Follower(_) | Role::Leader(_) | Role::Resigned { .. }, _) => false,
            (_, Some(voted_id)) => voted_id == ballot.candidate_id,
            (_, None) => self.leader_id.is_none() && is_up_to_date,
        }
    }

    /// Asks those who have not answered yet.
    pub(super) fn seek_votes(&mut self, now: Now) {
        let (votes, is_pre_vote) = match &self.role {
            Role::Prospective { votes, .. } => (votes, true),
            Role::Candidate { votes, retry_at: None, .. } => (votes, false),
            _ => return,
        };
        let ballot = Ballot { epoch: self.epoch, candidate_id: self.config.node_id, end: self.log.end(), is_pre_vote };
        let asked: Vec<i32> = votes.unrecorded().filter(|id| self.peers.is_ready(*id)).collect();
        for to in asked {
            let request = wire::vote_request(&self.config, to, ballot);
            self.call(now, to, RaftRequest::Vote(request));
        }
    }

    pub(super) fn on_vote_response(&mut self, now: Now, from: i32, response: &VoteResponse) -> Result<(), RaftError> {
        let Some(partition) = self.accepted(now, from, "Vote", wire::single!(response, topics)) else { return Ok(()) };
        let error = ErrorCode::from_code(partition.error_code);
        let leader_id = wire::leader_id(partition.leader_id);
        if !self.is_of_this_epoch(now, from, "Vote", error, leader_id, partition.leader_epoch)? {
            return Ok(());
        }
        match &mut self.role {
            Role::Prospective { votes, .. } => {
                votes.record(from, partition.vote_granted);
                if votes.is_won() {
                    self.campaign(now)?;
                } else if votes.is_lost() {
                    match self.leader_id.filter(|id| *id != self.config.node_id) {
                        Some(leader_id) => self.follow(now, self.epoch, leader_id)?,
                        None => self.detach(now, self.epoch)?,
                    }
                }
            }
            Role::Candidate { votes, retry_at, .. } => {
                votes.record(from, partition.vote_granted);
                if votes.is_won() {
                    let granting = votes.granting();
                    self.lead(now, granting)?;
                } else if votes.is_lost() && retry_at.is_none() {
                    self.elections_lost = self.elections_lost.saturating_add(1);
                    // Others may have the same thought, so each waits for a time of its own, and longer each time.
                    let most = self.config.election_backoff_max_ms;
                    let doubled = self.config.retry_backoff_ms << self.elections_lost.min(16);
                    let pause = 1 + self.random.below(doubled.min(most));
                    *retry_at = Some(now.monotonic_ms + pause);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
