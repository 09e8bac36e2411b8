//! What a consumer reads: a subscription as a member of its group, or partitions that are assigned by hand.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Consumer;
use crate::clock;
use crate::config::GroupProtocol;
use crate::driver::committer::{self, CommitOrder};
use crate::driver::member::{Hooks, MemberNews, MemberTask};
use crate::error::{ConsumerError, Result};
use crate::listener::RebalanceListener;
use crate::metrics::TimedListener;
use crate::pattern::TopicPattern;
use crate::shared::{Mode, Subscription};
use crate::subscription::{GroupMembershipOperation, Start, TopicPartition};
use crate::tasks::leave;

impl Consumer {
    /// Subscribes to these topics as a member of `group.id`, instead of those subscribed before. Returns at once; the
    /// group's assignment comes in the background. Hooks of an earlier subscription stay. No topics at all unsubscribe, as
    /// in Java: the member leaves in the background, after its hooks; [`unsubscribe`](Self::unsubscribe) waits for that.
    ///
    /// # Errors
    /// No group, or partitions are assigned by hand; [`ConsumerError::Unsubscribing`].
    pub fn subscribe<Topic: Into<String>>(&mut self, topics: impl IntoIterator<Item = Topic>) -> Result<()> {
        self.subscribe_to(Subscription::to(topics), None)
    }

