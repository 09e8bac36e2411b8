//! Who gets which partition: Kafka's assignors, of clients and of the group coordinator (KIP-848), as pure functions.
//!
//! An [`Assignor`] is told who is in the group ([`Member`]) and how many partitions each topic has
//! ([`TopicPartitions`]), and answers with an [`Assignment`]. Nothing here does I/O, reads a clock or draws a random
//! number, and the answer never depends on the order in which members or topics were given: two leaders that see the
//! same group decide the same.
//!
//! The bytes that carry subscriptions and assignments inside JoinGroup and SyncGroup live in the protocol crate
//! (`ConsumerProtocolSubscription`, `ConsumerProtocolAssignment`); this crate knows only those that the assignors
//! themselves put into them ([`Assignor::user_data`]).
//!
//! ```
//! use rkafka_assignor::{Assignor, Member, Range, TopicPartitions};
//!
//! let topics = TopicPartitions::from([("orders", 3)]);
//! let members = [Member::new("consumer-1", ["orders"]), Member::new("consumer-2", ["orders"])];
//! let assignment = Range.assign(&members, &topics)?;
//! assert_eq!(assignment.of("consumer-1"), [("orders".to_owned(), 0), ("orders".to_owned(), 1)]);
//! assert_eq!(assignment.of("consumer-2"), [("orders".to_owned(), 2)]);
//! # Ok::<(), rkafka_assignor::AssignError>(())
//! ```

mod group;
mod order;
mod range;
mod round_robin;
mod simple;
mod sticky;
mod uniform;
mod user_data;

pub use group::{AssignError, Assignment, Member, Remembered, TopicPartition, TopicPartitions};
pub use range::Range;
pub use round_robin::RoundRobin;
pub use simple::Simple;
pub use sticky::{CooperativeSticky, Sticky};
pub use uniform::Uniform;

/// How a group moves from one assignment to the next (KIP-429).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RebalanceProtocol {
    /// Every member gives up all of its partitions before it joins.
    Eager,
    /// Members keep what they have while they join, and give up only what the new assignment takes from them.
    Cooperative,
}

/// Decides who gets which partition.
pub trait Assignor: std::fmt::Debug + Send + Sync {
    /// The protocol name that members send in JoinGroup, as in `partition.assignment.strategy`: `range`, for example.
    fn name(&self) -> &str;

    /// The rebalance protocols that may carry this assignor's answers, the preferred one first.
    fn protocols(&self) -> &'static [RebalanceProtocol];

    /// Gives each partition of each subscribed topic to one subscriber, or to several where the assignor is one of share
    /// groups. Every member has an entry in the answer, empty
    /// where it gets nothing; topics that are absent from `topics` or have no partition are passed over.
    ///
    /// # Errors
    /// [`AssignError`] where the members contradict each other.
    fn assign(&self, members: &[Member], topics: &TopicPartitions) -> Result<Assignment, AssignError>;

    /// What this member tells the leader's assignor beside its subscription: the user data of its JoinGroup request.
    /// `remembered` is the last assignment that it was given, if any, also where it has given that up or lost it.
    fn user_data(&self, _remembered: Option<&Remembered>) -> Option<Vec<u8>> {
        None
    }

    /// Puts what a member's user data says into `member`, which has the fields of its subscription already. Called by
    /// the leader for each member before [`assign`](Self::assign). The bytes are another program's: whatever they are,
    /// this must not panic, and what cannot be read is passed over.
    fn read_user_data(&self, _member: &mut Member, _user_data: Option<&[u8]>) {}
}

/// The client's assignor with this protocol name, or `None` where Kafka has it and this crate has not, or nobody has it.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Assignor> {
    let known: [&'static dyn Assignor; 4] = [&Range, &RoundRobin, &Sticky, &CooperativeSticky];
    known.into_iter().find(|assignor| assignor.name() == name)
}
