//! The machine's face, and how it goes from role to role.

use std::collections::{BTreeSet, VecDeque};

use super::message::{Action, CallId, LeaderAndEpoch, RaftRequest, RaftResponse, RequestId};
use super::peers::Peers;
use super::random::Random;
use super::role::{Following, Role, RoleName, Votes};
use super::wire;
use super::{AppendRefused, Appended, CallFailed, ElectionState, RaftConfig, RaftError, RaftLog};
use crate::planted::{self, Bug};

/// A moment, as the machine is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back. Where it begins does not matter.
    pub monotonic_ms: i64,
    /// The date in milliseconds since the epoch. Records and DescribeQuorum bear it; nothing waits for it.
    pub date_ms: i64,
}

/// A node of the quorum. See [the module](super) for how a driver goes about it.
#[derive(Debug)]
pub struct RaftNode<L: RaftLog> {
    pub(super) config: RaftConfig,
    pub(super) log: L,
    pub(super) role: Role<L::Writer>,
    pub(super) epoch: i32,
    pub(super) leader_id: Option<i32>,
    pub(super) voted_id: Option<i32>,
    /// How far this node knows the log to be committed.
    pub(super) high_watermark: i64,
    pub(super) peers: Peers,
    pub(super) random: Random,
    pub(super) actions: VecDeque<Action>,
    /// Elections in a row that this node lost.
    pub(super) elections_lost: u32,
    /// When a node without a leader may ask the next voter who leads, and which one that is.
    pub(super) discover_at: i64,
    pub(super) discover_next: usize,
    persisted: ElectionState,
    announced: LeaderAndEpoch,
    is_stopping: bool,
}

impl<L: RaftLog> RaftNode<L> {
    /// Takes up what the log and its `quorum-state` say. The only voter leads when this returns.
    ///
    /// # Errors
    /// The log cannot be read or written.
    pub fn open(config: RaftConfig, mut log: L, now: Now) -> Result<Self, RaftError> {
        let persisted = log.read_election()?.unwrap_or_default();
        let newest = log.snapshots().last().copied();
        if let Some(newest) = newest.filter(|newest| newest.offset > log.end().offset) {
            // It stopped between the end of a snapshot and the new start of the log.
            log.restart_at_snapshot(newest, now.date_ms)?;
        }
        if log.synced_end() < log.end().offset {
            log.flush()?;
        }
        let epoch = persisted.epoch.max(log.end().epoch);
        let is_same_epoch = epoch == persisted.epoch;
        let high_watermark = newest.map_or(log.start_offset(), |newest| newest.offset);
        log.set_high_watermark(high_watermark);
        let mut node = Self {
            role: Role::Unattached { election_at: 0 },
            epoch,
            leader_id: None,
            voted_id: persisted.voted_id.filter(|_| is_same_epoch),
            high_watermark,
            peers: Peers::default(),
            random: Random::new(config.seed),
            actions: VecDeque::new(),
            elections_lost: 0,
            discover_at: 0,
            discover_next: 0,
            announced: LeaderAndEpoch::default(),
            is_stopping: false,
            persisted,
            config,
            log,
        };
        let leader_id = node.persisted.leader_id.filter(|_| is_same_epoch);
        if node.config.is_only_voter() {
            node.campaign(now)?;
        } else if leader_id == Some(node.config.node_id) && node.config.is_voter() {
            if planted::is(Bug::RaftLeaderResumesEpoch) {
                node.lead(now, Vec::new())?;
            } else {
                // What it had not synced may be lost, so it must not lead in an epoch in which others have it.
                node.retire(now, Vec::new());
            }
        } else if let Some(leader_id) = leader_id.filter(|id| node.config.knows_voter(*id)) {
            node.follow(now, epoch, leader_id)?;
        } else {
            node.detach(now, epoch)?;
        }
        node.pump(now)?;
        Ok(node)
    }

    /// A request came from another node. It is answered by an [`Action::Reply`] with the same id, at once or later.
    pub fn on_request(&mut self, now: Now, id: RequestId, request: RaftRequest) -> Result<(), RaftError> {
        self.answer(now, id, request)?;
        self.pump(now)
    }

