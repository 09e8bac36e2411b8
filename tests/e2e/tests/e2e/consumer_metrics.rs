//! What a consumer says of itself, compared with what happened.

use std::time::Duration;

use rkafka::consumer::{Consumer, ConsumerHandle, HookFuture, RebalanceListener, Start, TopicPartition};
use rkafka::producer::Record;
use rkafka_testkit::{Cluster, eventually, on_both};

use crate::support::{consumer_config, in_time, next, producer};

const FETCH: &str = "consumer-fetch-manager-metrics";
const COORDINATOR: &str = "consumer-coordinator-metrics";
const CONSUMER: &str = "consumer-metrics";

/// Takes its time.
struct Slow;

impl RebalanceListener for Slow {
    fn on_assigned<'a>(&'a self, _: &'a ConsumerHandle, _: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(rkafka_testkit::pause(Duration::from_millis(20)))
    }

    fn on_revoked<'a>(&'a self, _: &'a ConsumerHandle, _: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(rkafka_testkit::pause(Duration::from_millis(10)))
    }
}

async fn ten(cluster: &Cluster) -> String {
    let topic = cluster.topic("measured", 1, &[]).await;
    let producer = producer(&cluster.bootstrap()).await;
    for _ in 0..10 {
        let record = Record::to(&topic).partition(0).value(&[0; 100]);
        in_time("the record", producer.send(record).await.expect("taken")).await.expect("written");
    }
    topic
}

on_both! {
    async fn a_member_of_a_group_measures_its_membership(cluster: &Cluster) {
        let topic = ten(cluster).await;
        let config = consumer_config(&cluster.bootstrap())
            .group_id(cluster.unique("measuring"))
            .enable_auto_commit(false)
            .heartbeat_interval(Duration::from_millis(50));
        let mut consumer = Consumer::connect(config).await.expect("a consumer");
        let handle = consumer.handle();
        let value = |name, group| handle.metrics().value(name, group).unwrap_or_else(|| panic!("no {name}"));
        let member = |name| value(name, COORDINATOR);
        assert_eq!((member("last-heartbeat-seconds-ago"), member("last-rebalance-seconds-ago")), (-1.0, -1.0));
        assert_eq!((member("assigned-partitions"), value("last-poll-seconds-ago", CONSUMER)), (0.0, -1.0));
        consumer.subscribe_with([topic.as_str()], Slow).expect("subscribed");
        for _ in 0..10 {
            next(&mut consumer).await;
        }
        assert_eq!(member("assigned-partitions"), 1.0);
        for total in ["join-total", "sync-total", "rebalance-total"] {
            assert_eq!(member(total), 1.0, "{total}");
        }
        for rate in ["join-rate", "sync-rate", "rebalance-rate-per-hour", "join-time-max", "sync-time-avg"] {
            assert!(member(rate) > 0.0, "{rate}");
        }
        let (longest, all) = (member("rebalance-latency-max"), member("rebalance-latency-total"));
        assert!(longest > 0.0 && longest == all && longest == member("rebalance-latency-avg"));
        assert!(member("last-rebalance-seconds-ago") >= 0.0);
        assert!(member("partition-assigned-latency-avg") >= 20.0, "the hook takes so long");
        assert!(member("partition-revoked-latency-max").is_nan(), "it was not called");
        eventually("heartbeats", || async {
            let total = member("heartbeat-total");
            if total >= 3.0 { Ok(()) } else { Err(format!("{total} heartbeats")) }
        })
        .await;
        assert!(member("heartbeat-rate") > 0.0 && member("heartbeat-response-time-max") > 0.0);
        assert!(member("last-heartbeat-seconds-ago") >= 0.0);

        assert_eq!((member("commit-total"), value("commit-sync-time-ns-total", CONSUMER)), (0.0, 0.0));
        in_time("the commit", consumer.commit()).await.expect("committed");
        assert_eq!(member("commit-total"), 1.0);
        let latency = member("commit-latency-max");
        assert!(latency > 0.0 && latency == member("commit-latency-avg") && member("commit-rate") > 0.0);
        assert!(value("commit-sync-time-ns-total", CONSUMER) >= latency * 1e6, "who waits, waits as long as the request");
        let place = [TopicPartition::new(topic.as_str(), 0)];
        in_time("an answer", consumer.committed(&place)).await.expect("committed");
        assert!(value("committed-time-ns-total", CONSUMER) > 0.0);

        in_time("the end", consumer.unsubscribe()).await.expect("left");
        assert!(member("partition-revoked-latency-avg") >= 10.0 && member("partition-lost-latency-avg").is_nan());
        assert_eq!(member("assigned-partitions"), 0.0);
        consumer.close().await.expect("closed");
    }
}

