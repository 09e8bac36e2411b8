//! What a leader knows of its followers: how far each has come, who is in sync, and what it has asked the controller to
//! change about that. A machine: the time and the log's bounds are told to it.
//!
//! The set in sync counts twice here. The *committed* one is the controller's word and decides whether a write with
//! `acks=all` is taken. The *maximal* one has whoever is being proposed as well (KIP-497), and decides the high watermark:
//! the controller may have taken a proposal already and elect from it, before this leader hears of it.

use rkafka_protocol::ErrorCode;

use crate::planted::{self, Bug};

/// Not known, as Kafka has it on the wire.
const UNKNOWN: i64 = -1;

/// A partition as the controller has it, told to the broker that leads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// This broker.
    pub node: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// All that hold the partition or are to hold it, this broker among them.
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    /// `replica.lag.time.max.ms`: for how long a replica in sync may be without all that the leader has.
    pub lag_max_ms: i64,
}

impl Leadership {
    /// The only replica of its partition.
    #[cfg(test)]
    pub fn alone(node: i32, leader_epoch: i32) -> Self {
        Self { node, leader_epoch, partition_epoch: 0, replicas: vec![node], isr: vec![node], lag_max_ms: 30_000 }
    }
}

/// A change of the set in sync that the controller is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IsrProposal {
    pub leader_epoch: i32,
    /// The change is void unless the controller has this epoch.
    pub partition_epoch: i32,
    /// The brokers that are to be in sync, each with the epoch of its registration as it fetched last (KIP-903); -1 where
    /// that is not known, and for the leader itself.
    pub isr: Vec<(i32, i64)>,
}

/// Who takes proposals to the controller, and answers [`super::Partition::isr_answered`] with what becomes of each: by
/// `AlterPartition`, many partitions in one request. Must not block.
pub(crate) trait AlterPartitionSink: std::fmt::Debug + Send + Sync {
    /// Takes a proposal on.
    fn propose(&self, partition: &std::sync::Arc<super::Partition>, proposal: IsrProposal);
}

/// What the controller answered to a proposal that it took, or what its log says by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IsrDecision {
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    pub isr: Vec<i32>,
}

/// One fetch of a follower, whose offset says that it has all below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FollowerFetch {
    pub replica: i32,
    /// The epoch of its registration, -1 where it does not say.
    pub broker_epoch: i64,
    pub offset: i64,
    pub log_start_offset: i64,
    pub now_ms: i64,
}

/// A follower, as its fetches since the leader's epoch began have shown it.
#[derive(Debug, Clone)]
struct Follower {
    id: i32,
    /// The end of its log; [`UNKNOWN`] until it has fetched in this epoch.
    end: i64,
    log_start: i64,
    /// The leader's end at its last fetch, and when that was.
    leader_end_at_fetch: i64,
    fetched_ms: i64,
    /// When it last had all that the leader had.
    caught_up_ms: i64,
    broker_epoch: i64,
    /// Whether the controller would have it in sync, as the metadata had it at the last look.
    is_eligible: bool,
}

impl Follower {
    fn new(id: i32, is_in_sync: bool, now_ms: i64) -> Self {
        Self {
            id,
            end: UNKNOWN,
            log_start: UNKNOWN,
            leader_end_at_fetch: UNKNOWN,
            fetched_ms: i64::MIN,
            // Who is in sync has as long to show itself as it may be silent for.
            caught_up_ms: if is_in_sync { now_ms } else { i64::MIN },
            broker_epoch: UNKNOWN,
            is_eligible: is_in_sync,
        }
    }

    fn is_caught_up(&self, leader_end: i64, now_ms: i64, lag_max_ms: i64) -> bool {
        self.end == leader_end || now_ms.saturating_sub(self.caught_up_ms) <= lag_max_ms
    }
}

