//! The coordinators. Transactions are in [`transaction`]. The group coordinator: groups of both protocols and committed
//! offsets, kept in `__consumer_offsets`.
//!
//! [`GroupShard`] is a machine that holds one partition's groups; [`GroupCoordinator`] is the thin driver that appends
//! its records, wakes it when time has come, and hands its late answers to the requests that wait for them.

mod consumer_driver;
mod group;
#[cfg(test)]
mod moves;
mod partitions;
mod runtime;
pub(crate) mod share;
mod share_driver;
pub mod transaction;

pub use group::{
    After, ClassicState, ConsumerGroupSettings, Effects, Expired, GroupError, GroupSettings, GroupShard, GroupTimings,
    HeartbeatingClient, JoinContext, Moment, NewSharePartition, Outcome, RecordPlace, ReplayError, Reply,
    ShareGroupSettings, SharePartitions, TransactionalCommit, WaiterId, Write,
};
pub(crate) use partitions::append_error;
pub use runtime::{GroupCoordinator, JoiningClient};
pub use transaction::TransactionCoordinator;

/// The partition of a coordinator's topic that is responsible for `key`, as Kafka computes it:
/// `Utils.abs(key.hashCode()) % partition_count`.
///
/// # Panics
/// Never: fewer than one partition counts as one.
pub fn partition_for(key: &str, partition_count: i32) -> i32 {
    // Java hashes UTF-16 code units, and `Utils.abs` clears the sign bit rather than negating.
    let hash = key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partition_count.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_for;

    #[test]
    fn groups_lie_where_java_puts_them() {
        // Values of `(s.hashCode() & 0x7fffffff) % 50`, computed by jshell.
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("hello", 50), 99_162_322 % 50);
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE, which has no absolute value.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        // Two code units, 0xd83d and 0xde00.
        assert_eq!(partition_for("\u{1f600}", 50), (0xd83d * 31 + 0xde00) % 50);
        assert_eq!(partition_for("rkafka-group", 50), 36);
        assert_eq!(partition_for("anything", 0), 0);
    }
}
