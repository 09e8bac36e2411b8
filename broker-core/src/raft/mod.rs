//! The quorum of `__cluster_metadata`: who leads, and what is committed (KRaft, KIP-595, KIP-630, KIP-996).
//!
//! [`RaftNode`] is the machine. It is told requests, responses and the time, and answers by [`Action`]s: calls to other
//! nodes, replies, who leads, how far the log is committed. It has no clock, no network and no randomness but what it
//! draws from the seed in its [`RaftConfig`]. It writes through a [`RaftLog`], at once: when an action comes out of
//! [`RaftNode::poll_action`], what it rests on (a vote, an epoch, records) is on the disk already.
//!
//! Records are opaque here: batches that the leader's owner gives to [`RaftNode::append`], and that every node's owner
//! reads from [`RaftNode::log`] up to [`Action::Committed`].
//!
//! # How a driver goes about it
//!
//! 1. [`RaftNode::open`]. A node that is the only voter leads when this returns, and has committed.
//! 2. After every call drain [`RaftNode::poll_action`]: send [`Action::Call`] to the voter that it names and give the
//!    answer, or the failure, to [`RaftNode::on_response`]; send [`Action::Reply`] to whoever asked.
//! 3. Call [`RaftNode::tick`] when [`RaftNode::deadline`] has come.
//! 4. The applier reads committed records from the log. On [`Action::SnapshotLoaded`] it begins anew from that snapshot.
//! 5. On [`Action::LeaderChanged`] with itself as the leader, the owner becomes the active controller once it has applied
//!    up to `epoch_start` (inclusive: the record there is the leader's own). On any other leader it is not active any
//!    more, and what it appended beyond the committed end may vanish.
//!
//! Every method answers [`RaftError`] where the log failed. The node must not go on then; it is opened anew.
//!
//! **Invariants**, each checked at every step of the random schedules in `tests/`: one leader per epoch; what is
//! committed is never lost or changed; the high watermark goes back on no node; a vote is on the disk before its reply;
//! after everything heals, a leader commits.

mod batches;
mod config;
mod describe;
mod disk_log;
mod election;
mod error;
mod fetching;
mod leader;
mod log;
mod message;
mod node;
mod peers;
mod quorum_state;
mod random;
mod requests;
mod role;
mod schedule;
mod snapshots;
mod wire;

pub use config::{RaftConfig, Voter};
pub use disk_log::{DiskLog, DiskSnapshot};
pub use error::{AppendRefused, CallFailed, RaftError};
pub use log::{Appended, ElectionState, OffsetAndEpoch, RaftLog, SnapshotPart, SnapshotWriter, end_for_epoch};
pub use message::{Action, CallId, LeaderAndEpoch, RaftRequest, RaftResponse, RequestId};
pub use node::{Now, RaftNode};
pub use role::RoleName;
pub use schedule::SnapshotSchedule;
pub use snapshots::SnapshotBuilder;
pub use wire::{METADATA_TOPIC, METADATA_TOPIC_ID};

#[cfg(test)]
mod tests;
