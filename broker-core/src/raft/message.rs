//! What goes into the machine and comes out of it.

use rkafka_protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest, EndQuorumEpochResponse, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, VoteRequest, VoteResponse,
};

use super::OffsetAndEpoch;

/// Names a request that the machine was asked, until it is answered by [`Action::Reply`]. The driver chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names a call that the machine made. The machine chooses it, and never twice in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A request between nodes of the quorum, in Kafka's form. The machine fills in what the newest version has; the driver
/// sends it in the newest version that both sides have.
#[derive(Debug, Clone, PartialEq)]
pub enum RaftRequest {
    /// Asks for a vote, or whether one would be given (KIP-996).
    Vote(VoteRequest),
    /// Says who leads.
    BeginQuorumEpoch(BeginQuorumEpochRequest),
    /// Says that a leader gives up.
    EndQuorumEpoch(EndQuorumEpochRequest),
    /// Reads the metadata log, and acknowledges what is before it.
    Fetch(FetchRequest),
    /// Reads a snapshot.
    FetchSnapshot(FetchSnapshotRequest),
}

impl RaftRequest {
    /// The name of the API.
    pub fn name(&self) -> &'static str {
        match self {
            RaftRequest::Vote(_) => "Vote",
            RaftRequest::BeginQuorumEpoch(_) => "BeginQuorumEpoch",
            RaftRequest::EndQuorumEpoch(_) => "EndQuorumEpoch",
            RaftRequest::Fetch(_) => "Fetch",
            RaftRequest::FetchSnapshot(_) => "FetchSnapshot",
        }
    }
}

/// The response to a [`RaftRequest`] of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum RaftResponse {
    /// To [`RaftRequest::Vote`].
    Vote(VoteResponse),
    /// To [`RaftRequest::BeginQuorumEpoch`].
    BeginQuorumEpoch(BeginQuorumEpochResponse),
    /// To [`RaftRequest::EndQuorumEpoch`].
    EndQuorumEpoch(EndQuorumEpochResponse),
    /// To [`RaftRequest::Fetch`].
    Fetch(FetchResponse),
    /// To [`RaftRequest::FetchSnapshot`].
    FetchSnapshot(FetchSnapshotResponse),
}

/// Who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeaderAndEpoch {
    /// The leader, if one is known.
    pub leader_id: Option<i32>,
    /// The epoch.
    pub epoch: i32,
}

/// What the machine wants done. What an action rests on is on the disk when it comes out.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// To be sent to another voter. The answer, or that there is none, goes to [`super::RaftNode::on_response`]; one that
    /// comes after `controller.quorum.request.timeout.ms` is passed over.
    Call {
        /// Names the call.
        id: CallId,
        /// The voter's id.
        to: i32,
        /// What to send.
        request: RaftRequest,
    },
    /// Answers a request.
    Reply {
        /// Which one.
        id: RequestId,
        /// The answer.
        response: RaftResponse,
    },
    /// Another leader, or none, or another epoch.
    LeaderChanged {
        /// Who leads now.
        now: LeaderAndEpoch,
        /// Where this node's own epoch begins in the log, if it is the leader: the record there is the first of the
        /// epoch, and once it is committed and applied, all that was committed before is applied too.
        epoch_start: Option<i64>,
    },
    /// All records below this offset are committed. It never goes back.
    Committed(i64),
    /// A snapshot of the leader's took the place of the log: what was applied is to be thrown away for what is in it, and
    /// the log goes on at its end. All that is in it is committed.
    SnapshotLoaded(OffsetAndEpoch),
}
