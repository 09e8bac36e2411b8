//! The quorum of controllers. Sources: DescribeQuorum (API key 55, KIP-595, KIP-836), AddRaftVoter (key 80) and
//! RemoveRaftVoter (key 81), KIP-853.

use rkafka_client_core::{Error, ErrorCode, ErrorKind, Result};
use rkafka_protocol::messages::add_raft_voter_request::Listener;
use rkafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use rkafka_protocol::messages::describe_quorum_response::ReplicaState;
use rkafka_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, DescribeQuorumRequest, DescribeQuorumResponse, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse,
};
use uuid::Uuid;

use crate::Admin;
use crate::operation::operation;
use crate::single::To;

/// What passes when another controller has taken over.
const PASSING: &[ErrorCode] =
    &[ErrorCode::NotLeaderOrFollower, ErrorCode::LeaderNotAvailable, ErrorCode::BrokerNotAvailable];

/// The quorum of controllers, which keeps the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuorumInfo {
    /// The active controller; `None` while there is none.
    pub leader: Option<i32>,
    /// How many there were.
    pub leader_epoch: i32,
    /// The end of what the quorum has agreed upon.
    pub high_watermark: i64,
    /// The controllers that vote.
    pub voters: Vec<QuorumReplica>,
    /// Brokers, and controllers that do not vote, which follow.
    pub observers: Vec<QuorumReplica>,
    /// Where the voters are to be reached; empty from brokers before Kafka 3.9.
    pub nodes: Vec<QuorumNode>,
}

/// How far a node has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuorumReplica {
    /// The node's id.
    pub id: i32,
    /// The id of the directory that it keeps the log in; nil where it is not known.
    pub directory_id: Uuid,
    /// The end of its log; `None` where the leader does not know.
    pub log_end_offset: Option<i64>,
    /// When it fetched last, in milliseconds since 1970 by the leader's clock; `None` where it has not, or the broker is
    /// older than Kafka 3.3.
    pub last_fetch_timestamp: Option<i64>,
    /// When it last had all that there was, likewise.
    pub last_caught_up_timestamp: Option<i64>,
}

/// Where a voter is to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuorumNode {
    /// The node's id.
    pub id: i32,
    /// Its listeners.
    pub endpoints: Vec<RaftVoterEndpoint>,
}

/// A listener of a voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftVoterEndpoint {
    /// The listener's name, such as `CONTROLLER`.
    pub listener: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl RaftVoterEndpoint {
    /// A listener by name, host and port.
    pub fn new(listener: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self { listener: listener.into(), host: host.into(), port }
    }
}

operation! {
    /// What [`Admin::describe_metadata_quorum`] gives.
    pub struct DescribeMetadataQuorum => QuorumInfo {}
}

operation! {
    /// What [`Admin::add_raft_voter`] gives.
    pub struct AddRaftVoter => () {
        voter: i32,
        directory_id: Uuid,
        endpoints: Vec<RaftVoterEndpoint>,
    }
    options {
        /// The id of the cluster that this is meant for; another refuses. Default: any.
        cluster_id: Option<String> = None,
    }
}

operation! {
    /// What [`Admin::remove_raft_voter`] gives.
    pub struct RemoveRaftVoter => () {
        voter: i32,
        directory_id: Uuid,
    }
    options {
        /// The id of the cluster that this is meant for; another refuses. Default: any.
        cluster_id: Option<String> = None,
    }
}

