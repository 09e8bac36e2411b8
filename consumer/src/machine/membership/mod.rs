//! Membership of a group, one machine per protocol. That of share groups will stand beside these.

use std::time::Instant;

use rkafka_protocol::ErrorCode;

use crate::subscription::{GroupMembershipOperation, TopicPartition};

pub(crate) mod classic;
#[cfg(test)]
mod classic_any_tests;
#[cfg(test)]
mod classic_tests;
pub(crate) mod consumer;
#[cfg(test)]
mod consumer_any_tests;
#[cfg(test)]
mod consumer_tests;
#[cfg(test)]
mod ownership;
mod state;
pub(crate) mod terms;

pub(crate) use classic::Classic;
pub(crate) use consumer::ConsumerMember;
pub(crate) use terms::{Action, Failure, Wanted};

/// A member, by whichever protocol `group.protocol` names. What only one protocol answers, the other passes over.
#[derive(Debug)]
pub(crate) enum Membership {
    /// JoinGroup and SyncGroup: the members share the partitions out.
    Classic(Box<Classic>),
    /// ConsumerGroupHeartbeat (KIP-848): the coordinator does.
    Consumer(Box<ConsumerMember>),
}

/// Has both machines told the same.
macro_rules! both {
    ($self:ident, $machine:ident => $told:expr) => {
        match $self {
            Self::Classic($machine) => $told,
            Self::Consumer($machine) => $told,
        }
    };
}

impl Membership {
    /// The member id and the generation, or member epoch, to commit under; `None` outside of one.
    pub(crate) fn identity(&self) -> Option<(i32, &str)> {
        both!(self, machine => machine.identity())
    }

    #[cfg(test)]
    pub(crate) fn member_id(&self) -> &str {
        both!(self, machine => machine.member_id())
    }

    /// Whether nothing more will happen.
    pub(crate) fn is_done(&self) -> bool {
        both!(self, machine => machine.is_done())
    }

    /// What to do next, if anything.
    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        both!(self, machine => machine.poll_action(now))
    }

    /// When `poll_action` should be asked again although nothing came in.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        both!(self, machine => machine.deadline())
    }

    /// The application polls, or waits in a poll.
    pub(crate) fn on_poll(&mut self, now: Instant) {
        both!(self, machine => machine.on_poll(now));
    }

    /// The subscription is another.
    pub(crate) fn on_subscription(&mut self, wanted: Wanted) {
        both!(self, machine => machine.on_subscription(wanted));
    }

    /// A subscribed topic has other partitions than were shared out. A coordinator that shares out sees that itself.
    pub(crate) fn on_topics_changed(&mut self) {
        if let Self::Classic(machine) = self {
            machine.on_topics_changed();
        }
    }

    /// The consumer closes: give up, leave as `operation` says, be done.
    pub(crate) fn on_close(&mut self, operation: GroupMembershipOperation) {
        both!(self, machine => machine.on_close(operation));
    }

    /// The coordinator was found, or not.
    pub(crate) fn on_coordinator(&mut self, now: Instant, found: Result<(), Failure>) {
        both!(self, machine => machine.on_coordinator(now, found));
    }

    /// The coordinator refused a commit.
    pub(crate) fn on_commit_refused(&mut self, now: Instant, generation: i32, code: ErrorCode) {
        both!(self, machine => machine.on_commit_refused(now, generation, code));
    }

    /// What was to be given up is.
    pub(crate) fn on_revoked(&mut self) {
        both!(self, machine => machine.on_revoked());
    }

    /// What was to be begun with is.
    pub(crate) fn on_installed(&mut self) {
        both!(self, machine => machine.on_installed());
    }

    /// What came of telling the coordinator that the member leaves.
    pub(crate) fn on_left(&mut self, now: Instant, told: Result<(), Failure>) {
        match self {
            Self::Classic(machine) => machine.on_left(),
            Self::Consumer(machine) => machine.on_left(now, told),
        }
    }
}

/// A set of partitions as actions and hooks have it.
fn listed<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Vec<TopicPartition> {
    partitions.into_iter().cloned().collect()
}
