//! What a member of a group is told and asks for, between the machines and their driver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rkafka_assignor::Remembered;
use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use crate::subscription::{GroupMembershipOperation, TopicPartition};

/// What a member of a classic group is told at the start.
#[derive(Debug, Clone)]
pub(crate) struct ClassicConfig {
    /// Whether `group.instance.id` is set: a static member does not leave, it is waited for.
    pub(crate) is_static: bool,
    /// Whether partitions are kept over a rebalance (KIP-429).
    pub(crate) is_cooperative: bool,
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) max_poll_interval: Duration,
    pub(crate) retry_backoff: Duration,
}

/// What a member wants to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    /// These topics.
    pub(crate) topics: BTreeSet<String>,
    /// And those whose names match, as the broker sees it (KIP-848).
    pub(crate) pattern: Option<String>,
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
        /// The generation that `owned` is of, or -1.
        generation: i32,
        /// What is kept while joining; nothing in an eager group.
        owned: Vec<TopicPartition>,
        /// The last assignment there was.
        remembered: Option<Remembered>,
    },
    /// Work out the assignment; answer by `on_assigned`.
    Assign {
        /// The assignor that all members know.
        protocol: String,
        /// The members and their subscriptions.
        members: Vec<JoinedMember>,
        /// Whether the assignment that there is stays: the leader is a static member that is back (KIP-814). Nothing is
        /// to be worked out, but the topics are to be watched from here on.
        is_kept: bool,
    },
    /// Send SyncGroup; answer by `on_sync`.
    Sync {
        generation: i32,
        member_id: String,
        protocol: String,
        /// By member id; empty unless this member is the leader.
        assignments: Vec<(String, Bytes)>,
    },
    /// Begin with these partitions, beside what is held, and call the hook; answer by `on_installed`.
    Install {
        generation: i32,
        added: Vec<TopicPartition>,
        /// Whether this member leads, and so watches the topics' partitions.
        is_leader: bool,
    },
    /// Send Heartbeat, beside whatever else goes on; answer by `on_heartbeat`.
    Heartbeat { generation: i32, member_id: String },
    /// Send ConsumerGroupHeartbeat, beside whatever else goes on; answer by `on_beat`.
    Beat(Beat),
    /// Look for the names of these topics; answer by `on_names`.
    Resolve(Vec<Uuid>),
    /// Give up these partitions; answer by `on_revoked`. Lost ones belong to others already: nothing may be committed.
    Revoke { partitions: Vec<TopicPartition>, lost: bool },
    /// Tell the coordinator of the leaving; answer by `on_left`.
    Leave {
        member_id: String,
        /// The member epoch that says so to a group of KIP-848: -1, or -2 for a static member that will be back.
        epoch: i32,
        reason: &'static str,
    },
    /// Tell the application; nothing more will happen.
    Fail { code: ErrorCode, message: Option<String> },
}

/// A ConsumerGroupHeartbeat. What is `None` did not change since the last one that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Beat {
    pub(crate) member_id: String,
    /// 0 joins.
    pub(crate) epoch: i32,
    /// Whether everything is told that the coordinator may not know.
    pub(crate) full: bool,
    pub(crate) topics: Option<Vec<String>>,
    /// Empty to take a pattern back.
    pub(crate) pattern: Option<String>,
    pub(crate) owned: Option<BTreeMap<Uuid, Vec<i32>>>,
}

/// What the coordinator answers to a beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BeatAnswer {
    pub(crate) member_id: Option<String>,
    pub(crate) epoch: i32,
    pub(crate) interval: Duration,
    /// What the member should have; `None` where that did not change.
    pub(crate) assignment: Option<BTreeMap<Uuid, Vec<i32>>>,
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
    Refused { code: ErrorCode, member_id: Option<String>, message: Option<String> },
    /// No answer came.
    Lost,
}

impl Failure {
    pub(crate) fn refused(code: ErrorCode) -> Self {
        Self::Refused { code, member_id: None, message: None }
    }

    /// Whether the same request may fare better later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Lost => true,
        }
    }
}

/// Whether the coordinator is told that a member leaves at a close (KIP-1092).
pub(crate) fn tells_of_leaving(operation: GroupMembershipOperation, is_static: bool) -> bool {
    match operation {
        GroupMembershipOperation::Default => !is_static,
        GroupMembershipOperation::LeaveGroup => true,
        GroupMembershipOperation::RemainInGroup => false,
    }
}