impl DescribeMetadataQuorum<'_> {
    async fn run(self) -> Result<QuorumInfo> {
        let build = |_| DescribeQuorumRequest {
            topics: vec![TopicData {
                topic_name: "__cluster_metadata".to_owned(),
                partitions: vec![PartitionData { partition_index: 0, ..Default::default() }],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.admin.ask(To::Any, self.limit, PASSING, build, read).await
    }
}

fn read(response: DescribeQuorumResponse) -> Result<QuorumInfo> {
    Error::check_with(response.error_code, response.error_message.as_deref())?;
    let partition = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let silent = || Error::new(ErrorKind::Protocol, "the broker's answer says nothing of the quorum");
    let partition = partition.ok_or_else(silent)?;
    Error::check_with(partition.error_code, partition.error_message.as_deref())?;
    let replica = |state: ReplicaState| QuorumReplica {
        id: state.replica_id,
        directory_id: state.replica_directory_id,
        log_end_offset: (state.log_end_offset >= 0).then_some(state.log_end_offset),
        last_fetch_timestamp: (state.last_fetch_timestamp >= 0).then_some(state.last_fetch_timestamp),
        last_caught_up_timestamp: (state.last_caught_up_timestamp >= 0).then_some(state.last_caught_up_timestamp),
    };
    let nodes = response.nodes.into_iter().map(|node| QuorumNode {
        id: node.node_id,
        endpoints: node
            .listeners
            .into_iter()
            .map(|listener| RaftVoterEndpoint::new(listener.name, listener.host, listener.port))
            .collect(),
    });
    Ok(QuorumInfo {
        leader: (partition.leader_id >= 0).then_some(partition.leader_id),
        leader_epoch: partition.leader_epoch,
        high_watermark: partition.high_watermark,
        voters: partition.current_voters.into_iter().map(replica).collect(),
        observers: partition.observers.into_iter().map(replica).collect(),
        nodes: nodes.collect(),
    })
}

impl AddRaftVoter<'_> {
    async fn run(self) -> Result<()> {
        let timeout_ms = self.admin.broker_time(self.limit);
        let build = |_| AddRaftVoterRequest {
            cluster_id: self.cluster_id.clone(),
            timeout_ms,
            voter_id: self.voter,
            voter_directory_id: self.directory_id,
            listeners: self
                .endpoints
                .iter()
                .map(|endpoint| Listener {
                    name: endpoint.listener.clone(),
                    host: endpoint.host.clone(),
                    port: endpoint.port,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let read =
            |response: AddRaftVoterResponse| Error::check_with(response.error_code, response.error_message.as_deref());
        self.admin.ask(To::Controller, self.limit, PASSING, build, read).await
    }
}

impl RemoveRaftVoter<'_> {
    async fn run(self) -> Result<()> {
        let build = |_| RemoveRaftVoterRequest {
            cluster_id: self.cluster_id.clone(),
            voter_id: self.voter,
            voter_directory_id: self.directory_id,
            ..Default::default()
        };
        let read = |response: RemoveRaftVoterResponse| {
            Error::check_with(response.error_code, response.error_message.as_deref())
        };
        self.admin.ask(To::Controller, self.limit, PASSING, build, read).await
    }
}

impl Admin {
    /// Describes the quorum of controllers. Needs Kafka 3.3, with KRaft.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`].
    pub fn describe_metadata_quorum(&self) -> DescribeMetadataQuorum<'_> {
        DescribeMetadataQuorum::new(self)
    }

    /// Makes a controller that follows one that votes, by its id and the id of its directory. Needs Kafka 3.9, and a
    /// quorum that was formatted for it (`kraft.version` 1).
    ///
    /// Cancel safety: it may vote.
    ///
    /// # Errors
    /// See [`Admin`]; also [`DuplicateVoter`](ErrorCode::DuplicateVoter).
    pub fn add_raft_voter(
        &self,
        voter: i32,
        directory_id: Uuid,
        endpoints: impl IntoIterator<Item = RaftVoterEndpoint>,
    ) -> AddRaftVoter<'_> {
        AddRaftVoter::new(self, voter, directory_id, endpoints.into_iter().collect())
    }

    /// Takes its vote from a controller. Needs Kafka 3.9, and a quorum that was formatted for it (`kraft.version` 1).
    ///
    /// Cancel safety: it may vote no more.
    ///
    /// # Errors
    /// See [`Admin`]; also [`VoterNotFound`](ErrorCode::VoterNotFound).
    pub fn remove_raft_voter(&self, voter: i32, directory_id: Uuid) -> RemoveRaftVoter<'_> {
        RemoveRaftVoter::new(self, voter, directory_id)
    }
}
