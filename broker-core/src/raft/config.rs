//! What a node of the quorum knows from its settings.

/// A voter of the quorum: an entry of `controller.quorum.voters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub id: i32,
    /// Where its controller listener is.
    pub host: String,
    /// The port of that.
    pub port: u16,
}

/// The settings of a node. Names and defaults are Kafka's where nothing else is said; all times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftConfig {
    /// `node.id`. A node that is not among the voters is an observer: it follows the log and never votes.
    pub node_id: i32,
    /// The cluster's id. `None` while it is not known: then none is sent, and any is taken.
    pub cluster_id: Option<String>,
    /// `controller.quorum.voters`, the same on all nodes.
    pub voters: Vec<Voter>,
    /// The name of the controllers' listener (`controller.listener.names`), told beside the voters' addresses.
    pub listener_name: String,
    /// `controller.quorum.election.timeout.ms`: how long a node waits for a leader, or for votes, before it tries again:
    /// between this and twice as long. Default 1000.
    pub election_timeout_ms: i64,
    /// `controller.quorum.fetch.timeout.ms`: how long a follower goes without an answer of its leader before it asks for
    /// an election; a leader resigns after one and a half times as long without a majority. Default 2000.
    pub fetch_timeout_ms: i64,
    /// `controller.quorum.election.backoff.max.ms`: how long a candidate that lost waits at most. Default 1000.
    pub election_backoff_max_ms: i64,
    /// `controller.quorum.request.timeout.ms`: when a request that was not answered counts as failed. Default 2000.
    pub request_timeout_ms: i64,
    /// `controller.quorum.retry.backoff.ms`: how long a node is left alone after a failed request. Default 20.
    pub retry_backoff_ms: i64,
    /// `controller.quorum.append.linger.ms`: how long the leader lets appends gather before it syncs them; zero syncs
    /// each at once. A node that is alone never waits. Default 25.
    pub append_linger_ms: i64,
    /// `controller.quorum.fetch.max.bytes`: how much of the log goes into one answer. Default 8 MiB.
    pub fetch_max_bytes: usize,
    /// `controller.quorum.fetch.snapshot.max.bytes`: how much of a snapshot goes into one answer. Default 8 MiB.
    pub fetch_snapshot_max_bytes: usize,
    /// How long a leader without news holds a fetch. Kafka has no setting for it. Default 500.
    pub fetch_max_wait_ms: i64,
    /// `metadata.max.retention.bytes`: log and snapshots may take this much before the oldest snapshot goes, and the log
    /// below the next one; -1 for no limit. Default 100 MiB.
    pub retention_bytes: i64,
    /// `metadata.max.retention.ms`: snapshots older than this go likewise; -1 for no limit. Default 7 days.
    pub retention_ms: i64,
    /// Where the node's random delays come from. Two nodes need two seeds.
    pub seed: u64,
}

impl RaftConfig {
    /// Kafka's defaults for a node and its quorum.
    pub fn new(node_id: i32, voters: Vec<Voter>) -> Self {
        Self {
            node_id,
            cluster_id: None,
            voters,
            listener_name: "CONTROLLER".to_owned(),
            election_timeout_ms: 1000,
            fetch_timeout_ms: 2000,
            election_backoff_max_ms: 1000,
            request_timeout_ms: 2000,
            retry_backoff_ms: 20,
            append_linger_ms: 25,
            fetch_max_bytes: 8 * 1024 * 1024,
            fetch_snapshot_max_bytes: 8 * 1024 * 1024,
            fetch_max_wait_ms: 500,
            retention_bytes: 100 * 1024 * 1024,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
            seed: node_id.unsigned_abs().into(),
        }
    }

    /// Whether the node votes.
    pub fn is_voter(&self) -> bool {
        self.knows_voter(self.node_id)
    }

    /// Whether the node is the only voter, so that it needs nobody to lead.
    pub fn is_only_voter(&self) -> bool {
        self.is_voter() && self.voters.len() == 1
    }

    /// Whether a node votes.
    pub fn knows_voter(&self, id: i32) -> bool {
        self.voters.iter().any(|voter| voter.id == id)
    }

    /// The voters but this node.
    pub(super) fn others(&self) -> impl Iterator<Item = i32> + '_ {
        self.voters.iter().map(|voter| voter.id).filter(|id| *id != self.node_id)
    }

    /// How many votes, or replicas, are a majority.
    pub(super) fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}
