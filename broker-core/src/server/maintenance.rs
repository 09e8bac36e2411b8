//! What has to be done from time to time: old segments go, closed segments are synced, checkpoints are written.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::BrokerState;
use crate::config::FlushPolicy;
use crate::controller::{ConfigResource, topic_config};
use crate::disk_work;
use crate::log::SleepingLog;
use crate::replication::{Partition, PartitionKey};

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
    let watermark_interval = config.replica_high_watermark_checkpoint_interval;
    let mut watermark_due = started + watermark_interval;
    let wait = FLUSH_CHECK
        .min(watermark_interval)
        .min(config.log_flush_scheduler_interval)
        .min(config.log_retention_check_interval)
        .min(checkpoint_interval);
    let mut checkpoint_due = started + checkpoint_interval;
    let mut sleeping = Sleeping::new();
    loop {
        if timeout(wait, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
        let now = broker.clock.now();
        let retention = now >= retention_due;
        let mut checkpoint = now >= checkpoint_due;
        if now >= watermark_due {
            watermark_due = now + watermark_interval;
            let has_watermark = |partition: &Arc<Partition>| partition.watermark_to_keep().is_some();
            checkpoint |= broker.known_partitions().iter().any(has_watermark);
        }
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
        let mut known = std::mem::take(&mut sleeping);
        let storage = Arc::clone(&broker.dirs.storage);
        let done = disk_work::run(storage.as_ref(), move || {
            for partition in flush {
                if let Err(error) = partition.flush() {
                    tracing::error!(topic = %partition.topic, partition = partition.index, %error, "cannot sync");
                }
            }
            if retention {
                apply_retention(&broker, &mut known);
            }
            if checkpoint && let Err(error) = broker.write_checkpoints() {
                tracing::error!(%error, "the checkpoints cannot be written");
            }
            known
        });
        match done.await {
            Ok(known) => sleeping = known,
            Err(error) => tracing::error!(%error, "the maintenance of the logs failed"),
        }
    }
}

/// What is known of a log that sleeps: its files, and where it begins.
type Sleeping = HashMap<PartitionKey, (SleepingLog, i64)>;

fn apply_retention(broker: &BrokerState, sleeping: &mut Sleeping) {
    let now_ms = broker.clock.now_ms();
    let image = broker.image();
    let mut asleep = HashSet::new();
    for topic in image.topics() {
        let set = image.configs(ConfigResource::Topic, &topic.name);
        let config = topic_config::log_config(&broker.effective_config(), set.map(|set| &**set));
        for index in (0..).take(topic.partitions.len()) {
            if !broker.dirs.has(&topic.name, index) {
                continue;
            }
            // A partition that lies on the disk may be old, though nobody has asked for it since the start. It is looked
            // at once, and woken when something is due.
            let key = (topic.id, index);
            if broker.is_asleep(topic, index) {
                asleep.insert(key);
                let (log, start) = match sleeping.entry(key) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => {
                        let (dir, _, state) = broker.dirs.place(&topic.name, index);
                        match SleepingLog::look(broker.dirs.storage.as_ref(), &dir) {
                            Ok(log) => place.insert((log, state.log_start_offset)),
                            Err(error) => {
                                tracing::warn!(dir = %dir.display(), %error, "a log cannot be looked at");
                                continue;
                            }
                        }
                    }
                };
                if log.retention_due_ms(&config, *start, now_ms) > now_ms {
                    continue;
                }
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
    sleeping.retain(|key, _| asleep.contains(key));
}
