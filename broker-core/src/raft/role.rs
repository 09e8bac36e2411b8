//! What a node is in its epoch.

use std::collections::{BTreeMap, BTreeSet};

use super::leader::Leading;
use super::{OffsetAndEpoch, SnapshotWriter};

/// The name of a role, for logs and metrics. As Kafka's metric `current-state` says it, in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleName {
    /// Knows of no leader and waits for one.
    Unattached,
    /// Follows a leader. Of a node that does not vote: observes it.
    Follower,
    /// Asks whether it would be elected.
    Prospective,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Led in this epoch, and will not again.
    Resigned,
}

impl RoleName {
    /// The name as Kafka's metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            RoleName::Unattached => "unattached",
            RoleName::Follower => "follower",
            RoleName::Prospective => "prospective",
            RoleName::Candidate => "candidate",
            RoleName::Leader => "leader",
            RoleName::Resigned => "resigned",
        }
    }
}

/// A role with what belongs to it. Times are on the monotonic clock.
#[derive(Debug)]
pub(super) enum Role<W: SnapshotWriter> {
    Unattached { election_at: i64 },
    Follower(Following<W>),
    Prospective { votes: Votes, election_at: i64 },
    Candidate { votes: Votes, election_at: i64, retry_at: Option<i64> },
    Leader(Leading),
    Resigned { until: i64, to_tell: BTreeSet<i32>, preferred: Vec<i32> },
}

#[derive(Debug)]
pub(super) struct Following<W: SnapshotWriter> {
    pub leader_id: i32,
    /// When it gives its leader up.
    pub fetch_until: i64,
    /// Whether the leader has answered in this epoch. Until then the node would help to elect another (KIP-996).
    pub has_fetched: bool,
    pub snapshot: Option<W>,
}

impl<W: SnapshotWriter> Role<W> {
    pub fn name(&self) -> RoleName {
        match self {
            Role::Unattached { .. } => RoleName::Unattached,
            Role::Follower(_) => RoleName::Follower,
            Role::Prospective { .. } => RoleName::Prospective,
            Role::Candidate { .. } => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
            Role::Resigned { .. } => RoleName::Resigned,
        }
    }

    /// The snapshot that a follower is fetching.
    pub fn fetching(&self) -> Option<(OffsetAndEpoch, u64)> {
        match self {
            Role::Follower(Following { snapshot: Some(writer), .. }) => Some((writer.id(), writer.len())),
            _ => None,
        }
    }
}

/// The votes of an election, by voter; `None` for those that have not answered.
#[derive(Debug, Clone)]
pub(super) struct Votes(BTreeMap<i32, Option<bool>>);

impl Votes {
    pub fn new(own: i32, others: impl Iterator<Item = i32>) -> Self {
        let mut votes: BTreeMap<i32, Option<bool>> = others.map(|id| (id, None)).collect();
        votes.insert(own, Some(true));
        Self(votes)
    }

    pub fn record(&mut self, voter: i32, granted: bool) {
        // The first answer counts.
        if let Some(vote @ None) = self.0.get_mut(&voter) {
            *vote = Some(granted);
        }
    }

    pub fn unrecorded(&self) -> impl Iterator<Item = i32> + '_ {
        self.0.iter().filter(|(_, vote)| vote.is_none()).map(|(id, _)| *id)
    }

    pub fn granting(&self) -> Vec<i32> {
        self.0.iter().filter(|(_, vote)| **vote == Some(true)).map(|(id, _)| *id).collect()
    }

    pub fn is_won(&self) -> bool {
        self.granting().len() > self.0.len() / 2
    }

    /// Whether too many have refused for it to be won yet.
    pub fn is_lost(&self) -> bool {
        let refused = self.0.values().filter(|vote| **vote == Some(false)).count();
        self.0.len() - refused <= self.0.len() / 2
    }
}
