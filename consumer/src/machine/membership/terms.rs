//! What a member of a classic group is told and asks for, between the machine and its driver.

use std::time::Duration;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;

/// What the member is told at the start.
#[derive(Debug, Clone)]
pub(crate) struct ClassicConfig {
    /// Whether `group.instance.id` is set: a static member does not leave, it is waited for.
    pub(crate) is_static: bool,
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) max_poll_interval: Duration,
    pub(crate) retry_backoff: Duration,
}

/// Where the member stands.
///
/// `Unjoined` → `Joining` → (`Assigning` →) `Syncing` → `Installing` → `Stable` → `Revoking` → `Joining`; every state
/// may fall back to `Unjoined`, and to `Leaving` → `Left` or `Failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not in the group, or wants to join anew.
    Unjoined,
    /// JoinGroup is in flight.
    Joining,
    /// The leader works out who gets what.
    Assigning,
    /// SyncGroup is to be sent, or in flight.
    Syncing,
    /// The assignment is being put in place.
    Installing,
    /// Has its assignment and only beats.
    Stable,
    /// Gives its partitions up before it joins anew or leaves.
    Revoking,
    /// LeaveGroup is to be sent, or in flight.
    Leaving,
    /// Has left for good.
    Left,
    /// Cannot be a member any more.
    Failed,
}

/// What the driver must do next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Look for the coordinator; answer by `on_coordinator`.
    FindCoordinator,
    /// Send JoinGroup; answer by `on_join`. It may take as long as the rebalance timeout.
    Join {
        /// Empty for a member that has no id yet.
        member_id: String,
    },
    /// Work out the assignment; answer by `on_assigned`.
    Assign {
        /// The assignor that all members know.
        protocol: String,
        /// The members and their subscriptions.
        members: Vec<JoinedMember>,
    },
    /// Send SyncGroup; answer by `on_sync`.
    Sync {
        generation: i32,
        member_id: String,
        protocol: String,
        /// By member id; empty unless this member is the leader.
        assignments: Vec<(String, Bytes)>,
    },
    /// Put the assignment in place and call the hook; answer by `on_installed`.
    Install {
        generation: i32,
        /// A `ConsumerProtocolAssignment`.
        assignment: Bytes,
        /// Whether this member leads, and so watches the topics' partitions.
        is_leader: bool,
    },
    /// Send Heartbeat, beside whatever else goes on; answer by `on_heartbeat`.
    Heartbeat { generation: i32, member_id: String },
    /// Give up all partitions; answer by `on_revoked`. Lost ones belong to others already: nothing may be committed.
    Revoke { lost: bool },
    /// Send LeaveGroup; answer by `on_left`, whatever came of it.
    Leave { member_id: String, reason: &'static str },
    /// Tell the application; nothing more will happen.
    Fail(ErrorCode),
}

/// A member, as the leader is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    /// A `ConsumerProtocolSubscription`.
    pub(crate) metadata: Bytes,
}

/// A JoinGroup that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) member_id: String,
    pub(crate) leader_id: String,
    pub(crate) protocol: String,
    pub(crate) skip_assignment: bool,
    pub(crate) members: Vec<JoinedMember>,
}

/// Why a request to the coordinator brought no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The coordinator refused; with MEMBER_ID_REQUIRED it gave a member id.
    Refused { code: ErrorCode, member_id: Option<String> },
    /// No answer came.
    Lost,
}

impl Failure {
    pub(crate) fn refused(code: ErrorCode) -> Self {
        Self::Refused { code, member_id: None }
    }
}
