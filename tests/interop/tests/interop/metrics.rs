//! What clients measure, beside what Kafka's own clients measure.

use std::collections::BTreeSet;

use rkafka::consumer::Consumer;
use rkafka::producer::Record;
use rkafka_testkit::on_both;

use crate::support::{consumer_config, has_java, in_time, producer, tool};

/// What Kafka's consumer measures and rkafka's does not, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("io-", "there is no thread that waits for sockets: the runtime does"),
    ("iotime", "as above"),
    ("select-", "as above"),
    ("network-io-", "as above"),
    ("authentication", "connections are not authenticated yet"),
    ("kafka-metrics-count", "the snapshot has a length"),
    ("app-info", "start-time, version and commit id are no measurements"),
];

on_both! {
    async fn a_consumer_measures_what_kafkas_own_does(cluster: &Cluster) {
        if !has_java("metrics::a_consumer_measures_what_kafkas_own_does").await {
            return;
        }
        let topic = cluster.topic("measured", 1, &[]).await;
        let producer = producer(&cluster.bootstrap(), "none").await;
        for _ in 0..10 {
            let record = Record::to(&topic).partition(0).value(&[0; 100]);
            in_time("the record", producer.send(record).await.expect("taken")).await.expect("written");
        }
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/ConsumerMetrics.java");
        let group = cluster.unique("java");
        let printed = tool(program, &[&cluster.bootstrap(), &topic, &group, "10"], b"").await;
        let javas: BTreeSet<String> =
            printed.lines().filter_map(|line| line.strip_prefix("metric ")).map(str::to_owned).collect();
        assert!(javas.len() > 90, "{printed}");

        let config = consumer_config(&cluster.bootstrap()).group_id(cluster.unique("rkafka")).enable_auto_commit(false);
        let mut consumer = Consumer::connect(config).await.expect("a consumer");
        consumer.subscribe([topic.as_str()]).expect("subscribed");
        for _ in 0..10 {
            in_time("a record", consumer.recv()).await.expect("a record");
        }
        in_time("the commit", consumer.commit()).await.expect("committed");
        assert!(in_time("the end", consumer.recv_until_end()).await.expect("no error").is_none());
        let snapshot = consumer.metrics();
        let ours: BTreeSet<String> = snapshot
            .iter()
            .map(|metric| {
                let mut tags: Vec<&str> = metric.tags().map(|(name, _)| name).collect();
                tags.sort_unstable();
                format!("{} {} [{}]", metric.group(), metric.name(), tags.join(", "))
            })
            .collect();
        let excused = |metric: &&String| NOT_HERE.iter().any(|(part, _)| metric.contains(part));
        let missing: Vec<&String> = javas.iter().filter(|metric| !ours.contains(*metric)).filter(|metric| !excused(metric)).collect();
        assert!(missing.is_empty(), "Java's consumer measures these, and rkafka's does not: {missing:#?}");
        let bytes = snapshot.value("bytes-consumed-total", "consumer-fetch-manager-metrics");
        let javas_bytes = printed.lines().find_map(|line| line.strip_prefix("bytes "));
        assert_eq!(bytes, javas_bytes.and_then(|bytes| bytes.trim().parse().ok()), "bytes mean the same");
    }
}
