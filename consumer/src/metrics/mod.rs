//! What a consumer measures of itself. Nothing here is told anything per record: of what the application is given, one
//! fetched chunk at a time; of the rest, one request.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rkafka_client_core::metrics::{Gauge, Metrics, MetricsSnapshot, Sensor, Spec};
use rkafka_protocol::messages::{ConsumerGroupHeartbeatResponse, JoinGroupResponse, SyncGroupResponse};
use rkafka_protocol::{ApiKey, ErrorCode};

use crate::shared::Shared;

mod consumed;
mod listener;
mod specs;

pub(crate) use consumed::{Consumed, Sum, Tallies, Tally};
pub(crate) use listener::TimedListener;
pub use specs::all as all_specs;

/// Milliseconds, as Kafka's latencies are told.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// When things last happened.
#[derive(Debug, Default)]
struct Moments {
    poll: Option<Instant>,
    heartbeat: Option<Instant>,
    rebalance: Option<Instant>,
    /// The rebalance under way began then.
    rebalance_began: Option<Instant>,
}

/// What is measured of one partition.
#[derive(Debug)]
struct PartitionMetrics {
    lag: Sensor,
    lead: Sensor,
    _gauges: [Gauge; 3],
}

/// What a consumer measures of itself.
#[derive(Debug)]
pub(crate) struct ConsumerMetrics {
    registry: Metrics,
    pub(crate) fetch_latency: Sensor,
    pub(crate) fetch_throttle: Sensor,
    consumed: Arc<Consumed>,
    topics: Mutex<HashMap<Arc<str>, Arc<Consumed>>>,
    lag: Sensor,
    lead: Sensor,
    partitions: Mutex<HashMap<(Arc<str>, i32), PartitionMetrics>>,
    commit: Sensor,
    heartbeat: Sensor,
    join: Sensor,
    sync: Sensor,
    rebalance: Sensor,
    failed_rebalance: Sensor,
    pub(crate) assigned: Sensor,
    pub(crate) revoked: Sensor,
    pub(crate) lost: Sensor,
    time_between_poll: Sensor,
    poll_idle: Sensor,
    pub(crate) commit_sync: Sensor,
    pub(crate) committed: Sensor,
    moments: Arc<Mutex<Moments>>,
    gauges: Mutex<Vec<Gauge>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ConsumerMetrics {
    /// Measures into `registry`, where the client measures its connections.
    pub(crate) fn new(registry: Metrics) -> Self {
        let sensor = |specs| registry.sensor(specs, &[]);
        Self {
            fetch_latency: sensor(specs::FETCH_LATENCY),
            fetch_throttle: sensor(specs::FETCH_THROTTLE),
            consumed: Arc::new(Consumed::new(sensor(specs::FETCHED_BYTES), sensor(specs::FETCHED_RECORDS))),
            topics: Mutex::default(),
            lag: sensor(specs::LAG),
            lead: sensor(specs::LEAD),
            partitions: Mutex::default(),
            commit: sensor(specs::COMMIT),
            heartbeat: sensor(specs::HEARTBEAT),
            join: sensor(specs::JOIN),
            sync: sensor(specs::SYNC),
            rebalance: sensor(specs::REBALANCE),
            failed_rebalance: sensor(specs::FAILED_REBALANCE),
            assigned: sensor(specs::ASSIGNED),
            revoked: sensor(specs::REVOKED),
            lost: sensor(specs::LOST),
            time_between_poll: sensor(specs::TIME_BETWEEN_POLL),
            poll_idle: sensor(specs::POLL_IDLE),
            commit_sync: sensor(specs::COMMIT_SYNC),
            committed: sensor(specs::COMMITTED),
            moments: Arc::default(),
            gauges: Mutex::default(),
            registry,
        }
    }

    /// Registers what is read when somebody looks.
    pub(crate) fn watch(&self, shared: &Arc<Shared>) {
        let weak = Arc::downgrade(shared);
        let assigned = self.registry.gauge(&specs::ASSIGNED_PARTITIONS, &[], move |_| {
            weak.upgrade().map_or(0.0, |shared| shared.lock().positions.assignment().len() as f64)
        });
        let ago = |spec: &'static Spec, of: fn(&Moments) -> Option<Instant>| {
            let moments = Arc::clone(&self.moments);
            self.registry.gauge(spec, &[], move |now| {
                of(&lock(&moments)).map_or(-1.0, |then| now.saturating_duration_since(then).as_secs() as f64)
            })
        };
        *lock(&self.gauges) = vec![
            assigned,
            ago(&specs::LAST_HEARTBEAT, |moments| moments.heartbeat),
            ago(&specs::LAST_REBALANCE, |moments| moments.rebalance),
            ago(&specs::LAST_POLL, |moments| moments.poll),
        ];
    }

