//! Throttles of replication (KIP-73): which partitions are held back, by how many bytes a second, and whether that many
//! have gone already.
//!
//! Leaders hold back what followers read that are not in sync, and followers that are not in sync do not ask; so who is in
//! sync stays it, whatever is moved beside.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use super::partition::Partition;
use crate::BrokerConfig;
use crate::locks::lock;
use crate::log::ThrottledReplicas;

/// How many bytes of throttled partitions went lately: those of `replication.quota.window.num` windows, as Kafka counts
/// them. A machine: the time is told to it.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Bytes a second.
    rate: AtomicI64,
    window_ms: i64,
    windows: usize,
    /// When each window began, and what came in it; the oldest first.
    counted: Mutex<VecDeque<(i64, i64)>>,
}

impl Throttle {
    fn new(rate: i64, windows: usize, window_ms: i64) -> Self {
        Self { rate: AtomicI64::new(rate), window_ms, windows, counted: Mutex::default() }
    }

    /// Takes note of bytes of throttled partitions.
    pub fn record(&self, bytes: usize, now_ms: i64) {
        if bytes == 0 {
            return;
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut counted = lock(&self.counted);
        match counted.back_mut() {
            Some((began_ms, sum)) if now_ms.saturating_sub(*began_ms) < self.window_ms => {
                *sum = sum.saturating_add(bytes);
            }
            _ => counted.push_back((now_ms, bytes)),
        }
        if counted.len() > self.windows {
            counted.pop_front();
        }
    }

    /// Whether more went than may.
    pub fn is_exceeded(&self, now_ms: i64) -> bool {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate == i64::MAX {
            return false;
        }
        let mut counted = lock(&self.counted);
        let whole_ms = self.window_ms.saturating_mul(i64::try_from(self.windows).unwrap_or(i64::MAX));
        while counted.front().is_some_and(|(began_ms, _)| now_ms.saturating_sub(*began_ms) >= whole_ms) {
            counted.pop_front();
        }
        let Some((oldest_ms, _)) = counted.front() else { return false };
        let elapsed_ms = now_ms.saturating_sub(*oldest_ms).max(self.window_ms);
        let sum: i128 = counted.iter().map(|(_, sum)| i128::from(*sum)).sum();
        sum * 1000 > i128::from(rate) * i128::from(elapsed_ms)
    }
}

/// The throttles of a broker: of what it gives to followers, and of what it takes as one.
#[derive(Debug)]
pub(crate) struct Throttles {
    pub leader: Arc<Throttle>,
    pub follower: Arc<Throttle>,
}

impl Throttles {
    /// As the settings say.
    pub fn of(config: &BrokerConfig) -> Self {
        let windows = usize::try_from(config.replication_quota_window_num).unwrap_or(1).max(1);
        let window_ms = i64::from(config.replication_quota_window_size_seconds).saturating_mul(1000).max(1);
        let throttle = |rate| Arc::new(Throttle::new(rate, windows, window_ms));
        Self {
            leader: throttle(config.leader_replication_throttled_rate),
            follower: throttle(config.follower_replication_throttled_rate),
        }
    }

    /// Puts the rates of these settings in force.
    pub fn apply(&self, config: &BrokerConfig) {
        self.leader.rate.store(config.leader_replication_throttled_rate, Ordering::Relaxed);
        self.follower.rate.store(config.follower_replication_throttled_rate, Ordering::Relaxed);
    }
}

const AS_LEADER: u8 = 1;
const AS_FOLLOWER: u8 = 2;

/// Whether this broker's replica is one of those that are held back.
#[derive(Debug, Default)]
pub(super) struct Throttled(AtomicU8);

impl Partition {
    /// Takes note of which replicas are held back: whether this broker's, `node`, is among them.
    pub fn note_throttled(&self, node: i32, as_leader: &ThrottledReplicas, as_follower: &ThrottledReplicas) {
        let flag = |replicas: &ThrottledReplicas, flag| if replicas.contains(self.index, node) { flag } else { 0 };
        let flags = flag(as_leader, AS_LEADER) | flag(as_follower, AS_FOLLOWER);
        self.throttled.0.store(flags, Ordering::Relaxed);
    }

    /// Whether followers are held back that read here.
    pub fn is_throttled_as_leader(&self) -> bool {
        self.throttled.0.load(Ordering::Relaxed) & AS_LEADER != 0
    }

    /// Whether this broker is held back where it follows.
    pub fn is_throttled_as_follower(&self) -> bool {
        self.throttled.0.load(Ordering::Relaxed) & AS_FOLLOWER != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_by_windows_and_are_forgotten_with_them() {
        let throttle = Throttle::new(1_000, 3, 1_000);
        assert!(!throttle.is_exceeded(0), "nothing has come");
        throttle.record(1_000, 0);
        assert!(!throttle.is_exceeded(500), "as many as may come in a window");
        throttle.record(1, 600);
        assert!(throttle.is_exceeded(900));
        assert!(!throttle.is_exceeded(1_002), "over a longer time it is less");
        throttle.record(2_500, 1_500);
        assert!(throttle.is_exceeded(2_000));
        assert!(throttle.is_exceeded(2_999));
        assert!(throttle.is_exceeded(3_400), "the first window is forgotten, the other is not");
        assert!(!throttle.is_exceeded(4_100));
        assert!(!throttle.is_exceeded(9_000));
        throttle.record(5_000, 9_000);
        assert!(throttle.is_exceeded(9_000));
        throttle.rate.store(i64::MAX, Ordering::Relaxed);
        assert!(!throttle.is_exceeded(9_000), "no limit");
    }

    #[test]
    fn with_no_bytes_allowed_the_first_ones_exceed() {
        let throttle = Throttle::new(0, 11, 1_000);
        assert!(!throttle.is_exceeded(0), "as in Kafka, something has to come first");
        throttle.record(1, 0);
        assert!(throttle.is_exceeded(10_000));
        assert!(!throttle.is_exceeded(11_000));
    }
}
