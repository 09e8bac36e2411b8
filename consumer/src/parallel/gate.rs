//! Between the hooks of a rebalance and the run that works on records.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::handle::ConsumerHandle;
use crate::listener::{HookFuture, RebalanceListener};
use crate::subscription::TopicPartition;

/// Partitions that go.
#[derive(Debug)]
pub(super) struct Revocation {
    pub(super) places: Vec<TopicPartition>,
    /// Others may read them already: there is nothing to wait for.
    pub(super) lost: bool,
    /// Told, or dropped, when nothing of them is worked on any more.
    pub(super) done: oneshot::Sender<()>,
}

/// Where the hooks find the run, if there is one.
#[derive(Debug, Default)]
pub(super) struct Gate {
    run: Mutex<Option<mpsc::UnboundedSender<Revocation>>>,
}

/// Shuts the gate with the run.
#[derive(Debug)]
pub(super) struct Open<'a>(&'a Gate);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl Gate {
    fn set(&self, run: Option<mpsc::UnboundedSender<Revocation>>) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = run;
    }

    pub(super) fn open(&self) -> (mpsc::UnboundedReceiver<Revocation>, Open<'_>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.set(Some(sender));
        (receiver, Open(self))
    }

    /// Waits until nothing of these partitions is worked on.
    async fn revoke(&self, places: &[TopicPartition], lost: bool) {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(run) = run {
            let (done, told) = oneshot::channel();
            if run.send(Revocation { places: places.to_vec(), lost, done }).is_ok() {
                // A run that ends meanwhile has broken off what it worked on.
                let _ = told.await;
            }
        }
    }
}

/// Has what is worked on come to its end before the application's hooks are called.
pub(super) struct GateListener {
    gate: Arc<Gate>,
    inner: Option<Box<dyn RebalanceListener>>,
}

impl GateListener {
    pub(super) fn new(gate: &Arc<Gate>, inner: Option<Box<dyn RebalanceListener>>) -> Self {
        Self { gate: Arc::clone(gate), inner }
    }
}

impl RebalanceListener for GateListener {
    fn on_assigned<'a>(&'a self, consumer: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        match &self.inner {
            Some(inner) => inner.on_assigned(consumer, partitions),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn on_revoked<'a>(&'a self, consumer: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async move {
            self.gate.revoke(partitions, false).await;
            if let Some(inner) = &self.inner {
                inner.on_revoked(consumer, partitions).await;
            }
        })
    }

    fn on_lost<'a>(&'a self, consumer: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async move {
            self.gate.revoke(partitions, true).await;
            if let Some(inner) = &self.inner {
                inner.on_lost(consumer, partitions).await;
            }
        })
    }
}
