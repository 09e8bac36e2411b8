//! The page of metrics, made of their declarations, and what Java's clients have in the same places.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rkafka::client::metrics::{ClientKind, RecordingLevel, Spec, Stat, client_specs};
use rkafka::consumer::{metric_specs as consumer_specs, share_metric_specs};
use rkafka::producer::producer_specs;

use super::java_consumer_metrics::{CONSUMER, SHARE_CONSUMER, missing as missing_of_consumer};
use super::java_metrics::{MISSING, PRODUCER};

const HEAD: &str = "# Metrics

Generated from the declarations; do not edit. `Producer::metrics()`, `ConsumerHandle::metrics()`,
`ShareConsumerHandle::metrics()` and `Client::metrics()` give them, sorted by group, name and tags; `MetricsSnapshot::prometheus_text()` writes them as Prometheus reads them, under the names that the JMX exporter
gives to Kafka's own clients.

Names, groups and tags are Kafka's. Every metric has the tag `client-id`. What is windowed looks back over
`metrics.num.samples` samples of `metrics.sample.window.ms` each. Names marked **own** are rkafka's, and Kafka's clients have
none like them. Those marked *DEBUG* are there with `metrics.recording.level=DEBUG`.

Where a value is not quite Java's:

- `record-size-avg` and `record-size-max` are of the bytes that records take in their batches. Java takes an upper bound of
  them, the overhead of a batch included, and averages over batches what the largest record of each takes.
- `record-queue-time-*` tells of the first attempt of a batch. Java tells of each, with the time of those before.
- `request-rate`, `request-size-*` and `outgoing-byte-*` are told when an answer comes, and when a connection ends.
- `incoming-byte-*` counts whole answers.
- `record-error-*` also counts records that a closing producer or an aborted transaction gives up.
- A consumer's `bytes-consumed-*` and `fetch-size-*` are of records that are not compressed, and are told once the application
  has been given all that one fetch brought. What a consumer measures of the application's calls is measured once per fetched
  chunk, not per call; `records-lag` and `records-lead` are read when somebody looks.
- A share consumer's `bytes-consumed-*` and `fetch-size-*` are of whole batches, though some of their records may be another
  member's; `acknowledgements-*` are told when it is known what became of them.

## A record's way, stage by stage

| stage | begins | ends | metric |
|---|---|---|---|
| linger | a batch's first record is accepted | the batch is full or flushed, or `linger.ms` is over | `batch-linger-time-*` |
| turn | then | the batch is taken into a request | `batch-turn-time-*` |
| encode | then | the request's batches are compressed, the request is encoded | `request-encode-time-*` |
| outbuf | then | the system's socket has taken the last byte | `request-outbuf-time-*` |
| round trip | then | the answer is here | `request-round-trip-time-*` |

Java's `record-queue-time-*` is linger and turn together, `request-latency-*` outbuf and round trip, and
`batch-delivery-time-*` all of it, retries included. Kafka's protocol does not say how long a broker took, so that the
network and the broker are one stage: what a broker says of itself (`LocalTimeMs` and its kin) must be read there.
librdkafka's `int_latency` is linger and turn, its `outbuf_latency` is outbuf, its `rtt` is the round trip.
";

fn kind(stat: Stat) -> String {
    match stat {
        Stat::Total => "total".to_owned(),
        Stat::Count => "count".to_owned(),
        Stat::Rate | Stat::CountRate => "rate, windowed".to_owned(),
        Stat::CountRatePerHour => "rate per hour, windowed".to_owned(),
        Stat::NanosRatio => "share, windowed".to_owned(),
        Stat::Avg => "average, windowed".to_owned(),
        Stat::Max => "maximum, windowed".to_owned(),
        Stat::Min => "minimum, windowed".to_owned(),
        Stat::Permille(permille) => format!("{} %, windowed", f64::from(permille) / 10.0),
        _ => "value".to_owned(),
    }
}

fn table(title: &str, intro: &str, specs: &[&Spec]) -> String {
    let mut out = format!("\n## {title}\n\n{intro}| name | tags | kind | meaning |\n|---|---|---|---|\n");
    for spec in specs {
        let tags = spec.tag_names().iter().map(|tag| format!("`{tag}`")).collect::<Vec<_>>().join(", ");
        let mut marks = String::new();
        if spec.is_own() {
            marks += " **own**";
        }
        if spec.level() != RecordingLevel::Info {
            marks += " *DEBUG*";
        }
        let (name, stat, meaning) = (spec.name(), kind(spec.stat()), spec.description());
        writeln!(out, "| `{name}`{marks} | {tags} | {stat} | {} |", super::cell(meaning)).expect("a String takes all");
    }
    out
}