/// The leader's book of its followers.
#[derive(Debug, Clone)]
pub(crate) struct LeaderBook {
    node: i32,
    leader_epoch: i32,
    partition_epoch: i32,
    /// As the controller has committed it.
    isr: Vec<i32>,
    /// Sent to the controller and not answered yet.
    proposal: Option<IsrProposal>,
    /// All replicas but this one.
    followers: Vec<Follower>,
    /// Where the log ended when the epoch began; `None` until the log is open.
    epoch_start: Option<i64>,
    lag_max_ms: i64,
    /// The latest time that it was told.
    now_ms: i64,
}

impl LeaderBook {
    /// A leader's first look at its followers, of which it knows nothing: what a follower had told in an earlier epoch may
    /// have been cut away in between.
    pub fn new(leadership: &Leadership, now_ms: i64) -> Self {
        let mut book = Self {
            node: leadership.node,
            leader_epoch: leadership.leader_epoch,
            partition_epoch: leadership.partition_epoch,
            isr: leadership.isr.clone(),
            proposal: None,
            followers: Vec::new(),
            epoch_start: None,
            lag_max_ms: leadership.lag_max_ms,
            now_ms,
        };
        book.set_replicas(&leadership.replicas, now_ms);
        book
    }

    fn set_replicas(&mut self, replicas: &[i32], now_ms: i64) {
        self.followers.retain(|follower| replicas.contains(&follower.id));
        for id in replicas.iter().copied().filter(|id| *id != self.node) {
            if !self.followers.iter().any(|follower| follower.id == id) {
                self.followers.push(Follower::new(id, self.isr.contains(&id), now_ms));
            }
        }
    }

    /// Takes in what the controller says of the partition in the same leader epoch. What is older than what is known
    /// changes nothing; what is newer ends a proposal, whatever became of it.
    pub fn update(&mut self, leadership: &Leadership, now_ms: i64) {
        if leadership.partition_epoch <= self.partition_epoch {
            return;
        }
        self.partition_epoch = leadership.partition_epoch;
        self.isr.clone_from(&leadership.isr);
        self.proposal = None;
        self.note_time(now_ms);
        self.set_replicas(&leadership.replicas, now_ms);
    }