on_both! {
    async fn a_consumer_measures_what_it_fetches(cluster: &Cluster) {
        let topic = ten(cluster).await;
        let mut consumer = Consumer::connect(consumer_config(&cluster.bootstrap())).await.expect("a consumer");
        let handle = consumer.handle();
        let value = |name, group| handle.metrics().value(name, group).unwrap_or_else(|| panic!("no {name}"));
        consumer.assign([(topic.as_str(), 0, Start::Offset(2))]).expect("assigned");
        let mut offsets = Vec::new();
        while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("no error") {
            offsets.push(record.offset());
        }
        assert_eq!(offsets, (2..10).collect::<Vec<_>>());
        // What a response gave is counted when the last of it is dropped, which the fetcher may hold a moment longer.
        eventually("all is counted", || async {
            let counted = value("records-consumed-total", FETCH);
            if counted > 0.0 { Ok(()) } else { Err(format!("{counted}")) }
        })
        .await;
        let snapshot = handle.metrics();
        let fetched = |name| snapshot.value(name, FETCH).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((fetched("records-consumed-total"), fetched("bytes-consumed-total")), (8.0, 8.0 * 109.0));
        assert!(fetched("records-consumed-rate") > 0.0 && fetched("bytes-consumed-rate") > 0.0);
        assert!(fetched("fetch-total") >= 1.0 && fetched("fetch-rate") > 0.0);
        assert!(fetched("fetch-latency-max") > 0.0 && fetched("fetch-latency-avg") <= fetched("fetch-latency-max"));
        assert_eq!(fetched("fetch-throttle-time-max"), 0.0);
        assert!(fetched("records-per-request-avg") <= 8.0 && fetched("fetch-size-max") <= 8.0 * 109.0);
        let of_topic = |name| snapshot.value_of(name, FETCH, "topic", &topic).unwrap_or_else(|| panic!("no {name}"));
        for name in ["records-consumed-total", "bytes-consumed-total", "fetch-size-avg", "records-per-request-avg"] {
            assert_eq!(of_topic(name), fetched(name), "{name}: it is the only topic");
        }
        let of_partition = |name| snapshot.value_of(name, FETCH, "partition", "0").unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((of_partition("records-lag"), of_partition("records-lead")), (0.0, 10.0));
        assert_eq!((of_partition("records-lag-max"), of_partition("records-lag-avg")), (0.0, 0.0));
        assert!(of_partition("records-lead-min") >= 3.0 && of_partition("records-lead-avg") <= 10.0);
        assert_eq!(of_partition("preferred-read-replica"), -1.0);
        assert!(value("poll-idle-ratio-avg", CONSUMER) > 0.0 && value("time-between-poll-max", CONSUMER) > 0.0);
        assert!(value("time-between-poll-avg", CONSUMER) <= value("time-between-poll-max", CONSUMER));
        assert!(value("last-poll-seconds-ago", CONSUMER) >= 0.0);
        consumer.assign([("another", 0, Start::Beginning)]).expect("assigned");
        assert_eq!(handle.metrics().select("records-lag", FETCH).filter(|one| one.tag("topic") == Some(&topic)).count(), 0);
        consumer.close().await.expect("closed");
    }
}
