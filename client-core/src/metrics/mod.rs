//! What a client measures of itself, under Kafka's own names.
//!
//! * A [`Spec`] declares one metric: its name, its group, its description and the statistic that it is. It is a constant,
//!   and the page `docs/metrics.md` is made of them.
//! * A [`Sensor`] is told numbers by whoever has the time in hand, and gives the values of one or more metrics, over
//!   Kafka's windows (`metrics.sample.window.ms`, `metrics.num.samples`). It takes a lock of its own, so it is told once
//!   per request or per batch, never per record.
//! * A [`Gauge`] is a value that is read when somebody looks: a level, or a counter that is kept elsewhere.
//! * [`Metrics`] is where sensors and gauges are registered, and [`Metrics::snapshot`] is what they say. Their metrics
//!   are there as long as the sensor or gauge is held.
//!
//! ```
//! use std::time::Instant;
//! use rkafka_client_core::ClientConfig;
//! use rkafka_client_core::metrics::{ClientKind, Metrics, Spec, Stat};
//!
//! const SPECS: &[Spec] = &[
//!     Spec::new("commit-rate", "consumer-coordinator-metrics", Stat::CountRate, "The number of commits per second"),
//!     Spec::new("commit-latency-avg", "consumer-coordinator-metrics", Stat::Avg, "The average time of a commit"),
//! ];
//!
//! # fn clock() -> Instant { tokio::time::Instant::now().into_std() }
//! let metrics = Metrics::new(&ClientConfig::new(), ClientKind::Consumer);
//! let commits = metrics.sensor(SPECS, &[]);
//! commits.record(clock(), 12.5);
//! let snapshot = metrics.snapshot(clock());
//! assert_eq!(snapshot.value("commit-latency-avg", "consumer-coordinator-metrics"), Some(12.5));
//! ```

mod connections;
mod histogram;
mod prometheus;
mod registry;
mod snapshot;
mod spec;
mod window;

pub(crate) use connections::{ConnectionMetrics, LinkMeter};
pub use registry::{Gauge, Metrics, Sensor};
pub use snapshot::{Metric, MetricsSnapshot};
pub use spec::{ClientKind, RecordingLevel, Spec, Stat};

/// The metrics that every client has, whatever its kind: of its connections.
pub fn client_specs() -> impl Iterator<Item = &'static Spec> {
    connections::specs()
}

#[cfg(test)]
mod tests;
