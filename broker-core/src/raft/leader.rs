//! Leading: appends, the high watermark, and the followers that it is told by.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_protocol::messages::LeaderChangeMessage;
use rkafka_protocol::messages::leader_change_message::Voter as LeaderChangeVoter;
use rkafka_protocol::records::{BatchOptions, ControlRecordType, encode_control_batch};
use rkafka_protocol::wire::encode_to_vec;

use super::message::{Action, RaftRequest, RaftResponse, RequestId};
use super::node::{Now, RaftNode};
use super::role::Role;
use super::wire::{self, FetchPosition};
use super::{Appended, RaftError, RaftLog};
use crate::planted::{self, Bug};

/// For how long an observer that fetches no more is told of by DescribeQuorum. As in Kafka.
const OBSERVER_SESSION_MS: i64 = 300_000;

/// What a leader knows of a replica. Times are on the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Replica {
    /// All below is synced there, if it votes.
    pub end: Option<i64>,
    pub fetched_at: Option<i64>,
    pub caught_up_at: Option<i64>,
    /// The leader's end when it fetched last.
    leader_end: i64,
}

impl Replica {
    fn fetched(&mut self, at: i64, end: i64, leader_end: i64) {
        if end >= leader_end {
            self.caught_up_at = self.caught_up_at.max(Some(at));
        } else if self.leader_end > 0 && end >= self.leader_end {
            // It has all that the leader had when it fetched before.
            self.caught_up_at = self.caught_up_at.max(self.fetched_at);
        }
        self.leader_end = leader_end;
        self.end = Some(end);
        self.fetched_at = self.fetched_at.max(Some(at));
    }
}

/// A fetch that waits for news.
#[derive(Debug)]
pub(super) struct WaitingFetch {
    pub id: RequestId,
    pub position: FetchPosition,
    pub until: i64,
}

#[derive(Debug)]
pub(super) struct Leading {
    /// Where the epoch begins in the log.
    pub epoch_start: i64,
    /// `None` until a record of this epoch is committed.
    pub high_watermark: Option<i64>,
    pub voters: BTreeMap<i32, Replica>,
    pub observers: BTreeMap<i32, Replica>,
    pub waiting: Vec<WaitingFetch>,
    pub to_begin: BTreeSet<i32>,
    flush_at: Option<i64>,
    begin_at: i64,
    /// When it resigns, unless a majority fetches before.
    quorum_until: i64,
    heard: BTreeSet<i32>,
}

impl Leading {
    pub fn deadline(&self) -> Option<i64> {
        let fetches = self.waiting.iter().map(|waiting| waiting.until);
        let is_alone = self.voters.is_empty();
        let timers = [self.begin_at, self.quorum_until].into_iter().filter(|_| !is_alone);
        fetches.chain(timers).chain(self.flush_at).min()
    }
}