/// The page.
pub fn text() -> String {
    let mut out = HEAD.to_owned();
    let of_clients = client_specs().collect::<Vec<_>>();
    for (group, what) in [("metrics", "all connections"), ("node-metrics", "the connections to one broker")] {
        let admin = format!("admin-client-{group}");
        let specs = of_clients.iter().copied().filter(|spec| spec.group(ClientKind::Admin) == admin);
        let intro = format!("Of {what}. `{{client}}` is `producer`, `consumer` or `admin-client`.\n\n");
        out += &table(&format!("`{{client}}-{group}`"), &intro, &specs.collect::<Vec<_>>());
    }
    let of_producers = producer_specs().collect::<Vec<_>>();
    for group in ["producer-metrics", "producer-topic-metrics"] {
        let specs = of_producers.iter().copied().filter(|spec| spec.group(ClientKind::Producer) == group);
        out += &table(&format!("`{group}`"), "", &specs.collect::<Vec<_>>());
    }
    out += "\n## What Java's producer has, and this one does not\n\n| name | reason |\n|---|---|\n";
    for (name, reason) in MISSING {
        writeln!(out, "| `{name}` | {reason} |").expect("a String takes all");
    }
    let of_consumers = consumer_specs();
    for group in ["consumer-fetch-manager-metrics", "consumer-coordinator-metrics", "consumer-metrics"] {
        let specs = of_consumers.iter().copied().filter(|spec| spec.group(ClientKind::Consumer) == group);
        out += &table(&format!("`{group}`"), "", &specs.collect::<Vec<_>>());
    }
    out += "\n## What Java's consumer has, and this one does not\n\n| name | reason |\n|---|---|\n";
    for (name, reason) in missing_of_consumer() {
        writeln!(out, "| `{name}` | {reason} |").expect("a String takes all");
    }
    let of_shares = share_metric_specs();
    for group in SHARE_GROUPS {
        let specs = of_shares.iter().copied().filter(|spec| spec.group(ClientKind::Consumer) == *group);
        out += &table(&format!("`{group}`"), "Of a share consumer.\n\n", &specs.collect::<Vec<_>>());
    }
    out
}

/// The groups of a share consumer, beside those of its connections.
const SHARE_GROUPS: &[&str] =
    &["consumer-share-fetch-manager-metrics", "consumer-share-coordinator-metrics", "consumer-share-metrics"];

/// Each of Java's metrics is here, in its group, or is missing for a reason; and what is not Java's says so.
fn compare(kind: ClientKind, ours: Vec<&Spec>, javas: &[(&str, &str)], missing: &[(&str, &str)]) {
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    for spec in &ours {
        let group = spec.group(kind).into_owned();
        assert!(seen.insert((group.clone(), spec.name(), spec.tag_names())), "{} is declared twice", spec.name());
        names.insert((group, spec.name()));
    }
    let is_here = |group: &str, name: &str| names.iter().any(|(ours, our_name)| ours == group && *our_name == name);
    for (group, name) in javas {
        let has_reason = missing.iter().any(|(missing, _)| missing == name);
        assert!(is_here(group, name) != has_reason, "{group} {name}: either here or missing for a reason");
    }
    for (missing, _) in missing {
        assert!(javas.iter().any(|(_, name)| name == missing), "Java has no {missing}");
    }
    for spec in ours {
        let group = spec.group(kind);
        assert_eq!(javas.contains(&(&*group, spec.name())), !spec.is_own(), "{group} {}", spec.name());
    }
}

#[test]
fn the_metrics_of_javas_producer_are_here_or_missing_for_a_reason() {
    compare(ClientKind::Producer, client_specs().chain(producer_specs()).collect(), PRODUCER, MISSING);
}

#[test]
fn the_metrics_of_javas_share_consumer_are_here() {
    compare(ClientKind::Consumer, share_metric_specs(), SHARE_CONSUMER, &[]);
}

#[test]
fn the_metrics_of_javas_consumer_are_here_or_missing_for_a_reason() {
    let missing = missing_of_consumer().collect::<Vec<_>>();
    compare(ClientKind::Consumer, client_specs().chain(consumer_specs()).collect(), CONSUMER, &missing);
}
