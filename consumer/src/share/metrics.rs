//! What a share consumer measures of itself, under the names of Kafka's own. Nothing here is told anything per record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rkafka_client_core::metrics::{Gauge, Metrics, MetricsSnapshot, Sensor, Spec, Stat};

use crate::metrics::{Consumed, Sum, millis};

/// The group of what is measured of fetching.
const FETCH: &str = "consumer-share-fetch-manager-metrics";
/// The group of what is measured of the membership.
const COORDINATOR: &str = "consumer-share-coordinator-metrics";
/// The group of what is measured of the application's calls.
const CONSUMER: &str = "consumer-share-metrics";

/// Of an answer to a fetch, in milliseconds.
const FETCH_LATENCY: &[Spec] = &[
    Spec::new("fetch-latency-avg", FETCH, Stat::Avg, "How long an answer to a fetch took on average, in ms"),
    Spec::new("fetch-latency-max", FETCH, Stat::Max, "How long an answer to a fetch took at most, in ms"),
    Spec::new("fetch-rate", FETCH, Stat::CountRate, "Fetches per second"),
    Spec::new("fetch-total", FETCH, Stat::Count, "All fetches"),
];
/// Of an answer to a fetch, in milliseconds.
const FETCH_THROTTLE: &[Spec] = &[
    Spec::new("fetch-throttle-time-avg", FETCH, Stat::Avg, "How long a quota held a fetch back on average, in ms"),
    Spec::new("fetch-throttle-time-max", FETCH, Stat::Max, "How long a quota held a fetch back at most, in ms"),
];
/// Of an answer to a fetch, once the application is done with all of it: bytes of batches, not compressed.
const FETCHED_BYTES: &[Spec] = &[
    Spec::new("bytes-consumed-rate", FETCH, Stat::Rate, "Bytes of batches given to the application per second"),
    Spec::new("bytes-consumed-total", FETCH, Stat::Total, "All bytes of batches given to the application"),
    Spec::new("fetch-size-avg", FETCH, Stat::Avg, "Bytes of batches that one fetch brought on average"),
    Spec::new("fetch-size-max", FETCH, Stat::Max, "Bytes of batches that one fetch brought at most"),
];
/// Of an answer to a fetch, once the application is done with all of it: records of this member.
const FETCHED_RECORDS: &[Spec] = &[
    Spec::new("records-consumed-rate", FETCH, Stat::Rate, "Records given to the application per second"),
    Spec::new("records-consumed-total", FETCH, Stat::Total, "All records given to the application"),
    Spec::new("records-per-request-avg", FETCH, Stat::Avg, "Records that one fetch brought on average"),
    Spec::new("records-per-request-max", FETCH, Stat::Max, "Records that one fetch brought at most"),
];
/// Of what was said of records, once it is known what became of it.
const ACKNOWLEDGED: &[Spec] = &[
    Spec::new("acknowledgements-send-rate", FETCH, Stat::Rate, "Records acknowledged per second, whatever came of it"),
    Spec::new("acknowledgements-send-total", FETCH, Stat::Total, "All records acknowledged, whatever came of it"),
];
/// As [`ACKNOWLEDGED`], of what failed.
const FAILED: &[Spec] = &[
    Spec::new(
        "acknowledgements-error-rate",
        FETCH,
        Stat::Rate,
        "Records per second whose acknowledgement was refused or came too late",
    ),
    Spec::new(
        "acknowledgements-error-total",
        FETCH,
        Stat::Total,
        "All records whose acknowledgement was refused or came too late",
    ),
];
/// Of an answer to a heartbeat, in milliseconds.
const HEARTBEAT: &[Spec] = &[
    Spec::new("heartbeat-rate", COORDINATOR, Stat::CountRate, "Heartbeats per second"),
    Spec::new("heartbeat-total", COORDINATOR, Stat::Count, "All heartbeats"),
    Spec::new(
        "heartbeat-response-time-max",
        COORDINATOR,
        Stat::Max,
        "How long an answer to a heartbeat took at most, in ms",
    ),
];
/// Of an assignment that the group gave.
const REBALANCE: &[Spec] = &[
    Spec::new("rebalance-total", COORDINATOR, Stat::Count, "All assignments that the group gave this member"),
    Spec::new(
        "rebalance-rate-per-hour",
        COORDINATOR,
        Stat::CountRatePerHour,
        "Assignments that the group gave this member, per hour",
    ),
];
/// Whenever the application comes for what another fetch brought, in milliseconds.
const TIME_BETWEEN_POLL: &[Spec] = &[
    Spec::new(
        "time-between-poll-avg",
        CONSUMER,
        Stat::Avg,
        "How long it takes on average until the application comes for what the next fetch brought, in ms",
    ),
    Spec::new(
        "time-between-poll-max",
        CONSUMER,
        Stat::Max,
        "How long it takes at most until the application comes for what the next fetch brought, in ms",
    ),
];
/// Whenever the application is given what another fetch brought: the share of the time that it waited.
const POLL_IDLE: &[Spec] = &[Spec::new(
    "poll-idle-ratio-avg",
    CONSUMER,
    Stat::Avg,
    "The share of the time that the application waits for records",
)];
/// Read when somebody looks.
const LAST_HEARTBEAT: Spec = Spec::new(
    "last-heartbeat-seconds-ago",
    COORDINATOR,
    Stat::Value,
    "Seconds since the last heartbeat was sent, or -1",
);
/// Read when somebody looks.
const LAST_POLL: Spec = Spec::new(
    "last-poll-seconds-ago",
    CONSUMER,
    Stat::Value,
    "Seconds since the application last came for what another fetch brought, or -1",
);

