//! The tasks of a consumer, and how they end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock;
use crate::driver::committer::{Collected, CommitOrder, committable};
use crate::driver::member::MemberNews;
use crate::error::{ConsumerError, Result};
use crate::handle::ConsumerHandle;
use crate::shared::Shared;
use crate::subscription::GroupMembershipOperation;

/// How long a close waits for the group, as in Java.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of that is kept for the leaving, once the last commit has failed for as long as it could.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What runs beside a consumer.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(crate) steward: JoinHandle<()>,
    pub(crate) committer: JoinHandle<()>,
    pub(crate) news: mpsc::UnboundedSender<MemberNews>,
    /// Waits here for the member, which begins with the first subscription.
    pub(crate) inbox: Option<mpsc::UnboundedReceiver<MemberNews>>,
    /// The member, once there is one. It gives its inbox back at its end.
    pub(crate) member: Option<JoinHandle<mpsc::UnboundedReceiver<MemberNews>>>,
    /// The member was asked to leave, and nobody has seen it gone.
    pub(crate) is_leaving: bool,
    /// Where they run.
    pub(crate) runtime: tokio::runtime::Handle,
}

/// Leaves the group and ends the tasks.
pub(crate) async fn shut_down(shared: Arc<Shared>, tasks: Tasks, operation: GroupMembershipOperation) -> Result<()> {
    let Tasks { steward, committer, news, member, .. } = tasks;
    let end_of_member = member.as_ref().map(JoinHandle::abort_handle);
    {
        let mut state = shared.lock();
        state.in_hand = None;
        state.commit_by = clock::now().checked_add(CLOSE_TIMEOUT - LEAVE_TIMEOUT);
    }
    shared.member.notify_waiters();
    let farewell = async {
        settle_commits(&shared).await;
        if let Some(mut member) = member {
            leave(&news, &mut member, operation).await.0
        } else if shared.config.enable_auto_commit && shared.group_id("").is_ok() {
            let returned = !shared.lock().dropped;
            let (reply, answer) = oneshot::channel();
            let order = CommitOrder::new(committable(&shared, returned), CLOSE_TIMEOUT, Some(reply));
            match shared.commits.send(order) {
                Ok(()) => answer.await.unwrap_or(Err(ConsumerError::Closed)),
                Err(_) => Err(ConsumerError::Closed),
            }
        } else {
            Ok(())
        }
    };
    let result = tokio::time::timeout(CLOSE_TIMEOUT, farewell).await.unwrap_or_else(|_| {
        Err(ConsumerError::Client {
            doing: "leaving the group",
            source: rkafka_client_core::Error::new(
                rkafka_client_core::ErrorKind::Timeout,
                format!(
                    "it is not done after {CLOSE_TIMEOUT:?}, for a hook or the coordinator takes longer; the group will \
                     see by session.timeout.ms"
                ),
            ),
        })
    });
    steward.abort();
    committer.abort();
    if let Some(member) = end_of_member {
        // It has left, or waits for what does not come, such as a hook's end.
        member.abort();
    }
    ConsumerHandle::of(&shared).mark_closed();
    shared.client.close();
    if let Err(error) = &result {
        // Whoever dropped the consumer, or the closing, hears of it only here.
        tracing::warn!(%error, "the consumer was closed, and not all was done that belongs to it");
    }
    result
}

/// Ends the membership: gives what became of its last commit, and the inbox where that came first. The member's handle
/// may be awaited again where it did not.
pub(crate) async fn leave(
    news: &mpsc::UnboundedSender<MemberNews>,
    member: &mut JoinHandle<mpsc::UnboundedReceiver<MemberNews>>,
    operation: GroupMembershipOperation,
) -> (Result<()>, Option<mpsc::UnboundedReceiver<MemberNews>>) {
    let (done, left) = oneshot::channel();
    let _ = news.send(MemberNews::Close(operation, done));
    tokio::select! {
        biased;
        told = left => (told.unwrap_or(Err(ConsumerError::Closed)), None),
        inbox = member => match inbox {
            // It had ended before, by a failure that the application was told of.
            Ok(inbox) => (Ok(()), Some(inbox)),
            // It broke off, or its runtime is gone.
            Err(_) => (Err(ConsumerError::Closed), None),
        },
    }
}

/// Waits for the commits that were asked for and not awaited (`commit_async`), as Java's `close` does, for half of its
/// time at most.
async fn settle_commits(shared: &Shared) {
    let (reply, answered) = oneshot::channel();
    let order = CommitOrder::new(Collected::nothing(shared), Duration::ZERO, Some(reply));
    if shared.commits.send(order).is_ok() {
        let _ = tokio::time::timeout(CLOSE_TIMEOUT / 2, answered).await;
    }
}
