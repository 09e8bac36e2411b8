//! Sensors, gauges and snapshots over virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::{ClientConfig, clock};

const SPECS: &[Spec] = &[
    Spec::of_client("thing-rate", "metrics", Stat::Rate, "Things per second").tags(&["topic"]),
    Spec::of_client("thing-total", "metrics", Stat::Total, "Things so far").tags(&["topic"]),
    Spec::of_client("thing-count-rate", "metrics", Stat::CountRate, "Numbers per second").tags(&["topic"]),
    Spec::of_client("thing-count", "metrics", Stat::Count, "Numbers so far").tags(&["topic"]),
    Spec::of_client("thing-avg", "metrics", Stat::Avg, "The average").tags(&["topic"]),
    Spec::of_client("thing-max", "metrics", Stat::Max, "The largest").tags(&["topic"]),
    Spec::of_client("thing-min", "metrics", Stat::Min, "The smallest").tags(&["topic"]),
    Spec::of_client("thing-last", "metrics", Stat::Value, "The last").tags(&["topic"]),
    Spec::of_client("thing-ratio", "metrics", Stat::NanosRatio, "A share").tags(&["topic"]),
    Spec::of_client("thing-p99", "metrics", Stat::Permille(990), "99 %").tags(&["topic"]).own().debug(),
];
const LEVEL: Spec = Spec::new("level", "other-metrics", Stat::Value, "How high \\ it\nstands");

fn config() -> ClientConfig {
    ClientConfig::new().bootstrap_servers("localhost:9092").client_id("c \"1\"")
}

fn start() -> Instant {
    clock::now().into_std()
}

#[test]
fn each_statistic_is_what_it_says() {
    let (start, metrics) = (start(), Metrics::new(&config(), ClientKind::Producer));
    let sensor = metrics.sensor(SPECS, &[("topic", "t")]);
    let empty = metrics.snapshot(start);
    let value = |snapshot: &MetricsSnapshot, name| snapshot.value(name, "producer-metrics").unwrap();
    for name in ["thing-avg", "thing-max", "thing-min", "thing-last"] {
        assert!(value(&empty, name).is_nan(), "{name}");
    }
    assert_eq!(value(&empty, "thing-rate"), 0.0);
    sensor.record(start, 30.0);
    sensor.record_many(start + Duration::from_secs(10), 60.0, 3, 25.0);
    let now = start + Duration::from_secs(30);
    let snapshot = metrics.snapshot(now);
    // 30 seconds and no sample before: as long as two samples of 30 seconds are, the second of which has just begun.
    assert_eq!(value(&snapshot, "thing-rate"), 3.0);
    assert_eq!(value(&snapshot, "thing-count-rate"), 4.0 / 30.0);
    assert_eq!(value(&snapshot, "thing-total"), 90.0);
    assert_eq!(value(&snapshot, "thing-count"), 4.0);
    assert_eq!(value(&snapshot, "thing-avg"), 22.5);
    assert_eq!(value(&snapshot, "thing-max"), 30.0);
    assert_eq!(value(&snapshot, "thing-min"), 25.0);
    assert_eq!(value(&snapshot, "thing-last"), 25.0);
    assert_eq!(value(&snapshot, "thing-ratio"), 90.0 / 1e9 / 30.0);
    assert_eq!(snapshot.value("thing-p99", "producer-metrics"), None, "not measured on INFO");
    let later = metrics.snapshot(now + Duration::from_secs(60));
    assert!(value(&later, "thing-avg").is_nan() && value(&later, "thing-total") == 90.0);
}

// Shows: metrics.sample.window.ms, metrics.num.samples, metrics.recording.level.
#[test]
fn the_settings_of_the_window_hold() {
    let config = config()
        .metrics_sample_window(Duration::from_secs(1))
        .metrics_num_samples(5_u32)
        .metrics_recording_level(RecordingLevel::Debug);
    let (start, metrics) = (start(), Metrics::new(&config, ClientKind::Consumer));
    let sensor = metrics.sensor(SPECS, &[("topic", "t")]);
    sensor.record(start, 8.0);
    let at = |millis| metrics.snapshot(start + Duration::from_millis(millis));
    assert_eq!(at(500).value("thing-rate", "consumer-metrics"), Some(8.0 / 4.5));
    assert_eq!(at(4_999).value("thing-max", "consumer-metrics"), Some(8.0));
    assert_eq!(at(500).value("thing-p99", "consumer-metrics"), Some(8.5), "the upper end of the step from 8");
    assert!(at(5_000).value("thing-max", "consumer-metrics").unwrap().is_nan());
}

