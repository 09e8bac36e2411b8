//! Fetch, from both sides: the leader's answer, and what a follower makes of it.

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::fetch_response::{EpochEndOffset, PartitionData, SnapshotId};
use rkafka_protocol::messages::{FetchRequest, FetchResponse};

use super::leader::WaitingFetch;
use super::message::{RaftRequest, RequestId};
use super::node::{Now, RaftNode};
use super::role::Role;
use super::wire::{self, FetchPosition};
use super::{OffsetAndEpoch, RaftError, RaftLog};
use crate::planted::{self, Bug};

/// How long a node without a leader waits before it asks the next voter, in milliseconds.
const DISCOVERY_MS: i64 = 100;

/// What a leader makes of the end of a follower's log.
enum Verdict {
    /// It is a prefix of the leader's.
    Prefix,
    /// It parts from the leader's here at the latest.
    Diverges(OffsetAndEpoch),
    /// What follows is gone from the log.
    NeedsSnapshot(OffsetAndEpoch),
}

impl<L: RaftLog> RaftNode<L> {
    /// `None` where the answer waits for news.
    pub(super) fn on_fetch(
        &mut self,
        now: Now,
        id: RequestId,
        request: &FetchRequest,
    ) -> Result<Option<FetchResponse>, RaftError> {
        let refused = |error: ErrorCode| FetchResponse { error_code: error.code(), ..Default::default() };
        if !self.is_own_cluster(request.cluster_id.as_deref()) {
            return Ok(Some(refused(ErrorCode::InconsistentClusterId)));
        }
        let Some(position) = wire::parse_fetch(request) else { return Ok(Some(refused(ErrorCode::InvalidRequest))) };
        let is_impossible = position.max_wait_ms < 0
            || position.end.offset < 0
            || position.end.epoch < 0
            || position.end.epoch > position.epoch;
        let error = if is_impossible { ErrorCode::InvalidRequest } else { self.check_leads(position.epoch) };
        if error != ErrorCode::None {
            return Ok(Some(wire::failed_fetch(&self.config, self.leader_and_epoch(), error)));
        }
        let is_prefix = matches!(self.judge(position.end), Verdict::Prefix);
        if is_prefix {
            self.note_fetch(now, position.replica_id, position.end.offset)?;
        }
        let end = self.log.end().offset;
        if let Role::Leader(leading) = &mut self.role
            && is_prefix
            && position.end.offset >= end
            && position.max_wait_ms > 0
            && position.high_watermark >= leading.high_watermark.unwrap_or(-1)
        {
            let until = now.monotonic_ms + i64::from(position.max_wait_ms).min(self.config.request_timeout_ms / 2);
            leading.waiting.push(WaitingFetch { id, position, until });
            return Ok(None);
        }
        self.fetch_answer(&position).map(Some)
    }

    /// What is wrong with a request that only the leader of its epoch can answer.
    pub(super) fn check_leads(&self, epoch: i32) -> ErrorCode {
        if epoch < self.epoch {
            ErrorCode::FencedLeaderEpoch
        } else if epoch > self.epoch {
            ErrorCode::UnknownLeaderEpoch
        } else if !self.is_leader() {
            ErrorCode::NotLeaderOrFollower
        } else {
            ErrorCode::None
        }
    }

    fn judge(&self, end: OffsetAndEpoch) -> Verdict {
        let start = self.log.start_offset();
        let snapshots = self.log.snapshots();
        if let Some(newest) = snapshots.last() {
            let below = snapshots.iter().find(|snapshot| snapshot.offset == start);
            // An empty log is filled faster by a snapshot, also where the records are all there.
            let needs_it = end.offset == 0
                || end.offset < start
                || below
                    .is_some_and(|below| end.epoch < below.epoch || (end.offset == start && end.epoch != below.epoch));
            if needs_it {
                return Verdict::NeedsSnapshot(*newest);
            }
        }
        let own = self.log.end_for_epoch(end.epoch);
        if own.epoch != end.epoch || own.offset < end.offset { Verdict::Diverges(own) } else { Verdict::Prefix }
    }

    /// The answer for a replica at this position, in an epoch in which this node leads.
    pub(super) fn fetch_answer(&self, position: &FetchPosition) -> Result<FetchResponse, RaftError> {
        let Role::Leader(leading) = &self.role else {
            let error = ErrorCode::NotLeaderOrFollower;
            return Ok(wire::failed_fetch(&self.config, self.leader_and_epoch(), error));
        };
        let mut partition = PartitionData {
            high_watermark: leading.high_watermark.unwrap_or(-1),
            log_start_offset: self.log.start_offset(),
            records: Some(Bytes::new()),
            ..Default::default()
        };
        match self.judge(position.end) {
            Verdict::Prefix => {
                let asked = usize::try_from(position.max_bytes).unwrap_or(0).max(1);
                let max_bytes = self.config.fetch_max_bytes.min(asked);
                let end = self.log.end().offset;
                partition.records = Some(self.log.read(position.end.offset, max_bytes, end)?);
            }
            Verdict::Diverges(own) => {
                partition.diverging_epoch =
                    EpochEndOffset { epoch: own.epoch, end_offset: own.offset, ..Default::default() };
            }
            Verdict::NeedsSnapshot(id) => {
                partition.snapshot_id = SnapshotId { end_offset: id.offset, epoch: id.epoch, ..Default::default() };
            }
        }
        Ok(wire::fetch_response(&self.config, self.leader_and_epoch(), partition))
    }