    /// A call of this machine's was answered, or failed. Answers that nobody waits for are passed over.
    pub fn on_response(
        &mut self,
        now: Now,
        id: CallId,
        result: Result<RaftResponse, CallFailed>,
    ) -> Result<(), RaftError> {
        let Some(from) = self.peers.end(id) else { return Ok(()) };
        match result {
            Err(CallFailed) => self.leave_alone(now, from),
            Ok(RaftResponse::Vote(response)) => self.on_vote_response(now, from, &response)?,
            Ok(RaftResponse::BeginQuorumEpoch(response)) => self.on_begin_response(now, from, &response)?,
            Ok(RaftResponse::EndQuorumEpoch(response)) => self.on_end_response(now, from, &response)?,
            Ok(RaftResponse::Fetch(response)) => self.on_fetch_response(now, from, &response)?,
            Ok(RaftResponse::FetchSnapshot(response)) => self.on_fetch_snapshot_response(now, from, &response)?,
        }
        self.pump(now)
    }

    /// Time has passed. To be called when [`RaftNode::deadline`] has come; earlier does no harm.
    pub fn tick(&mut self, now: Now) -> Result<(), RaftError> {
        for silent in self.peers.expire(now.monotonic_ms) {
            self.leave_alone(now, silent);
        }
        let at = now.monotonic_ms;
        let may_campaign = self.config.is_voter() && !self.is_stopping;
        match &self.role {
            Role::Unattached { election_at } if may_campaign && *election_at <= at => self.ask_around(now)?,
            Role::Follower(following) if may_campaign && following.fetch_until <= at => self.ask_around(now)?,
            Role::Prospective { election_at, .. } if *election_at <= at => self.ask_around(now)?,
            Role::Candidate { election_at, retry_at, .. } if retry_at.unwrap_or(*election_at) <= at => {
                self.ask_around(now)?;
            }
            Role::Leader(_) => self.tick_leader(now)?,
            Role::Resigned { until, .. } if *until <= at => self.detach(now, self.epoch + 1)?,
            _ => {}
        }
        self.pump(now)
    }

    /// When [`RaftNode::tick`] is to be called next, on the monotonic clock; `None` where nothing waits for time.
    pub fn deadline(&self) -> Option<i64> {
        let may_campaign = self.config.is_voter() && !self.is_stopping;
        let own = match &self.role {
            Role::Unattached { election_at } => {
                Some(if may_campaign { (*election_at).min(self.discover_at) } else { self.discover_at })
            }
            Role::Follower(following) if may_campaign => Some(following.fetch_until),
            // An observer that hears nothing of its leader asks the others.
            Role::Follower(following) => Some(following.fetch_until.max(self.discover_at)),
            Role::Prospective { election_at, .. } => Some(*election_at),
            Role::Candidate { election_at, retry_at, .. } => Some(retry_at.unwrap_or(*election_at)),
            Role::Leader(leading) => leading.deadline(),
            Role::Resigned { until, .. } => Some(*until),
        };
        own.into_iter().chain(self.peers.deadline()).min()
    }

    /// The next thing to do, in order. `None` until something happens.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Appends batches as the leader of `epoch`, writing offsets and epoch into them, and answers their offsets. They are
    /// committed when [`Action::Committed`] goes beyond the last one while this node still leads in the same epoch; if it
    /// does not, they may be lost, and may also be committed by another leader.
    ///
    /// # Errors
    /// [`AppendRefused::NotLeader`] where this node does not lead in this epoch, or [`AppendRefused::Failed`].
    pub fn append(&mut self, now: Now, epoch: i32, records: &mut [u8]) -> Result<Appended, AppendRefused> {
        if !matches!(self.role, Role::Leader(_)) || epoch != self.epoch {
            return Err(AppendRefused::NotLeader { node_id: self.config.node_id, epoch });
        }
        let appended = self.append_as_leader(now, records)?;
        self.pump(now)?;
        Ok(appended)
    }

    /// Gives up leading in this epoch, as a controller does that cannot go on, so that another voter is elected soon.
    /// Nothing happens where this node does not lead in it.
    pub fn resign(&mut self, now: Now, epoch: i32) -> Result<(), RaftError> {
        if epoch == self.epoch && matches!(self.role, Role::Leader(_)) && !self.config.is_only_voter() {
            let successors = self.successors();
            self.retire(now, successors);
        }
        self.pump(now)
    }

