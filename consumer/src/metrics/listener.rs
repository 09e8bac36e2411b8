//! A listener whose hooks are timed.

use std::sync::Arc;

use rkafka_client_core::metrics::Sensor;

use super::millis;
use crate::clock;
use crate::handle::ConsumerHandle;
use crate::listener::{HookFuture, RebalanceListener};
use crate::shared::Shared;
use crate::subscription::TopicPartition;

/// A listener whose hooks are timed.
pub(crate) struct TimedListener {
    pub(crate) listener: Arc<dyn RebalanceListener>,
    pub(crate) shared: Arc<Shared>,
}

fn timed<'a>(sensor: &'a Sensor, hook: HookFuture<'a>) -> HookFuture<'a> {
    Box::pin(async move {
        let began = clock::now();
        hook.await;
        let now = clock::now();
        sensor.record(now, millis(now.saturating_duration_since(began)));
    })
}

impl RebalanceListener for TimedListener {
    fn on_assigned<'a>(&'a self, consumer: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        timed(&self.shared.metrics.assigned, self.listener.on_assigned(consumer, partitions))
    }

    fn on_revoked<'a>(&'a self, consumer: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        timed(&self.shared.metrics.revoked, self.listener.on_revoked(consumer, partitions))
    }

    fn on_lost<'a>(&'a self, consumer: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        timed(&self.shared.metrics.lost, self.listener.on_lost(consumer, partitions))
    }
}