#[test]
fn metrics_are_there_as_long_as_they_are_held_and_sorted() {
    let (now, metrics) = (start(), Metrics::new(&config(), ClientKind::Admin));
    let height = Arc::new(AtomicU64::new(3));
    let read = height.clone();
    let gauge = metrics.gauge(&LEVEL, &[], move |_| read.load(Ordering::Relaxed) as f64);
    let sensors = ["b", "a"].map(|topic| metrics.sensor(&SPECS[..2], &[("topic", topic)]));
    let names = |snapshot: &MetricsSnapshot| {
        snapshot
            .iter()
            .map(|metric| format!("{}/{}", metric.name(), metric.tag("topic").unwrap_or("-")))
            .collect::<Vec<_>>()
    };
    let snapshot = metrics.snapshot(now);
    assert_eq!(names(&snapshot), ["thing-rate/a", "thing-rate/b", "thing-total/a", "thing-total/b", "level/-"]);
    assert_eq!(snapshot.value("level", "other-metrics"), Some(3.0));
    let tags = snapshot[0].tags().collect::<Vec<_>>();
    assert_eq!((snapshot[0].group(), tags), ("admin-client-metrics", vec![("client-id", "c \"1\""), ("topic", "a")]));
    let [b, a] = sensors;
    drop(b);
    a.record(now, 2.0);
    height.store(4, Ordering::Relaxed);
    let snapshot = metrics.snapshot(now);
    assert_eq!(names(&snapshot), ["thing-rate/a", "thing-total/a", "level/-"]);
    assert_eq!(snapshot.value_of("thing-total", "admin-client-metrics", "topic", "a"), Some(2.0));
    assert_eq!(snapshot.value_of("thing-total", "admin-client-metrics", "topic", "b"), None);
    drop((gauge, a));
    assert!(metrics.snapshot(now).is_empty());
    for _ in 0..1000 {
        metrics.sensor(SPECS, &[]).record(now, 1.0);
    }
    assert!(metrics.snapshot(now).is_empty(), "and those that are gone leave nothing behind");
}

#[test]
fn prometheus_text() {
    let (now, metrics) = (start(), Metrics::new(&config(), ClientKind::Producer));
    let sensor = metrics.sensor(&SPECS[1..5], &[("topic", "back\\slash")]);
    let _level = metrics.gauge(&LEVEL, &[], |_| f64::INFINITY);
    sensor.record(now, 1.5);
    let text = metrics.snapshot(now).filtered(|metric| metric.name() != "thing-count-rate").prometheus_text();
    let labels = "{client_id=\"c \\\"1\\\"\",topic=\"back\\\\slash\"}";
    let expected = format!(
        "# HELP kafka_producer_other_metrics_level How high \\\\ it\\nstands\n\
         # TYPE kafka_producer_other_metrics_level gauge\n\
         kafka_producer_other_metrics_level{{client_id=\"c \\\"1\\\"\"}} +Inf\n\
         # HELP kafka_producer_producer_metrics_thing_avg The average\n\
         # TYPE kafka_producer_producer_metrics_thing_avg gauge\n\
         kafka_producer_producer_metrics_thing_avg{labels} 1.5\n\
         # HELP kafka_producer_producer_metrics_thing_count Numbers so far\n\
         # TYPE kafka_producer_producer_metrics_thing_count gauge\n\
         kafka_producer_producer_metrics_thing_count{labels} 1\n\
         # HELP kafka_producer_producer_metrics_thing_total Things so far\n\
         # TYPE kafka_producer_producer_metrics_thing_total counter\n\
         kafka_producer_producer_metrics_thing_total{labels} 1.5\n"
    );
    assert_eq!(text, expected);
}

/// `java_statistics.txt` is what Kafka 4.3.1's own statistics said to random numbers at random times
/// (tests/interop/programs/MetricsOracle.java): `W window samples`, `R at number`, `M at rate count-rate avg max min sum
/// count`, times in milliseconds.
#[test]
fn the_statistics_are_javas() {
    let start = start();
    let (mut sensor, mut looks) = (None, 0);
    for (number, line) in include_str!("java_statistics.txt").lines().enumerate() {
        let fields = line.split(' ').skip(1).map(|field| field.parse::<f64>().unwrap()).collect::<Vec<_>>();
        let at = start + Duration::from_millis(fields[0] as u64);
        match (line.as_bytes()[0], &sensor) {
            (b'W', _) => {
                let config = config()
                    .metrics_sample_window(Duration::from_millis(fields[0] as u64))
                    .metrics_num_samples(fields[1] as u32);
                let metrics = Metrics::new(&config, ClientKind::Producer);
                let watched = metrics.sensor(SPECS, &[]);
                sensor = Some((metrics, watched));
            }
            (b'R', Some((_, sensor))) => sensor.record(at, fields[1]),
            (b'M', Some((metrics, _))) => {
                let snapshot = metrics.snapshot(at);
                let names = ["rate", "count-rate", "avg", "max", "min", "total", "count"];
                for (name, java) in names.into_iter().zip(&fields[1..]) {
                    let ours = snapshot.value(&format!("thing-{name}"), "producer-metrics").unwrap();
                    let same = (ours.is_nan() && java.is_nan()) || (ours - java).abs() <= java.abs() * 1e-9;
                    assert!(same, "line {}: {name} is {ours} here and {java} there", number + 1);
                }
                looks += 1;
            }
            _ => panic!("line {}: {line}", number + 1),
        }
    }
    assert!(looks > 200, "{looks}");
}