/// All that a [`ShareConsumer`](crate::ShareConsumer) measures, beside its connections.
pub fn all_specs() -> Vec<&'static Spec> {
    let many = [
        FETCH_LATENCY,
        FETCH_THROTTLE,
        FETCHED_BYTES,
        FETCHED_RECORDS,
        ACKNOWLEDGED,
        FAILED,
        HEARTBEAT,
        REBALANCE,
        TIME_BETWEEN_POLL,
        POLL_IDLE,
    ];
    many.into_iter().flatten().chain([&LAST_HEARTBEAT, &LAST_POLL]).collect()
}

/// When things last happened.
#[derive(Debug, Default)]
struct Moments {
    heartbeat: Option<Instant>,
    poll: Option<Instant>,
}

/// What a share consumer measures of itself.
#[derive(Debug)]
pub(crate) struct ShareMetrics {
    registry: Metrics,
    fetch_latency: Sensor,
    fetch_throttle: Sensor,
    consumed: Arc<Consumed>,
    acknowledged: Sensor,
    failed: Sensor,
    heartbeat: Sensor,
    rebalance: Sensor,
    time_between_poll: Sensor,
    poll_idle: Sensor,
    moments: Arc<Mutex<Moments>>,
    _gauges: [Gauge; 2],
}

fn lock(moments: &Mutex<Moments>) -> MutexGuard<'_, Moments> {
    moments.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ShareMetrics {
    /// Measures into `registry`, where the client measures its connections.
    pub(crate) fn new(registry: Metrics) -> Self {
        let sensor = |specs| registry.sensor(specs, &[]);
        let moments: Arc<Mutex<Moments>> = Arc::default();
        let ago = |spec: &'static Spec, of: fn(&Moments) -> Option<Instant>| {
            let moments = Arc::clone(&moments);
            registry.gauge(spec, &[], move |now| {
                of(&lock(&moments)).map_or(-1.0, |then| now.saturating_duration_since(then).as_secs() as f64)
            })
        };
        Self {
            fetch_latency: sensor(FETCH_LATENCY),
            fetch_throttle: sensor(FETCH_THROTTLE),
            consumed: Arc::new(Consumed::new(sensor(FETCHED_BYTES), sensor(FETCHED_RECORDS))),
            acknowledged: sensor(ACKNOWLEDGED),
            failed: sensor(FAILED),
            heartbeat: sensor(HEARTBEAT),
            rebalance: sensor(REBALANCE),
            time_between_poll: sensor(TIME_BETWEEN_POLL),
            poll_idle: sensor(POLL_IDLE),
            _gauges: [ago(&LAST_HEARTBEAT, |moments| moments.heartbeat), ago(&LAST_POLL, |moments| moments.poll)],
            moments,
            registry,
        }
    }

    /// Everything that is measured, as it is at `now`.
    pub(crate) fn snapshot(&self, now: Instant) -> MetricsSnapshot {
        self.registry.snapshot(now)
    }

    /// Where what is given of one answer is added up.
    pub(crate) fn sum(&self) -> Arc<Sum> {
        Arc::new(Sum::new(Arc::clone(&self.consumed)))
    }

    /// A fetch was answered.
    pub(crate) fn fetched(&self, now: Instant, took: Duration, throttle_ms: i32) {
        self.fetch_latency.record(now, millis(took));
        self.fetch_throttle.record(now, f64::from(throttle_ms));
    }

    /// It is known what became of acknowledgements.
    pub(crate) fn acknowledged(&self, now: Instant, records: i64, has_failed: bool) {
        self.acknowledged.record(now, records as f64);
        if has_failed {
            self.failed.record(now, records as f64);
        }
    }

    /// A heartbeat goes out.
    pub(crate) fn heartbeat_sent(&self, now: Instant) {
        lock(&self.moments).heartbeat = Some(now);
    }

    /// A heartbeat was answered.
    pub(crate) fn heartbeat_answered(&self, now: Instant, took: Duration) {
        self.heartbeat.record(now, millis(took));
    }

    /// The group gave an assignment.
    pub(crate) fn assigned(&self, now: Instant) {
        self.rebalance.record(now, 1.0);
    }

    /// The application comes for what another fetch brought: the time since it last did.
    pub(crate) fn poll_began(&self, now: Instant) -> Option<Duration> {
        let last = lock(&self.moments).poll.replace(now);
        let between = last.map(|last| now.saturating_duration_since(last));
        self.time_between_poll.record(now, millis(between.unwrap_or_default()));
        between
    }

    /// The application is given something, after so long a wait, which began so long after the one before.
    pub(crate) fn poll_ended(&self, now: Instant, waited: Duration, between: Option<Duration>) {
        let (waited, between) = (waited.as_secs_f64(), between.unwrap_or_default().as_secs_f64());
        let whole = waited + between;
        self.poll_idle.record(now, if whole > 0.0 { waited / whole } else { 0.0 });
    }
}
