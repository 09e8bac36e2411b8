//! What has to be done from time to time: old segments go, closed segments are synced, checkpoints are written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::BrokerState;
use crate::config::FlushPolicy;

/// How often logs are looked for that should be synced, at least.
const FLUSH_CHECK: Duration = Duration::from_secs(1);
/// How often the checkpoints are written with group commit, which moves the recovery points all the time: the less of a
/// log lies behind them, the sooner is it there after a bad stop.
const GROUP_CHECKPOINT: Duration = Duration::from_secs(5);

/// Runs until the broker stops.
pub(crate) async fn maintain(broker: Arc<BrokerState>, mut stop: watch::Receiver<bool>) {
    let started = broker.clock.now();
    let mut retention_due = started + broker.config.log_retention_check_interval;
    let config = &broker.config;
    let mut checkpoint_interval = config.log_flush_offset_checkpoint_interval;
    if config.log_flush_policy == FlushPolicy::Group {
        checkpoint_interval = checkpoint_interval.min(GROUP_CHECKPOINT);
    }
    let wait = FLUSH_CHECK
        .min(config.log_flush_scheduler_interval)
        .min(config.log_retention_check_interval)
        .min(checkpoint_interval);
    let mut checkpoint_due = started + checkpoint_interval;
    loop {
        if timeout(wait, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
        let now = broker.clock.now();
        let retention = now >= retention_due;
        let checkpoint = now >= checkpoint_due;
        if retention {
            retention_due = now + broker.config.log_retention_check_interval;
        }
        if checkpoint {
            checkpoint_due = now + checkpoint_interval;
        }
        if let Some(reason) = broker.controller.offline_reason()
            && let Some(dir) = broker.dirs.dirs().first()
        {
            dir.log_dir.fail(&reason);
        }
        let now_ms = broker.clock.now_ms();
        let flush = broker.known_partitions().into_iter().filter(|partition| partition.take_flush_due(now_ms));
        let flush: Vec<_> = flush.collect();
        if flush.is_empty() && !retention && !checkpoint {
            continue;
        }
        let broker = Arc::clone(&broker);
        let done = spawn_blocking(move || {
            for partition in flush {
                if let Err(error) = partition.flush() {
                    tracing::error!(topic = %partition.topic, partition = partition.index, %error, "cannot sync");
                }
            }
            if retention {
                apply_retention(&broker);
            }
            if checkpoint && let Err(error) = broker.write_checkpoints() {
                tracing::error!(%error, "the checkpoints cannot be written");
            }
        });
        if let Err(error) = done.await {
            tracing::error!(%error, "the maintenance of the logs failed");
        }
    }
}

fn apply_retention(broker: &BrokerState) {
    let now_ms = broker.clock.now_ms();
    let image = broker.image();
    // The broker's own topics are kept whole: they are for compaction, not for deletion.
    for topic in image.topics().filter(|topic| !topic.is_internal()) {
        for index in (0..).take(topic.partitions.len()) {
            // A partition that lies on the disk may be old, though nobody has asked for it since the start.
            if !broker.dirs.has(&topic.name, index) {
                continue;
            }
            let Some(partition) = broker.partition_of(topic, index) else { continue };
            let removed = partition.with_log_mut(now_ms, |log| {
                log.remove_expired_producers(now_ms);
                let end = log.high_watermark();
                log.apply_retention(now_ms, end)
            });
            match removed {
                Ok(Ok(segments)) if segments > 0 => {
                    tracing::info!(topic = %topic.name, partition = index, segments, "old segments removed");
                }
                Ok(Err(error)) => tracing::error!(topic = %topic.name, partition = index, %error, "cannot remove"),
                _ => {}
            }
        }
    }
}