    /// Everything that is measured, as it is at `now`.
    pub(crate) fn snapshot(&self, shared: &Arc<Shared>, now: Instant) -> MetricsSnapshot {
        let assignment = shared.lock().positions.assignment();
        self.forget_all_but(&assignment);
        for (topic, partition) in assignment {
            self.with_partition(shared, &topic, partition, |_| {});
        }
        self.registry.snapshot(now)
    }

    /// Drops what is measured of topics and partitions that are not read any more.
    fn forget_all_but(&self, assignment: &[(Arc<str>, i32)]) {
        let kept: HashSet<&(Arc<str>, i32)> = assignment.iter().collect();
        lock(&self.partitions).retain(|place, _| kept.contains(place));
        let topics: HashSet<&str> = assignment.iter().map(|(topic, _)| &**topic).collect();
        lock(&self.topics).retain(|topic, _| topics.contains(&**topic));
    }

    /// Where what is consumed of the chunks of one response is added up.
    pub(crate) fn tallies(&self) -> Tallies<'_> {
        Tallies::new(self, Arc::clone(&self.consumed))
    }

    fn topic(&self, topic: &Arc<str>) -> Arc<Consumed> {
        let mut topics = lock(&self.topics);
        let of_topic = topics.entry(Arc::clone(topic)).or_insert_with(|| {
            let tags = [("topic", &**topic)];
            let bytes = self.registry.sensor(specs::TOPIC_BYTES, &tags);
            Arc::new(Consumed::new(bytes, self.registry.sensor(specs::TOPIC_RECORDS, &tags)))
        });
        Arc::clone(of_topic)
    }

    fn with_partition(
        &self,
        shared: &Arc<Shared>,
        topic: &Arc<str>,
        partition: i32,
        see: impl FnOnce(&PartitionMetrics),
    ) {
        let mut partitions = lock(&self.partitions);
        let of_partition = partitions.entry((Arc::clone(topic), partition)).or_insert_with(|| {
            let number = partition.to_string();
            let tags = [("topic", &**topic), ("partition", number.as_str())];
            let gauge = |spec, read: fn(&crate::machine::positions::Positions, &str, i32) -> f64| {
                let (weak, topic) = (Arc::downgrade(shared), Arc::clone(topic));
                self.registry.gauge(spec, &tags, move |_| {
                    weak.upgrade().map_or(f64::NAN, |shared| read(&shared.lock().positions, &topic, partition))
                })
            };
            PartitionMetrics {
                lag: self.registry.sensor(specs::PARTITION_LAG, &tags),
                lead: self.registry.sensor(specs::PARTITION_LEAD, &tags),
                _gauges: [
                    gauge(&specs::RECORDS_LAG, |positions, topic, partition| {
                        positions.lag(topic, partition).map_or(f64::NAN, |lag| lag as f64)
                    }),
                    gauge(&specs::RECORDS_LEAD, |positions, topic, partition| {
                        positions.lead(topic, partition).map_or(f64::NAN, |lead| lead as f64)
                    }),
                    gauge(&specs::PREFERRED_READ_REPLICA, |positions, topic, partition| {
                        positions.preferred_replica(topic, partition).map_or(-1.0, f64::from)
                    }),
                ],
            }
        });
        see(of_partition);
    }

    /// The application has been given all of a chunk.
    pub(crate) fn chunk_done(&self, shared: &Arc<Shared>, topic: &Arc<str>, partition: i32, now: Instant) {
        let (lag, lead) = {
            let state = shared.lock();
            (state.positions.lag(topic, partition), state.positions.lead(topic, partition))
        };
        self.with_partition(shared, topic, partition, |of_partition| {
            for (value, sensors) in [(lag, [&self.lag, &of_partition.lag]), (lead, [&self.lead, &of_partition.lead])] {
                let Some(value) = value else { continue };
                sensors.iter().for_each(|sensor| sensor.record(now, value as f64));
            }
        });
    }

    /// The application comes for what another fetch brought: the time since it last did.
    pub(crate) fn poll_began(&self, now: Instant) -> Option<Duration> {
        let last = lock(&self.moments).poll.replace(now);
        let between = last.map(|last| now.saturating_duration_since(last));
        // The first time there is nothing before it; Java tells 0 then.
        self.time_between_poll.record(now, millis(between.unwrap_or_default()));
        between
    }

    /// The application is given something, after so long a wait, which began so long after the one before.
    pub(crate) fn poll_ended(&self, now: Instant, waited: Duration, between: Option<Duration>) {
        let (waited, between) = (waited.as_secs_f64(), between.unwrap_or_default().as_secs_f64());
        let whole = waited + between;
        self.poll_idle.record(now, if whole > 0.0 { waited / whole } else { 0.0 });
    }

    /// A request to the coordinator goes out.
    pub(crate) fn coordinator_asked(&self, key: ApiKey, now: Instant) {
        match key {
            ApiKey::Heartbeat | ApiKey::ConsumerGroupHeartbeat => lock(&self.moments).heartbeat = Some(now),
            ApiKey::JoinGroup => self.rebalance_began(now),
            _ => {}
        }
    }

    /// A request to the coordinator was answered after `took`, or failed.
    pub(crate) fn coordinator_answered(&self, key: ApiKey, answer: Option<&dyn Any>, took: Duration, now: Instant) {
        let took = millis(took);
        match key {
            ApiKey::OffsetCommit if answer.is_some() => self.commit.record(now, took),
            ApiKey::Heartbeat if answer.is_some() => self.heartbeat.record(now, took),
            ApiKey::ConsumerGroupHeartbeat => {
                let Some(answer) = answer else { return };
                self.heartbeat.record(now, took);
                let answer: Option<&ConsumerGroupHeartbeatResponse> = answer.downcast_ref();
                if answer.is_some_and(|answer| answer.assignment.is_some()) {
                    self.rebalance_began(now);
                }
            }
            ApiKey::JoinGroup => {
                let code =
                    answer.and_then(|answer| answer.downcast_ref()).map(|join: &JoinGroupResponse| join.error_code);
                match code {
                    Some(0) => self.join.record(now, took),
                    // The first half of joining, and no failure.
                    Some(code) if code == ErrorCode::MemberIdRequired.code() => {}
                    _ => self.rebalance_failed(now),
                }
            }
            ApiKey::SyncGroup => {
                let code =
                    answer.and_then(|answer| answer.downcast_ref()).map(|sync: &SyncGroupResponse| sync.error_code);
                if code == Some(0) {
                    self.sync.record(now, took);
                    self.rebalance_ended(now);
                } else {
                    self.rebalance_failed(now);
                }
            }
            _ => {}
        }
    }

    /// A rebalance begins, unless one is under way.
    pub(crate) fn rebalance_began(&self, now: Instant) {
        lock(&self.moments).rebalance_began.get_or_insert(now);
    }

    /// The rebalance under way has come to its end.
    pub(crate) fn rebalance_ended(&self, now: Instant) {
        let mut moments = lock(&self.moments);
        if let Some(began) = moments.rebalance_began.take() {
            moments.rebalance = Some(now);
            drop(moments);
            self.rebalance.record(now, millis(now.saturating_duration_since(began)));
        }
    }

    /// An attempt to rebalance has failed; another follows.
    pub(crate) fn rebalance_failed(&self, now: Instant) {
        self.failed_rebalance.record(now, 1.0);
    }
}
