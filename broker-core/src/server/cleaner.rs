//! Runs the log cleaner: finds the logs that need it most, cleans them one after the other, and rests.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::BrokerState;
use crate::controller::{ConfigResource, topic_config};
use crate::disk_work;
use crate::log::cleaner::{CleanError, CleanStats};
use crate::log::{LogError, SleepingLog};
use crate::replication::{Partition, PartitionKey};

/// How long a log is left alone whose cleaning failed, unless it is damaged.
const RETRY_MS: i64 = 5 * 60 * 1000;

/// How long the cleaner waits at a time before it looks whether its settings have changed.
const REST: Duration = Duration::from_secs(1);

/// What the cleaner remembers from pass to pass.
#[derive(Debug, Default)]
struct Memory {
    /// The files of compacted logs that sleep.
    sleeping: HashMap<PartitionKey, SleepingLog>,
    /// Logs that could not be cleaned, and until when they are left alone.
    failed: HashMap<PartitionKey, i64>,
}

/// Runs until the broker stops.
pub(crate) async fn clean_logs(broker: Arc<BrokerState>, mut stop: watch::Receiver<bool>) {
    if !broker.config.log_cleaner_enable {
        return;
    }
    let mut memory = Memory::default();
    loop {
        let rests_since = broker.clock.now();
        // In short pieces, for the setting may be changed meanwhile.
        while let rested = broker.clock.now().saturating_duration_since(rests_since)
            && let Some(left) = broker.effective_config().log_cleaner_backoff.checked_sub(rested)
            && !left.is_zero()
        {
            if timeout(left.min(REST), stop.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
        if !has_compacted_topics(&broker) {
            continue;
        }
        let (broker, stop) = (Arc::clone(&broker), stop.clone());
        let storage = Arc::clone(&broker.dirs.storage);
        let done = disk_work::run(storage.as_ref(), move || {
            // What was cleaned in part, or has grown meanwhile, comes round again at once.
            while !*stop.borrow() && pass(&broker, &mut memory, &|| !*stop.borrow()) {}
            memory
        });
        memory = done.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the log cleaner failed and begins anew");
            Memory::default()
        });
    }
}

fn has_compacted_topics(broker: &BrokerState) -> bool {
    let image = broker.image();
    image.topics().any(|topic| topic_settings(broker, &topic.name).cleanup_policy.compact)
}

fn topic_settings(broker: &BrokerState, topic: &str) -> crate::log::LogConfig {
    let image = broker.image();
    topic_config::log_config(&broker.effective_config(), image.configs(ConfigResource::Topic, topic).map(|set| &**set))
}

/// Cleans the logs that need it, the dirtiest first. False where none did.
fn pass(broker: &BrokerState, memory: &mut Memory, go_on: &dyn Fn() -> bool) -> bool {
    let now_ms = broker.clock.now_ms();
    let mut due = find_due(broker, memory, now_ms);
    due.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let mut any = false;
    for (_, partition) in due {
        if !go_on() {
            return false;
        }
        let (topic, index) = (&*partition.topic, partition.index);
        let began = broker.clock.now();
        match clean(broker, &partition, now_ms, go_on) {
            Ok(Some(stats)) => {
                any = true;
                tracing::info!(
                    topic,
                    partition = index,
                    bytes_before = stats.bytes_before,
                    bytes_after = stats.bytes_after,
                    records_before = stats.records_before,
                    records_after = stats.records_after,
                    is_partial = stats.is_partial,
                    took_ms = u64::try_from((broker.clock.now() - began).as_millis()).unwrap_or(u64::MAX),
                    "a log was cleaned"
                );
            }
            Ok(None) | Err(CleanError::Stopped) => {}
            Err(CleanError::Log(error)) => {
                tracing::error!(topic, partition = index, %error, "a log cannot be cleaned");
                let is_damaged = matches!(error, LogError::Corrupt { .. });
                let until_ms = if is_damaged { i64::MAX } else { now_ms.saturating_add(RETRY_MS) };
                memory.failed.insert((partition.topic_id, index), until_ms);
            }
        }
    }
    any
}