    /// Begins to stop: a leader hands over, unless it is the only voter, and the node seeks no votes any more. It answers on until the driver stops
    /// asking, best when [`RaftNode::is_dispensable`] or after a while.
    pub fn shutdown(&mut self, now: Now) -> Result<(), RaftError> {
        self.is_stopping = true;
        if matches!(self.role, Role::Prospective { .. } | Role::Candidate { .. }) {
            self.detach(now, self.epoch)?;
        }
        self.resign(now, self.epoch)
    }

    /// Whether nobody waits for this node: it does not lead, and after it led, another does or all voters know.
    pub fn is_dispensable(&self) -> bool {
        match &self.role {
            Role::Leader(_) => self.config.is_only_voter(),
            Role::Resigned { to_tell, .. } => to_tell.is_empty(),
            _ => true,
        }
    }

    /// The settings.
    pub fn config(&self) -> &RaftConfig {
        &self.config
    }

    /// Tells the cluster's id once it is known. From then on others are refused (`INCONSISTENT_CLUSTER_ID`).
    pub fn set_cluster_id(&mut self, cluster_id: String) {
        self.config.cluster_id = Some(cluster_id);
    }

    /// The log, to read from. Committed is what lies below [`RaftNode::high_watermark`].
    pub fn log(&self) -> &L {
        &self.log
    }

    /// Gives the log back, for the node stops.
    pub fn into_log(self) -> L {
        self.log
    }

    /// Who leads, as far as this node knows, and the epoch.
    pub fn leader_and_epoch(&self) -> LeaderAndEpoch {
        LeaderAndEpoch { leader_id: self.leader_id, epoch: self.epoch }
    }

    /// How far this node knows the log to be committed.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The node's role.
    pub fn role(&self) -> RoleName {
        self.role.name()
    }

    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    pub(super) fn election_timeout(&mut self, now: Now) -> i64 {
        let timeout = self.config.election_timeout_ms;
        now.monotonic_ms + timeout + self.random.below(timeout)
    }

    pub(super) fn leave_alone(&mut self, now: Now, peer: i32) {
        self.peers.back_off(peer, now.monotonic_ms + self.config.retry_backoff_ms);
    }

    pub(super) fn call(&mut self, now: Now, to: i32, request: RaftRequest) {
        let id = self.peers.begin(to, now.monotonic_ms + self.config.request_timeout_ms);
        self.actions.push_back(Action::Call { id, to, request });
    }

    /// Writes epoch, leader and vote, if they have changed.
    pub(super) fn persist(&mut self) -> Result<(), RaftError> {
        // What the only voter does, its log tells: no epoch without a record. It answers for nobody else.
        if self.config.is_only_voter() {
            return Ok(());
        }
        let state = ElectionState {
            epoch: self.epoch,
            leader_id: self.leader_id,
            voted_id: self.voted_id,
            voters: self.config.voters.iter().map(|voter| voter.id).collect(),
        };
        if state != self.persisted {
            self.log.write_election(&state)?;
            self.persisted = state;
        }
        Ok(())
    }

    /// Takes a role. Who waited for this node as a leader is told who leads now.
    pub(super) fn take_role(&mut self, role: Role<L::Writer>, epoch_start: Option<i64>) {
        let before = std::mem::replace(&mut self.role, role);
        self.peers.forget();
        if let Role::Leader(leading) = before {
            for waiting in leading.waiting {
                let error = rkafka_protocol::ErrorCode::NotLeaderOrFollower;
                let response = wire::failed_fetch(&self.config, self.leader_and_epoch(), error);
                self.actions.push_back(Action::Reply { id: waiting.id, response: RaftResponse::Fetch(response) });
            }
        }
        let now = self.leader_and_epoch();
        if now != self.announced || epoch_start.is_some() {
            self.announced = now;
            self.actions.push_back(Action::LeaderChanged { now, epoch_start });
        }
    }