    fn position(&self, max_wait_ms: i64) -> FetchPosition {
        FetchPosition {
            replica_id: self.config.node_id,
            epoch: self.epoch,
            end: self.log.end(),
            high_watermark: self.high_watermark,
            max_wait_ms: i32::try_from(max_wait_ms).unwrap_or(i32::MAX),
            max_bytes: i32::try_from(self.config.fetch_max_bytes).unwrap_or(i32::MAX),
        }
    }

    fn send_fetch(&mut self, now: Now, to: i32, max_wait_ms: i64) {
        let request = wire::fetch_request(&self.config, self.position(max_wait_ms), self.log.start_offset());
        self.call(now, to, RaftRequest::Fetch(request));
    }

    /// Follows the leader: by its log, or by its snapshot.
    pub(super) fn fetch(&mut self, now: Now) {
        let Role::Follower(following) = &self.role else { return };
        let leader_id = following.leader_id;
        if !self.config.is_voter() && following.fetch_until <= now.monotonic_ms {
            // The leader says nothing any more. Others may know of a newer one.
            self.discover(now);
        }
        if !self.peers.is_ready(leader_id) {
            return;
        }
        match self.role.fetching() {
            Some((id, position)) => self.send_fetch_snapshot(now, leader_id, id, position),
            None => self.send_fetch(now, leader_id, self.config.fetch_max_wait_ms),
        }
    }

    /// Asks one voter after the other who leads, by a fetch that the leader answers.
    pub(super) fn discover(&mut self, now: Now) {
        if now.monotonic_ms < self.discover_at {
            return;
        }
        self.discover_at = now.monotonic_ms + DISCOVERY_MS;
        let others: Vec<i32> = self.config.others().filter(|id| Some(*id) != self.leader_id).collect();
        let Some(to) = others.get(self.discover_next % others.len().max(1)).copied() else { return };
        self.discover_next = self.discover_next.wrapping_add(1);
        if self.peers.is_ready(to) {
            self.send_fetch(now, to, 0);
        }
    }

    pub(super) fn on_fetch_response(&mut self, now: Now, from: i32, response: &FetchResponse) -> Result<(), RaftError> {
        let Some(partition) = self.accepted(now, from, "Fetch", wire::single!(response, responses)) else {
            return Ok(());
        };
        let error = ErrorCode::from_code(partition.error_code);
        let leader_id = wire::leader_id(partition.current_leader.leader_id);
        let epoch = partition.current_leader.leader_epoch;
        if !self.is_of_this_epoch(now, from, "Fetch", error, leader_id, epoch)? || self.leader_id != Some(from) {
            return Ok(());
        }
        if !matches!(self.role, Role::Follower(_)) {
            return Ok(());
        }
        let (diverging, snapshot) = (&partition.diverging_epoch, &partition.snapshot_id);
        if diverging.epoch >= 0 {
            let end = OffsetAndEpoch { offset: diverging.end_offset, epoch: diverging.epoch };
            self.truncate_to_end_of(now, end)?;
        } else if snapshot.end_offset >= 0 && snapshot.epoch >= 0 {
            let id = OffsetAndEpoch { offset: snapshot.end_offset, epoch: snapshot.epoch };
            self.begin_snapshot_fetch(id)?;
        } else {
            match self.append_fetched(now, partition.records.as_ref()) {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(
                        from,
                        "a fetch brought records that are damaged or out of place; they are fetched again"
                    );
                    self.leave_alone(now, from);
                    return Ok(());
                }
                Err(error) if error.is_out_of_space() => {
                    tracing::warn!(%error, "fetched metadata cannot be written");
                    self.leave_alone(now, from);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            self.commit(partition.high_watermark);
        }
        self.heard_from_leader(now);
        Ok(())
    }

    pub(super) fn heard_from_leader(&mut self, now: Now) {
        if let Role::Follower(following) = &mut self.role {
            following.fetch_until = now.monotonic_ms + self.config.fetch_timeout_ms;
            following.has_fetched = true;
        }
    }

    /// False where there were records, and none was good.
    fn append_fetched(&mut self, now: Now, records: Option<&Bytes>) -> Result<bool, RaftError> {
        let Some(records) = records.filter(|records| !records.is_empty()) else { return Ok(true) };
        let appended = self.log.append_as_follower(records, self.epoch, now.date_ms)?;
        if self.config.is_voter() && !planted::is(Bug::RaftVoterAcknowledgesUnsynced) {
            // The next fetch acknowledges these.
            self.log.flush()?;
        }
        Ok(appended > 0)
    }

    fn truncate_to_end_of(&mut self, now: Now, leaders: OffsetAndEpoch) -> Result<(), RaftError> {
        let own = self.log.end_for_epoch(leaders.epoch);
        let to = if own.epoch == leaders.epoch { own.offset.min(leaders.offset) } else { own.offset };
        if to < self.high_watermark {
            return Err(RaftError::TruncationBelowHighWatermark {
                leader_id: self.leader_id.unwrap_or(-1),
                epoch: self.epoch,
                offset: to,
                high_watermark: self.high_watermark,
            });
        }
        tracing::info!(node_id = self.config.node_id, to, "truncates the metadata log as its leader has it");
        self.log.truncate_to(to, now.date_ms)
    }
}