/// The partitions to clean, with how dirty they are. Those that sleep are woken only if they seem to be dirty enough.
fn find_due(broker: &BrokerState, memory: &mut Memory, now_ms: i64) -> Vec<(f64, Arc<Partition>)> {
    let image = broker.image();
    let mut found = Vec::new();
    let mut asleep = HashSet::new();
    memory.failed.retain(|_, until_ms| *until_ms > now_ms);
    for topic in image.topics() {
        let config = topic_settings(broker, &topic.name);
        if !config.cleanup_policy.compact {
            continue;
        }
        for index in (0..).take(topic.partitions.len()) {
            let key = (topic.id, index);
            if memory.failed.contains_key(&key) || !broker.dirs.has(&topic.name, index) {
                continue;
            }
            let cleaned_to = broker.dirs.cleaned_to(&topic.name, index);
            if broker.is_asleep(topic, index) {
                asleep.insert(key);
                let is_due = match memory.sleeping.get(&key) {
                    Some(log) => log.is_cleaning_due(&config, cleaned_to),
                    None => {
                        let (dir, ..) = broker.dirs.place(&topic.name, index);
                        let Ok(log) = SleepingLog::look(broker.dirs.storage.as_ref(), &dir) else { continue };
                        let is_due = log.is_cleaning_due(&config, cleaned_to);
                        memory.sleeping.insert(key, log);
                        is_due
                    }
                };
                if !is_due {
                    continue;
                }
            }
            let Some(partition) = broker.partition_of(topic, index) else { continue };
            let cleanable = partition.with_log(now_ms, |log| log.cleanable(cleaned_to, now_ms));
            if let Ok(Ok(cleanable)) = cleanable
                && cleanable.is_due(config.min_cleanable_dirty_ratio)
            {
                found.push((cleanable.dirty_ratio(), partition));
            }
        }
    }
    memory.sleeping.retain(|key, _| asleep.contains(key));
    found
}

/// Cleans one log; `None` where there was nothing to do, or it changed too much under the cleaner's hands.
fn clean(
    broker: &BrokerState,
    partition: &Partition,
    now_ms: i64,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<CleanStats>, CleanError> {
    let (topic, index) = (&*partition.topic, partition.index);
    let config = broker.effective_config();
    let keys_bytes_max = u64::try_from(config.log_cleaner_dedupe_buffer_size).unwrap_or(0);
    let cleaned_to = broker.dirs.cleaned_to(topic, index);
    let round = partition.with_log(now_ms, |log| {
        let cleanable = log.cleanable(cleaned_to, now_ms)?;
        log.begin_cleaning(&cleanable, keys_bytes_max, now_ms)
    });
    // The partition was deleted, or cannot be opened.
    let Ok(round) = round else { return Ok(None) };
    let Some(mut round) = round? else { return Ok(None) };
    let truncations = round.truncations();
    // A disk that failed is told of by what the round does there.
    let is_wanted = || match partition.with_log(now_ms, |log| log.is_cleanable_since(truncations)) {
        Ok(is_cleanable) => is_cleanable,
        Err(error) => error != ErrorCode::NotLeaderOrFollower,
    };
    let mut throttle = Throttle::new(broker);
    let mut pace = |bytes| {
        throttle.moved(broker, bytes, go_on);
        go_on() && is_wanted()
    };
    // A truncation cuts the very files that the round reads, and a deletion removes them; what then looks like damage is
    // none.
    let judge = |error| if is_wanted() { error } else { CleanError::Stopped };
    round.read_keys(&mut pace).map_err(judge)?;
    while let Some(group) = round.next_group(&mut pace).map_err(judge)? {
        let mut group = Some(group);
        let swapped = partition.with_log_mut(now_ms, |log| group.take().map(|group| log.swap_cleaned(group)));
        if let Some(group) = group {
            group.discard();
        }
        // The partition is closed, or its segments are not those any more.
        let Ok(Some(swapped)) = swapped else { return Ok(None) };
        if !swapped? {
            return Ok(None);
        }
    }
    if cleaned_to == Some(round.cleaned_to()) {
        return Ok(None);
    }
    // While partitions stay as they are, for the offset must not become that of another topic with this name.
    let _no_changes = broker.change_partitions();
    if !is_wanted() {
        return Ok(None);
    }
    broker.dirs.set_cleaned_to(topic, index, round.cleaned_to())?;
    Ok(Some(round.stats()))
}

/// Holds the cleaner to `log.cleaner.io.max.bytes.per.second`.
struct Throttle {
    since: Instant,
}

impl Throttle {
    fn new(broker: &BrokerState) -> Self {
        Self { since: broker.clock.now() }
    }

    /// Waits as long as the moving of so many bytes should have taken, unless the cleaner is to stop.
    fn moved(&mut self, broker: &BrokerState, bytes: u64, go_on: &dyn Fn() -> bool) {
        let mut waited = broker.clock.now().saturating_duration_since(self.since);
        while let left =
            time_for(bytes, broker.effective_config().log_cleaner_io_max_bytes_per_second).saturating_sub(waited)
            && !left.is_zero()
            && go_on()
        {
            // So short that the broker's stop is not held up for long.
            let piece = left.min(Duration::from_millis(100));
            sleep(piece);
            waited += piece;
        }
        self.since = broker.clock.now();
    }
}

/// How long it takes to move so many bytes, at most that fast.
fn time_for(bytes: u64, bytes_per_second_max: f64) -> Duration {
    if bytes_per_second_max == f64::MAX {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(bytes as f64 / bytes_per_second_max).unwrap_or(Duration::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the cleaner has a thread of its own, which may sleep")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests;
