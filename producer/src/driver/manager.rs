//! Follows the cluster: hands partitions to the senders of their leaders, looks after those without one, and ends the
//! producer when its last handle is gone.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::machine::accumulator::Resolutions;
use crate::machine::outbox::Outbox;
use crate::shared::Shared;

use super::start_sender;

/// The runtime that ends takes the tasks along: nobody else would tell the deliveries that are left.
pub(super) struct StopOnDrop(pub(super) Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if !self.0.is_stopped() {
            self.0.stop();
        }
    }
}

pub(super) async fn run(shared: Arc<Shared>, _stop: StopOnDrop) {
    let mut changes = shared.client.cluster_changes();
    let mut outbox = Outbox::new(shared.orphanage.broker);
    let mut resolved = Resolutions::new();
    let mut closer = None;
    let mut is_new = true;
    while !shared.is_stopped() {
        if std::mem::take(&mut is_new) {
            changes.mark_unchanged();
            shared.apply_cluster(|mailbox| start_sender(&shared, mailbox));
        }
        shared.orphanage.drain().into_iter().for_each(|listing| outbox.accept(listing));
        let now = clock::now();
        let trouble = "the partition has no leader".into();
        outbox.expire(now, Some(&trouble), &mut resolved);
        shared.resolve(&mut resolved);
        if !shared.is_open() && closer.is_none() {
            let shared = shared.clone();
            closer = Some(Box::pin(async move {
                shared.flush().await;
                // The coordinator would have to wait for `transaction.timeout.ms` otherwise.
                let _ = tokio::time::timeout(shared.config.max_block, shared.settled()).await;
            }));
        }
        if let Some(partition) = outbox.first() {
            shared.client.invalidate(&partition.topic, partition.index);
        }
        // Orphans wait for the next metadata, and for their end.
        let pause = (!outbox.is_idle()).then_some(Duration::from_millis(100));
        tokio::select! {
            changed = changes.changed() => if changed.is_ok() {
                is_new = true;
            } else {
                // The client is gone, and with it every way to send.
                shared.stop();
            },
            () = shared.orphanage.woken() => {}
            () = clock::sleep_if(pause) => {}
            () = finished(&mut closer) => {
                shared.stop();
            }
        }
    }
    shared.resolve(&mut resolved);
}

/// Completes when the records that were taken before the end are resolved; never, while there is no end.
async fn finished<F: Future<Output = ()> + Unpin>(closer: &mut Option<F>) {
    match closer {
        Some(closer) => closer.await,
        None => std::future::pending().await,
    }
}
