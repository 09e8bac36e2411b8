//! What a rebalance does to partitions: begin with some, give some up, and call the application's hooks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock;
use crate::driver::committer::{Collected, CommitOrder, committable_where};
use crate::error::ConsumerError;
use crate::handle::ConsumerHandle;
use crate::listener::RebalanceListener;
use crate::shared::Shared;
use crate::subscription::{Start, TopicPartition};

/// Begins with these partitions, beside those that are held. Nothing of them is handed out before the hook is done.
pub(crate) async fn install(
    shared: &Arc<Shared>,
    listener: Option<Arc<dyn RebalanceListener>>,
    added: Vec<TopicPartition>,
    is_leader: bool,
) {
    {
        let mut state = shared.lock();
        for place in &added {
            state.positions.add(&place.topic, place.partition, Start::Committed);
            state.positions.set_held(&place.topic, place.partition, true);
        }
        if !is_leader {
            state.shared_out = None;
        }
    }
    shared.steward.notify_one();
    // By the classic protocol it has ended with the answer to SyncGroup; by KIP-848 it does here.
    shared.metrics.rebalance_ended(clock::now());
    let added = Arc::new(added);
    if let Some(listener) = listener {
        let (handle, places) = (ConsumerHandle::of(shared), Arc::clone(&added));
        hook(shared, "on_assigned", async move { listener.on_assigned(&handle, &places).await }).await;
    }
    let mut state = shared.lock();
    for place in &*added {
        state.positions.set_held(&place.topic, place.partition, false);
        state.inbox.resume(&place.topic, place.partition);
    }
    state.wake();
    drop(state);
    shared.fetchers.notify_waiters();
}

/// Gives these partitions up; the others flow on. What was ordered to be committed is committed first, and what the
/// application has dealt with too, where offsets are committed by themselves.
pub(crate) async fn revoke(
    shared: &Arc<Shared>,
    listener: Option<Arc<dyn RebalanceListener>>,
    partitions: Vec<TopicPartition>,
    lost: bool,
) -> Result<(), ConsumerError> {
    {
        let mut state = shared.lock();
        for place in &partitions {
            state.positions.set_held(&place.topic, place.partition, true);
        }
        state.awaited = true;
        state.wake();
    }
    let lost = lost || !application_is_back(shared, &partitions).await;
    let partitions = Arc::new(partitions);
    if let Some(listener) = listener.filter(|_| !partitions.is_empty()) {
        let (handle, places) = (ConsumerHandle::of(shared), Arc::clone(&partitions));
        hook(shared, if lost { "on_lost" } else { "on_revoked" }, async move {
            if lost {
                listener.on_lost(&handle, &places).await;
            } else {
                listener.on_revoked(&handle, &places).await;
            }
        })
        .await;
    }
    let mut committed = Ok(());
    if !lost {
        let offsets = if shared.config.enable_auto_commit {
            let returned = !shared.lock().dropped;
            committable_where(shared, returned, |place| partitions.contains(place))
        } else {
            // Only what was ordered before is waited for.
            Collected::nothing(shared)
        };
        let not_committed = offsets.listed();
        let (reply, answer) = oneshot::channel();
        let order = CommitOrder::new(offsets, commit_limit(shared), Some(reply));
        committed = match shared.commits.send(order) {
            Ok(()) => answer.await.unwrap_or(Err(ConsumerError::Closed)),
            Err(_) => Err(ConsumerError::Closed),
        };
        if let Err(error) = &committed {
            tracing::warn!(%error, not_committed, "partitions are given up, and who has them next begins before this");
        }
    }
    let mut state = shared.lock();
    for place in &*partitions {
        state.positions.remove(&place.topic, place.partition);
    }
    state.inbox.purge();
    state.awaited = false;
    state.wake();
    drop(state);
    shared.steward.notify_one();
    // What was purged may have been all that kept the fetchers from fetching.
    shared.fetchers.notify_waiters();
    committed
}

/// For how long what is given up is tried to be committed. Java tries for as long as a rebalance may take; here other
/// commits wait behind this one, and theirs is `default.api.timeout.ms`.
fn commit_limit(shared: &Shared) -> Duration {
    shared.config.max_poll_interval.min(shared.config.client.default_api_timeout)
}

/// Waits until the application holds nothing of these partitions; `false` where the membership is lost before.
async fn application_is_back(shared: &Shared, partitions: &[TopicPartition]) -> bool {
    loop {
        let mut woken = std::pin::pin!(shared.member.notified());
        woken.as_mut().enable();
        {
            let state = shared.lock();
            if state.identity.is_none() {
                return false;
            }
            if state.in_hand.as_ref().is_none_or(|place| !partitions.contains(place)) {
                return true;
            }
        }
        woken.await;
    }
}

/// Ends a hook that nobody waits for any more.
struct Hook(tokio::task::JoinHandle<()>);

impl Drop for Hook {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a hook in a task of its own, so that a panic in it stays there. It ends with this. One that outlasts the time
/// that the group waits for is told of: nothing else would say why partitions are lost, or none come.
async fn hook(shared: &Shared, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
    let mut hook = Hook(clock::spawn(run));
    let limit = shared.config.max_poll_interval;
    let ended = tokio::select! {
        biased;
        ended = &mut hook.0 => ended,
        () = clock::sleep_for(Some(limit)) => {
            tracing::warn!(
                hook = name,
                ?limit,
                "a rebalance hook has outlasted max.poll.interval.ms: the group goes on without this member, which waits \
                 for the hook"
            );
            (&mut hook.0).await
        }
    };
    if let Err(error) = ended {
        tracing::error!(%error, hook = name, "a rebalance hook broke off");
    }
}