impl<L: RaftLog> RaftNode<L> {
    /// Begins to lead in the present epoch.
    pub(super) fn lead(&mut self, now: Now, granting: Vec<i32>) -> Result<(), RaftError> {
        self.elections_lost = 0;
        self.leader_id = Some(self.config.node_id);
        // Before the first record is written: who reads this leads in this epoch never again.
        self.persist()?;
        let voter = |id: i32| LeaderChangeVoter { voter_id: id, ..Default::default() };
        // Version 0 is what Kafka's own tools read, whatever the version in the message says.
        let elected = LeaderChangeMessage {
            version: 0,
            leader_id: self.config.node_id,
            voters: self.config.voters.iter().map(|known| voter(known.id)).collect(),
            granting_voters: granting.into_iter().map(voter).collect(),
            ..Default::default()
        };
        let elected = encode_to_vec(&elected, 0)?;
        let options = BatchOptions::at(self.log.end().offset, self.epoch);
        let mut batch =
            encode_control_batch(options, now.date_ms, [(ControlRecordType::LeaderChange, &elected[..])])?.into_bytes();
        let appended = match self.log.append_as_leader(&mut batch, self.epoch, now.date_ms) {
            Ok(appended) => appended,
            Err(error) if error.is_out_of_space() && !self.config.is_only_voter() => {
                tracing::warn!(node_id = self.config.node_id, %error, "elected, and cannot lead");
                self.retire(now, Vec::new());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let at = now.monotonic_ms;
        let leading = Leading {
            epoch_start: appended.base_offset,
            high_watermark: None,
            voters: self.config.others().map(|id| (id, Replica::default())).collect(),
            observers: BTreeMap::new(),
            waiting: Vec::new(),
            to_begin: self.config.others().collect(),
            flush_at: None,
            begin_at: at + self.config.fetch_timeout_ms / 2,
            quorum_until: at + self.quorum_timeout(),
            heard: BTreeSet::new(),
        };
        self.take_role(Role::Leader(leading), Some(appended.base_offset));
        self.flush_as_leader(now)
    }

    fn quorum_timeout(&self) -> i64 {
        self.config.fetch_timeout_ms.saturating_mul(3) / 2
    }

    pub(super) fn append_as_leader(&mut self, now: Now, records: &mut [u8]) -> Result<Appended, RaftError> {
        let appended = self.log.append_as_leader(records, self.epoch, now.date_ms)?;
        let linger = if self.config.is_only_voter() { 0 } else { self.config.append_linger_ms };
        if linger > 0
            && let Role::Leader(leading) = &mut self.role
        {
            leading.flush_at.get_or_insert(now.monotonic_ms + linger);
        } else {
            self.flush_as_leader(now)?;
        }
        self.wake_fetches(now)?;
        Ok(appended)
    }

    fn flush_as_leader(&mut self, now: Now) -> Result<(), RaftError> {
        if let Role::Leader(leading) = &mut self.role {
            leading.flush_at = None;
        }
        self.log.flush()?;
        self.advance_high_watermark(now)
    }

    /// Commits what a majority has synced, once that includes a record of this epoch.
    pub(super) fn advance_high_watermark(&mut self, now: Now) -> Result<(), RaftError> {
        let end = self.log.end().offset;
        let own = if planted::is(Bug::RaftLeaderCountsUnsynced) { end } else { self.log.synced_end() };
        let majority = self.config.majority();
        let Role::Leader(leading) = &mut self.role else { return Ok(()) };
        let mut ends: Vec<i64> = leading.voters.values().map(|replica| replica.end.unwrap_or(-1)).collect();
        ends.push(own);
        ends.sort_unstable_by(|a, b| b.cmp(a));
        // No replica counts beyond what the leader has.
        let committed = ends.get(majority - 1).map_or(-1, |offset| (*offset).min(end));
        let includes_own_epoch = committed > leading.epoch_start || planted::is(Bug::RaftCommitsOlderEpoch);
        if !includes_own_epoch || leading.high_watermark.is_some_and(|known| known >= committed) {
            return Ok(());
        }
        leading.high_watermark = Some(committed);
        self.commit(committed);
        self.wake_fetches(now)
    }

    /// A follower or observer fetched from this offset on. Its log up to there is the same as this node's.
    pub(super) fn note_fetch(&mut self, now: Now, replica_id: i32, offset: i64) -> Result<(), RaftError> {
        let leader_end = self.log.end().offset;
        let at = now.monotonic_ms;
        let Role::Leader(leading) = &mut self.role else { return Ok(()) };
        if let Some(replica) = leading.voters.get_mut(&replica_id) {
            replica.fetched(at, offset, leader_end);
            self.hear(now, replica_id);
            return self.advance_high_watermark(now);
        }
        if replica_id >= 0 && replica_id != self.config.node_id {
            leading.observers.entry(replica_id).or_default().fetched(at, offset, leader_end);
            leading.observers.retain(|_, replica| {
                replica.fetched_at.is_some_and(|fetched_at| at - fetched_at < OBSERVER_SESSION_MS)
            });
        }
        Ok(())
    }

    /// A voter fetches: with a majority of them this node still leads.
    pub(super) fn hear(&mut self, now: Now, replica_id: i32) {
        let quorum_until = now.monotonic_ms + self.quorum_timeout();
        let majority = self.config.majority();
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.voters.contains_key(&replica_id) {
            leading.to_begin.remove(&replica_id);
            leading.heard.insert(replica_id);
            // This node is one of the majority.
            if leading.heard.len() + 1 >= majority {
                leading.heard.clear();
                leading.quorum_until = quorum_until;
            }
        }
    }

    pub(super) fn tick_leader(&mut self, now: Now) -> Result<(), RaftError> {
        let at = now.monotonic_ms;
        let stale_ms = self.config.fetch_timeout_ms / 2;
        let Role::Leader(leading) = &mut self.role else { return Ok(()) };
        if !leading.voters.is_empty() && leading.quorum_until <= at {
            if planted::is(Bug::RaftIgnoresQuorumLoss) {
                leading.quorum_until = at + stale_ms;
            } else {
                tracing::info!(node_id = self.config.node_id, epoch = self.epoch, "no majority fetches: resigns");
                let successors = self.successors();
                self.retire(now, successors);
                return Ok(());
            }
        }
        if leading.begin_at <= at {
            leading.begin_at = at + stale_ms;
            let stale = leading
                .voters
                .iter()
                .filter(|(_, replica)| replica.fetched_at.is_none_or(|fetched_at| at - fetched_at >= stale_ms));
            leading.to_begin.extend(stale.map(|(id, _)| *id));
        }
        if leading.flush_at.is_some_and(|flush_at| flush_at <= at) {
            self.flush_as_leader(now)?;
        }
        self.wake_fetches(now)
    }

    /// Tells voters that do not fetch who leads.
    pub(super) fn tell_begin(&mut self, now: Now) {
        let Role::Leader(leading) = &self.role else { return };
        let told: Vec<i32> = leading.to_begin.iter().copied().filter(|id| self.peers.is_ready(*id)).collect();
        for to in told {
            let request = wire::begin_request(&self.config, to, self.epoch);
            self.call(now, to, RaftRequest::BeginQuorumEpoch(request));
        }
    }

    /// Answers the fetches that there is news for, or that have waited long enough.
    pub(super) fn wake_fetches(&mut self, now: Now) -> Result<(), RaftError> {
        let end = self.log.end().offset;
        let Role::Leader(leading) = &mut self.role else { return Ok(()) };
        let high_watermark = leading.high_watermark.unwrap_or(-1);
        let is_due = |waiting: &mut WaitingFetch| {
            waiting.until <= now.monotonic_ms
                || waiting.position.end.offset < end
                || waiting.position.high_watermark < high_watermark
        };
        let due: Vec<WaitingFetch> = leading.waiting.extract_if(.., is_due).collect();
        for waiting in due {
            let response = self.fetch_answer(&waiting.position)?;
            self.actions.push_back(Action::Reply { id: waiting.id, response: RaftResponse::Fetch(response) });
        }
        Ok(())
    }

    /// The other voters, the one with the longest log first.
    pub(super) fn successors(&self) -> Vec<i32> {
        let Role::Leader(leading) = &self.role else { return Vec::new() };
        let mut voters: Vec<(i64, i32)> =
            leading.voters.iter().map(|(id, replica)| (-replica.end.unwrap_or(-1), *id)).collect();
        voters.sort_unstable();
        voters.into_iter().map(|(_, id)| id).collect()
    }
}
