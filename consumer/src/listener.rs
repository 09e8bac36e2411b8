//! Hooks of a rebalance.

use std::future::{Future, ready};
use std::pin::Pin;

use crate::handle::ConsumerHandle;
use crate::subscription::TopicPartition;

/// What a hook gives back: it may wait, and commit.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Is told what a rebalance gives and takes. Hooks run in a task of the consumer, one at a time; signs of life go on
/// meanwhile, but the rebalance waits, for `max.poll.interval.ms` at most; a hook that lasts longer is warned of in the
/// log. One that never ends holds up no drop, and a close for 30 s. What a hook commits by the handle is
/// committed before the partitions are given up.
pub trait RebalanceListener: Send + Sync + 'static {
    /// Partitions were given to this consumer; nothing of them is handed out before the hook is done, so that it may
    /// seek.
    fn on_assigned<'a>(&'a self, _consumer: &'a ConsumerHandle, _partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(ready(()))
    }

    /// Partitions are about to be given up. The application has come back for more before this is called, so that
    /// everything handed out has been dealt with, and can be committed.
    fn on_revoked<'a>(&'a self, _consumer: &'a ConsumerHandle, _partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(ready(()))
    }

    /// Partitions have been lost: others may read them already, and nothing can be committed. As in Java, this is
    /// [`on_revoked`](Self::on_revoked) where it is not told apart.
    fn on_lost<'a>(&'a self, consumer: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        self.on_revoked(consumer, partitions)
    }
}