    /// Takes note of the time.
    pub fn note_time(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Whether this broker is the only replica.
    pub fn is_alone(&self) -> bool {
        self.followers.is_empty()
    }

    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    pub fn epoch_start(&self) -> Option<i64> {
        self.epoch_start
    }

    /// Takes note of where the log ends as the epoch begins.
    pub fn begin_at(&mut self, log_end: i64) {
        self.epoch_start.get_or_insert(log_end);
    }

    /// The set in sync that the controller has committed.
    pub fn isr(&self) -> &[i32] {
        &self.isr
    }

    /// How many replicas must be in sync: no more than there are.
    pub fn least_in_sync(&self, min_insync_replicas: i32) -> usize {
        usize::try_from(min_insync_replicas).unwrap_or(0).min(self.followers.len() + 1)
    }

    /// Whether a write with `acks=all` may be counted on.
    pub fn is_under_min_isr(&self, min_insync_replicas: i32) -> bool {
        self.isr.len() < self.least_in_sync(min_insync_replicas)
    }

    fn is_in_maximal_isr(&self, id: i32) -> bool {
        self.isr.contains(&id)
            || self.proposal.as_ref().is_some_and(|proposal| proposal.isr.iter().any(|(known, _)| *known == id))
    }

    /// Takes note of a follower's fetch. Says whether the start of its log has moved.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER` for a fetch of an earlier registration of the broker, which must not count for the
    /// present one (KIP-903); `UNKNOWN_LEADER_EPOCH` for a broker that is no replica as far as this one knows.
    pub fn on_fetch(
        &mut self,
        fetch: &FollowerFetch,
        leader_end: i64,
        is_eligible: impl Fn(i32, i64) -> bool,
    ) -> Result<bool, ErrorCode> {
        let found = self.followers.iter_mut().find(|follower| follower.id == fetch.replica);
        let follower = found.ok_or(ErrorCode::UnknownLeaderEpoch)?;
        let is_stale = fetch.broker_epoch >= 0 && follower.broker_epoch > fetch.broker_epoch;
        if is_stale && !planted::is(Bug::StaleBrokerEpochCounts) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if fetch.offset >= leader_end {
            follower.caught_up_ms = follower.caught_up_ms.max(fetch.now_ms);
        } else if follower.leader_end_at_fetch >= 0 && fetch.offset >= follower.leader_end_at_fetch {
            // It has all that there was when it asked before: a leader that never rests would have no one in sync else.
            follower.caught_up_ms = follower.caught_up_ms.max(follower.fetched_ms);
        }
        let has_new_start = follower.log_start != fetch.log_start_offset;
        follower.end = fetch.offset;
        follower.log_start = fetch.log_start_offset;
        follower.leader_end_at_fetch = leader_end;
        follower.fetched_ms = fetch.now_ms;
        follower.broker_epoch = fetch.broker_epoch.max(follower.broker_epoch);
        self.now_ms = self.now_ms.max(fetch.now_ms);
        follower.is_eligible = is_eligible(fetch.replica, fetch.broker_epoch);
        Ok(has_new_start)
    }

    /// The controller would not have a follower in sync any more, for it is fenced, about to stop, or gone. Its next fetch
    /// may say otherwise; where none comes, the high watermark must not wait for one that had everything a moment ago.
    pub fn rule_out(&mut self, id: i32) {
        for follower in self.followers.iter_mut().filter(|follower| follower.id == id) {
            follower.is_eligible = false;
        }
    }

    /// Whether the controller has a replica in sync.
    pub fn is_in_sync(&self, id: i32) -> bool {
        self.isr.contains(&id)
    }

    /// The follower that a consumer of the records from `offset` on had better read, of those that are `near`: in sync, for
    /// one that lags may go on doing so, and with the most records.
    pub fn preferred_follower(&self, offset: i64, near: impl Fn(i32) -> bool) -> Option<i32> {
        let has_it = |follower: &&Follower| {
            self.isr.contains(&follower.id)
                && follower.end >= offset
                && (0..=offset).contains(&follower.log_start)
                && near(follower.id)
        };
        let best = |follower: &&Follower| (follower.end, follower.caught_up_ms, follower.id);
        self.followers.iter().filter(has_it).max_by_key(best).map(|follower| follower.id)
    }

    /// Whether the broker is a follower of this leader.
    pub fn has_follower(&self, id: i32) -> bool {
        self.followers.iter().any(|follower| follower.id == id)
    }

    /// The high watermark that the followers allow, `own_end` being what the leader itself counts with. `None` where it
    /// may not move: fewer replicas are in sync than must be, so that what is here may be lost with this broker.
    pub fn high_watermark(&self, own_end: i64, leader_end: i64, min_insync_replicas: i32) -> Option<i64> {
        if self.followers.is_empty() {
            return Some(own_end);
        }
        if self.is_under_min_isr(min_insync_replicas) && !planted::is(Bug::WatermarkUnderMinIsr) {
            return None;
        }
        let counts = |follower: &&Follower| {
            if planted::is(Bug::WatermarkOfCommittedIsr) {
                return self.isr.contains(&follower.id);
            }
            // One that is about to join is waited for, so that it finds the high watermark where it can reach it.
            self.is_in_maximal_isr(follower.id)
                || (follower.is_eligible && follower.is_caught_up(leader_end, self.now_ms, self.lag_max_ms))
        };
        self.followers.iter().filter(counts).map(|follower| follower.end).chain([own_end]).min()
    }

    /// The lowest start of all replicas' logs, this one's being `own_start`. Replicas that have not fetched yet do not
    /// let it move; those that are not alive are for the caller to leave out.
    pub fn low_watermark(&self, own_start: i64, is_alive: impl Fn(i32) -> bool) -> i64 {
        let others = self.followers.iter().filter(|follower| is_alive(follower.id)).map(|follower| follower.log_start);
        others.chain([own_start]).min().unwrap_or(own_start)
    }

    /// Proposes to take a follower in that has come far enough: to the high watermark, and to where this epoch began, for
    /// the high watermark of a new leader may lie behind what was acknowledged (KAFKA-7128).
    pub fn propose_expansion(&mut self, id: i32, high_watermark: i64) -> Option<IsrProposal> {
        if self.proposal.is_some() || self.isr.contains(&id) {
            return None;
        }
        let follower = self.followers.iter().find(|follower| follower.id == id)?;
        let epoch_start = self.epoch_start?;
        let reaches_epoch = follower.end >= epoch_start || planted::is(Bug::JoinByWatermarkOnly);
        if !follower.is_eligible || follower.end < high_watermark || !reaches_epoch {
            return None;
        }
        let mut isr = self.isr.clone();
        isr.push(id);
        Some(self.propose(&isr))
    }

    /// Proposes to take followers out that did not have everything for too long.
    pub fn propose_shrinkage(&mut self, leader_end: i64, now_ms: i64) -> Option<IsrProposal> {
        self.note_time(now_ms);
        let lag_max_ms = self.lag_max_ms;
        if self.proposal.is_some() {
            return None;
        }
        let is_in_sync = |id: &i32| {
            let follower = self.followers.iter().find(|follower| follower.id == *id);
            *id == self.node || follower.is_some_and(|follower| follower.is_caught_up(leader_end, now_ms, lag_max_ms))
        };
        let isr: Vec<i32> = self.isr.iter().copied().filter(is_in_sync).collect();
        (isr.len() < self.isr.len()).then(|| self.propose(&isr))
    }

    fn propose(&mut self, isr: &[i32]) -> IsrProposal {
        let epoch_of = |id: i32| {
            let follower = self.followers.iter().find(|follower| follower.id == id);
            follower.map_or(UNKNOWN, |follower| follower.broker_epoch)
        };
        let proposal = IsrProposal {
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr: isr.iter().map(|id| (*id, epoch_of(*id))).collect(),
        };
        self.proposal = Some(proposal.clone());
        proposal
    }

    /// Takes in the controller's answer to `proposal`. Answers the proposal where it is to be sent once more.
    pub fn answered(&mut self, proposal: &IsrProposal, answer: &Result<IsrDecision, ErrorCode>) -> Option<IsrProposal> {
        if self.proposal.as_ref() != Some(proposal) {
            // The metadata log was quicker.
            return None;
        }
        match answer {
            Ok(decision) => {
                if decision.leader_epoch == self.leader_epoch && decision.partition_epoch >= self.partition_epoch {
                    self.partition_epoch = decision.partition_epoch;
                    self.isr.clone_from(&decision.isr);
                    self.proposal = None;
                }
                None
            }
            // It was looked at and refused, and is as void as if it had never been made: the next fetch or look makes
            // another.
            Err(ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica) => {
                self.proposal = None;
                None
            }
            // The controller knows more than this leader does. The metadata log tells what, and until then the proposal
            // may stand for what the controller has.
            Err(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::InvalidRequest
                | ErrorCode::NewLeaderElected,
            ) => None,
            Err(_) => Some(proposal.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG_MS: i64 = 30_000;

    fn book(isr: &[i32]) -> LeaderBook {
        let leadership = Leadership {
            node: 1,
            leader_epoch: 5,
            partition_epoch: 7,
            replicas: vec![1, 2, 3],
            isr: isr.to_vec(),
            lag_max_ms: LAG_MS,
        };
        let mut book = LeaderBook::new(&leadership, 0);
        book.begin_at(10);
        book
    }

    fn fetch(book: &mut LeaderBook, replica: i32, offset: i64, leader_end: i64, now_ms: i64) {
        let fetch = FollowerFetch { replica, broker_epoch: 40, offset, log_start_offset: 0, now_ms };
        book.on_fetch(&fetch, leader_end, |_, _| true).unwrap();
    }

    #[test]
    fn the_watermark_waits_for_all_in_sync_and_for_those_about_to_be() {
        let mut book = book(&[1, 2]);
        assert_eq!(book.high_watermark(12, 12, 1), Some(UNKNOWN), "2 has not fetched in this epoch");
        fetch(&mut book, 2, 12, 12, 1);
        assert_eq!(book.high_watermark(12, 12, 1), Some(12), "3 has not been seen");
        fetch(&mut book, 3, 11, 12, 2);
        assert_eq!(book.high_watermark(12, 12, 1), Some(12), "3 is behind and was never caught up");
        let proposal = book.propose_expansion(3, 11).unwrap();
        assert_eq!((proposal.leader_epoch, proposal.partition_epoch), (5, 7));
        assert_eq!(proposal.isr, [(1, -1), (2, 40), (3, 40)]);
        assert_eq!(book.high_watermark(12, 12, 1), Some(11), "the controller may count 3 already");
        assert_eq!(book.propose_expansion(3, 11), None, "one at a time");
        assert_eq!(book.answered(&proposal, &Err(ErrorCode::NetworkException)).as_ref(), Some(&proposal));
        assert_eq!(book.answered(&proposal, &Err(ErrorCode::InvalidUpdateVersion)), None);
        assert_eq!(book.high_watermark(12, 12, 1), Some(11), "until the metadata log says more");
        let decision = IsrDecision { leader_epoch: 5, partition_epoch: 8, isr: vec![1, 2, 3] };
        assert_eq!(book.answered(&proposal, &Ok(decision)), None);
        assert_eq!((book.isr(), book.partition_epoch), (&[1, 2, 3][..], 8));
    }

    #[test]
    fn the_watermark_does_not_wait_for_one_that_is_ruled_out() {
        let mut book = book(&[1, 2, 3]);
        fetch(&mut book, 2, 12, 12, 1);
        fetch(&mut book, 3, 12, 12, 1);
        // The controller takes 3 out, which had everything a moment ago and will not fetch again.
        let leadership = Leadership {
            node: 1,
            leader_epoch: 5,
            partition_epoch: 8,
            replicas: vec![1, 2, 3],
            isr: vec![1, 2],
            lag_max_ms: LAG_MS,
        };
        book.update(&leadership, 2);
        fetch(&mut book, 2, 13, 13, 3);
        assert_eq!(book.high_watermark(13, 13, 1), Some(12), "3 may be about to come back");
        book.rule_out(3);
        assert_eq!(book.high_watermark(13, 13, 1), Some(13));
        assert_eq!(book.propose_expansion(3, 12), None);
        fetch(&mut book, 3, 12, 13, 4);
        assert_eq!(book.high_watermark(13, 13, 1), Some(12), "it is back");
    }

    #[test]
    fn under_min_isr_the_watermark_stands() {
        let mut book = book(&[1]);
        assert_eq!(book.high_watermark(12, 12, 2), None);
        assert_eq!(book.high_watermark(12, 12, 1), Some(12));
        assert_eq!(book.least_in_sync(9), 3, "more than there are cannot be asked for");
        fetch(&mut book, 2, 12, 12, 1);
        let proposal = book.propose_expansion(2, 10).unwrap();
        assert!(book.is_under_min_isr(2), "a proposal is not the controller's word");
        let decision = IsrDecision { leader_epoch: 5, partition_epoch: 8, isr: vec![1, 2] };
        book.answered(&proposal, &Ok(decision));
        assert_eq!(book.high_watermark(12, 12, 2), Some(12));
    }

    #[test]
    fn a_follower_joins_at_the_watermark_and_at_the_epochs_start() {
        let mut book = book(&[1]);
        fetch(&mut book, 2, 9, 12, 0);
        assert_eq!(book.propose_expansion(2, 5), None, "the epoch began at 10");
        fetch(&mut book, 2, 10, 12, 1);
        assert_eq!(book.propose_expansion(2, 11), None, "behind the high watermark");
        assert!(book.propose_expansion(2, 10).is_some());
        let mut other = super::tests::book(&[1]);
        assert_eq!(other.propose_expansion(2, 0), None, "it has not fetched in this epoch");
        let stranger = FollowerFetch { replica: 9, broker_epoch: 1, offset: 12, log_start_offset: 0, now_ms: 0 };
        assert_eq!(other.on_fetch(&stranger, 12, |_, _| true), Err(ErrorCode::UnknownLeaderEpoch));
        let fenced = FollowerFetch { replica: 2, ..stranger };
        other.on_fetch(&fenced, 12, |_, _| false).unwrap();
        assert_eq!(other.propose_expansion(2, 0), None, "the controller would refuse it");
    }

    #[test]
    fn a_fetch_of_an_earlier_registration_does_not_count() {
        let mut book = book(&[1, 2]);
        fetch(&mut book, 2, 5, 12, 0);
        let old = FollowerFetch { replica: 2, broker_epoch: 39, offset: 12, log_start_offset: 0, now_ms: 1 };
        assert_eq!(book.on_fetch(&old, 12, |_, _| true), Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!(book.high_watermark(12, 12, 1), Some(5));
        let _planted = planted::plant(Bug::StaleBrokerEpochCounts);
        book.on_fetch(&old, 12, |_, _| true).unwrap();
        assert_eq!(book.high_watermark(12, 12, 1), Some(12), "what 2 lost counts as if it were there");
    }

    #[test]
    fn who_lags_for_too_long_goes_and_who_follows_a_busy_leader_stays() {
        let mut book = book(&[1, 2, 3]);
        let mut end = 12;
        fetch(&mut book, 2, end, end, 0);
        fetch(&mut book, 3, end, end, 0);
        for now_ms in (1_000..=60_000).step_by(1_000) {
            let before = end;
            end += 5;
            // 2 always has what there was when it asked last, 3 has stopped.
            fetch(&mut book, 2, before, end, now_ms);
        }
        let proposal = book.propose_shrinkage(end, 60_000).unwrap();
        assert_eq!(proposal.isr, [(1, -1), (2, 40)]);
        assert_eq!(book.high_watermark(end, end, 1), Some(12), "not out before the controller says so");
        assert_eq!(book.answered(&proposal, &Err(ErrorCode::OperationNotAttempted)), None);
        assert!(book.propose_shrinkage(end, 60_000).is_some(), "asked anew");
        // At the end of the log a follower may be silent for as long as it likes.
        let mut idle = super::tests::book(&[1, 2]);
        fetch(&mut idle, 2, 12, 12, 0);
        assert_eq!(idle.propose_shrinkage(12, 10 * LAG_MS), None);
    }

    #[test]
    fn news_of_the_metadata_log_ends_a_proposal() {
        let mut book = book(&[1]);
        fetch(&mut book, 2, 12, 12, 0);
        let proposal = book.propose_expansion(2, 0).unwrap();
        let news = Leadership {
            node: 1,
            leader_epoch: 5,
            partition_epoch: 9,
            replicas: vec![1, 2, 4],
            isr: vec![1, 2],
            lag_max_ms: LAG_MS,
        };
        book.update(&news, 5);
        assert_eq!((book.isr(), book.has_follower(3), book.has_follower(4)), (&[1, 2][..], false, true));
        let late = IsrDecision { leader_epoch: 5, partition_epoch: 8, isr: vec![1] };
        assert_eq!(book.answered(&proposal, &Ok(late)), None);
        assert_eq!(book.isr(), [1, 2], "an answer that comes late changes nothing");
        book.update(&Leadership { partition_epoch: 8, isr: vec![1], ..news }, 6);
        assert_eq!(book.isr(), [1, 2], "nor does what was read before");
    }
}
