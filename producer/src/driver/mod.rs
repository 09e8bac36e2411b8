//! What waits and moves bytes: a task per broker, one that follows the cluster, and one that fetches producer ids.

mod coordinator;
mod identity;
mod manager;
mod produce;
mod sender;

use std::future::Future;
use std::sync::Arc;

use crate::partition::Mailbox;
use crate::shared::Shared;

/// Starts the tasks of a producer.
pub(crate) fn start(shared: &Arc<Shared>) {
    // Not within the task: a runtime that ends may drop it before it ever ran.
    let stop = manager::StopOnDrop(shared.clone());
    spawn(shared, manager::run(shared.clone(), stop));
    if let Some(coordination) = &shared.coordination {
        spawn(shared, coordinator::run(shared.clone(), coordination.clone()));
    } else if shared.limits.idempotent {
        spawn(shared, identity::run(shared.clone()));
    }
}

/// Starts the sender of a broker that was not known before.
pub(crate) fn start_sender(shared: &Arc<Shared>, mailbox: Arc<Mailbox>) {
    spawn(shared, sender::run(shared.clone(), mailbox));
}

/// Runs a task on the producer's runtime, which need not be the caller's.
pub(crate) fn spawn(shared: &Shared, task: impl Future<Output = ()> + Send + 'static) {
    shared.runtime.spawn(task);
}