    /// As [`subscribe`](Self::subscribe), with hooks, in place of those of an earlier subscription.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with<Topic: Into<String>>(
        &mut self,
        topics: impl IntoIterator<Item = Topic>,
        listener: impl RebalanceListener,
    ) -> Result<()> {
        self.subscribe_to(Subscription::to(topics), Some(Arc::new(listener)))
    }

    /// Subscribes to the topics whose whole names match a regular expression, instead of what was subscribed before. Topics
    /// that come later are found: under `group.protocol=consumer` by the coordinator, which takes RE2J's expressions;
    /// else by this consumer, every `metadata.max.age.ms`, which takes those of the `regex` crate (much the same), and
    /// passes over Kafka's own topics as `exclude.internal.topics` says. Returns at once.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe); [`ConsumerError::BadPattern`]. What the coordinator cannot read is told by the
    /// next call for records, and is fatal.
    pub fn subscribe_pattern(&mut self, pattern: impl Into<String>) -> Result<()> {
        let subscription = self.matching(pattern.into())?;
        self.subscribe_to(subscription, None)
    }

    /// As [`subscribe_pattern`](Self::subscribe_pattern), with hooks, in place of those of an earlier subscription.
    ///
    /// # Errors
    /// As [`subscribe_pattern`](Self::subscribe_pattern).
    pub fn subscribe_pattern_with(
        &mut self,
        pattern: impl Into<String>,
        listener: impl RebalanceListener,
    ) -> Result<()> {
        let subscription = self.matching(pattern.into())?;
        self.subscribe_to(subscription, Some(Arc::new(listener)))
    }

    fn matching(&self, pattern: String) -> Result<Subscription> {
        let pattern = match self.shared.config.group_protocol {
            GroupProtocol::Classic => TopicPattern::of_client(pattern)?,
            GroupProtocol::Consumer => TopicPattern::of_broker(pattern)?,
        };
        Ok(Subscription { topics: Vec::new(), pattern: Some(pattern) })
    }

    fn subscribe_to(&mut self, subscription: Subscription, listener: Option<Arc<dyn RebalanceListener>>) -> Result<()> {
        let listener = listener.map(|listener| {
            let shared = Arc::clone(&self.shared);
            Arc::new(TimedListener { listener, shared }) as Arc<dyn RebalanceListener>
        });
        let is_leaving = self.tasks.as_ref().ok_or(ConsumerError::Closed)?.is_leaving;
        self.shared.group_id("subscribing")?;
        if is_leaving {
            return Err(ConsumerError::Unsubscribing);
        }
        if subscription.is_empty() {
            // The member does not wait for the application to come back from what it was handed.
            self.put_back();
            self.shared.lock().in_hand = None;
            self.shared.member.notify_waiters();
        }
        let tasks = self.tasks.as_mut().ok_or(ConsumerError::Closed)?;
        {
            let mut state = self.shared.lock();
            if subscription.is_empty() && tasks.inbox.is_some() {
                // There is no membership to end.
                state.mode = Mode::Idle;
                state.positions.assign(&[]);
                state.inbox.purge();
                drop(state);
                self.shared.steward.notify_one();
                return Ok(());
            }
            if state.mode == Mode::Manual {
                return Err(ConsumerError::Conflict { operation: "subscribing" });
            }
            if subscription.pattern.is_some() {
                self.shared.pattern_is_new.store(true, Ordering::Release);
            }
            state.mode = Mode::Group(subscription);
        }
        self.shared.steward.notify_one();
        match tasks.inbox.take() {
            Some(news) => {
                let task = MemberTask { shared: Arc::clone(&self.shared), news, listener };
                tasks.member = Some(clock::spawn_on(&tasks.runtime, task.run()));
            }
            None => {
                if let Some(listener) = listener {
                    let _ = tasks.news.send(MemberNews::Hooks(Hooks(listener)));
                }
                let _ = tasks.news.send(MemberNews::SubscriptionChanged);
            }
        }
        Ok(())
    }

    /// Reads these partitions, and no others, without a group to share them with. Partitions that are read already stay
    /// where they are; [`seek`](crate::ConsumerHandle::seek) moves them. Of those that are read no more, what was dealt with is
    /// committed in the background, where offsets are committed by themselves.
    ///
    /// # Errors
    /// The consumer is subscribed; a committed offset is asked for and there is no group; a negative partition.
    pub fn assign<Topic: Into<Arc<str>>>(
        &mut self,
        partitions: impl IntoIterator<Item = (Topic, i32, Start)>,
    ) -> Result<()> {
        if self.tasks.is_none() {
            return Err(ConsumerError::Closed);
        }
        let wanted: Vec<(Arc<str>, i32, Start)> =
            partitions.into_iter().map(|(topic, partition, start)| (topic.into(), partition, start)).collect();
        if wanted.iter().any(|(_, _, start)| *start == Start::Committed) {
            self.shared.group_id("reading from the committed offset")?;
        }
        {
            let state = self.shared.lock();
            if matches!(state.mode, Mode::Group(_)) {
                return Err(ConsumerError::Conflict { operation: "assigning partitions" });
            }
        }
        self.commit_before_assigning(&wanted);
        {
            let mut state = self.shared.lock();
            state.mode = Mode::Manual;
            state.positions.assign(&wanted);
            state.inbox.purge();
        }
        self.shared.steward.notify_one();
        Ok(())
    }

    /// Commits what was dealt with of partitions that are about to go.
    fn commit_before_assigning(&self, wanted: &[(Arc<str>, i32, Start)]) {
        if !self.shared.config.enable_auto_commit || self.shared.group_id("").is_err() {
            return;
        }
        let goes =
            |place: &TopicPartition| !wanted.iter().any(|one| *one.0 == *place.topic && one.1 == place.partition);
        let offsets = committer::committable_where(&self.shared, false, goes);
        if !offsets.is_empty() {
            let limit = self.shared.config.client.default_api_timeout;
            let _ = self.shared.commits.send(CommitOrder::new(offsets, limit, None));
        }
    }

    /// Gives up every partition, subscribed or assigned: leaves the group, after a last commit where offsets are committed
    /// by themselves. The consumer can subscribe or be assigned anew afterwards. Java's `unsubscribe`.
    ///
    /// Cancel safe: the membership goes on to end where this future is dropped, and a later call waits for that. Until
    /// then, to subscribe is an error.
    ///
    /// # Errors
    /// The last commit failed; the partitions are given up all the same. [`ConsumerError::Closed`].
    pub async fn unsubscribe(&mut self) -> Result<()> {
        self.put_back();
        let tasks = self.tasks.as_mut().ok_or(ConsumerError::Closed)?;
        self.shared.lock().in_hand = None;
        self.shared.member.notify_waiters();
        let mut result = Ok(());
        if let Some(member) = &mut tasks.member {
            tasks.is_leaving = true;
            let mut given_back = None;
            if !member.is_finished() {
                (result, given_back) = leave(&tasks.news, member, GroupMembershipOperation::Default).await;
            }
            let inbox = match given_back {
                Some(inbox) => Some(inbox),
                None => member.await.ok(),
            };
            (tasks.member, tasks.is_leaving) = (None, false);
            // What was for the member that is gone is not for the next one.
            tasks.inbox = inbox.map(|mut inbox| {
                while inbox.try_recv().is_ok() {}
                inbox
            });
        }
        let mut state = self.shared.lock();
        state.mode = Mode::Idle;
        state.shared_out = None;
        state.positions.assign(&[]);
        state.inbox.purge();
        drop(state);
        self.shared.steward.notify_one();
        self.shared.fetchers.notify_waiters();
        result
    }
}
