//! What waits and moves bytes: a task per broker, one that follows the cluster, and one that fetches producer ids.

mod identity;
mod manager;
mod produce;
mod sender;

use std::future::Future;
use std::sync::Arc;

use crate::partition::Mailbox;
use crate::shared::Shared;

/// Starts the tasks of a producer, on the runtime of the caller.
pub(crate) fn start(shared: &Arc<Shared>) {
    spawn(manager::run(shared.clone()));
    if shared.limits.idempotent {
        spawn(identity::run(shared.clone()));
    }
}

/// Starts the sender of a broker that was not known before.
pub(crate) fn start_sender(shared: &Arc<Shared>, mailbox: Arc<Mailbox>) {
    spawn(sender::run(shared.clone(), mailbox));
}

#[expect(clippy::disallowed_methods, reason = "what was accepted is sent beside the application")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