    /// Waits for a leader in this epoch, which may be a new one.
    pub(super) fn detach(&mut self, now: Now, epoch: i32) -> Result<(), RaftError> {
        if epoch != self.epoch {
            self.voted_id = None;
        }
        // A stranger with a high epoch does not put off an election that is due.
        let election_at = match &self.role {
            Role::Unattached { election_at } if *election_at > now.monotonic_ms => *election_at,
            Role::Follower(following) if following.fetch_until > now.monotonic_ms => following.fetch_until,
            _ => self.election_timeout(now),
        };
        self.epoch = epoch;
        self.leader_id = None;
        self.persist()?;
        self.take_role(Role::Unattached { election_at }, None);
        Ok(())
    }

    /// Follows a leader.
    pub(super) fn follow(&mut self, now: Now, epoch: i32, leader_id: i32) -> Result<(), RaftError> {
        if epoch != self.epoch {
            self.voted_id = None;
        }
        self.epoch = epoch;
        self.leader_id = Some(leader_id);
        self.elections_lost = 0;
        self.persist()?;
        if planted::is(Bug::RaftTruncatesToHighWatermark) {
            self.log.truncate_to(self.high_watermark, now.date_ms)?;
        }
        if self.config.is_voter() && self.log.synced_end() < self.log.end().offset {
            // To fetch from the end is to acknowledge what is before it.
            self.log.flush()?;
        }
        let fetch_until = now.monotonic_ms + self.config.fetch_timeout_ms;
        self.take_role(Role::Follower(Following { leader_id, fetch_until, has_fetched: false, snapshot: None }), None);
        Ok(())
    }

    /// Asks whether an election would be won, so that a node that was cut off does not disturb the others (KIP-996).
    fn ask_around(&mut self, now: Now) -> Result<(), RaftError> {
        let votes = Votes::new(self.config.node_id, self.config.others());
        let election_at = self.election_timeout(now);
        self.take_role(Role::Prospective { votes, election_at }, None);
        Ok(())
    }

    /// Asks for votes in a new epoch.
    pub(super) fn campaign(&mut self, now: Now) -> Result<(), RaftError> {
        self.epoch += 1;
        self.leader_id = None;
        self.voted_id = Some(self.config.node_id);
        self.persist()?;
        let votes = Votes::new(self.config.node_id, self.config.others());
        if votes.is_won() {
            return self.lead(now, votes.granting());
        }
        let election_at = self.election_timeout(now);
        self.take_role(Role::Candidate { votes, election_at, retry_at: None }, None);
        Ok(())
    }

    /// Leads no more in this epoch, and tells the others.
    pub(super) fn retire(&mut self, now: Now, preferred: Vec<i32>) {
        // On the disk the epoch stays this node's, so that it does not lead in it again.
        self.leader_id = None;
        let until = self.election_timeout(now);
        let to_tell: BTreeSet<i32> = self.config.others().collect();
        self.take_role(Role::Resigned { until, to_tell, preferred }, None);
    }

    /// Goes along with what a response tells of epoch and leader, as far as it is news.
    pub(super) fn learn(&mut self, now: Now, epoch: i32, leader_id: Option<i32>) -> Result<(), RaftError> {
        let leader_id = leader_id.filter(|id| *id != self.config.node_id && self.config.knows_voter(*id));
        match leader_id {
            Some(leader_id) if epoch > self.epoch || (epoch == self.epoch && self.leader_id.is_none()) => {
                self.follow(now, epoch, leader_id)
            }
            None if epoch > self.epoch => self.detach(now, epoch),
            _ => Ok(()),
        }
    }

    /// Notes that the log is committed up to here.
    pub(super) fn commit(&mut self, up_to: i64) {
        let up_to = up_to.min(self.log.end().offset);
        if up_to > self.high_watermark {
            self.high_watermark = up_to;
            self.log.set_high_watermark(up_to);
            self.actions.push_back(Action::Committed(up_to));
        }
    }

    /// Sends what is due to whoever can be called.
    pub(super) fn pump(&mut self, now: Now) -> Result<(), RaftError> {
        match &self.role {
            Role::Unattached { .. } => self.discover(now),
            Role::Follower(_) => self.fetch(now),
            Role::Prospective { .. } | Role::Candidate { .. } => self.seek_votes(now),
            Role::Leader(_) => self.tell_begin(now),
            Role::Resigned { .. } => self.tell_end(now),
        }
        Ok(())
    }
}
