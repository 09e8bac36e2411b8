//! What people do with a group consumer who have read no more of it than the README: nothing of it hangs, is lost, or is
//! told wrongly.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::consumer::{
    Consumer, ConsumerConfig, ConsumerError, ConsumerHandle, GroupProtocol, HookFuture, RebalanceListener, Start,
    TopicPartition,
};
use rkafka_testkit::{Cluster, on_both, pause};

use crate::support::{consumer_config, in_time, send_values};

const PROTOCOLS: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];
const RECORDS: usize = 20;

/// A topic of two partitions with records, and the settings of a group that reads it.
async fn begin(cluster: &Cluster, what: &str, protocol: GroupProtocol) -> (String, ConsumerConfig) {
    let topic = cluster.topic(what, 2, &[]).await;
    send_values(&cluster.bootstrap(), &topic, 2, (0..RECORDS).map(|number| number.to_string())).await;
    let config = consumer_config(&cluster.bootstrap()).group_id(cluster.unique(what)).group_protocol(protocol);
    (topic, config)
}

async fn connect(config: &ConsumerConfig) -> Consumer {
    in_time("a consumer", Consumer::connect(config.clone())).await.expect("a consumer")
}

/// The next records, each named by its partition and offset.
async fn take(consumer: &mut Consumer, count: usize) -> BTreeSet<(i32, i64)> {
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        let record = in_time("a record", consumer.recv()).await.expect("a record");
        assert!(seen.insert((record.partition(), record.offset())), "{record:?} comes twice");
    }
    seen
}

/// Stops and goes elsewhere in its hooks, and commits in them.
#[derive(Clone, Default)]
struct Busy {
    revoked: Arc<AtomicUsize>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Busy {
    fn note(&self, result: Result<(), ConsumerError>) {
        self.errors.lock().expect("no panic").extend(result.err().map(|error| error.to_string()));
    }
}

impl RebalanceListener for Busy {
    fn on_assigned<'a>(&'a self, consumer: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async move {
            for place in places {
                let is_first = place.partition == 0;
                self.note(consumer.seek(&place.topic, place.partition, Start::Offset(if is_first { 3 } else { 0 })));
                if !is_first {
                    self.note(consumer.pause([place]));
                }
            }
        })
    }

    fn on_revoked<'a>(&'a self, consumer: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async move {
            self.note(consumer.commit().await);
            self.revoked.fetch_add(places.len(), Ordering::SeqCst);
        })
    }
}

on_both! {
    async fn hooks_seek_pause_and_commit(cluster: &Cluster) {
        for protocol in PROTOCOLS {
            let (topic, config) = begin(cluster, "busy", protocol).await;
            let config = config.enable_auto_commit(false);
            let mut consumer = connect(&config).await;
            let busy = Busy::default();
            consumer.subscribe_with([topic.as_str()], busy.clone()).expect("subscribed");
            let first: BTreeSet<(i32, i64)> = (3..10).map(|offset| (0, offset)).collect();
            assert_eq!(take(&mut consumer, 7).await, first, "{protocol:?} on {}", cluster.name());
            let paused = [TopicPartition::new(topic.as_str(), 1)];
            assert_eq!(consumer.paused(), paused);
            consumer.resume(&paused).expect("resumed");
            let rest: BTreeSet<(i32, i64)> = (0..10).map(|offset| (1, offset)).collect();
            assert_eq!(take(&mut consumer, 10).await, rest);
            in_time("the close", consumer.close()).await.expect("closed");
            assert_eq!(busy.errors.lock().expect("no panic").as_slice(), [] as [String; 0]);
            assert_eq!(busy.revoked.load(Ordering::SeqCst), 2);
            // All of it was committed by the hook.
            let next = connect(&config).await;
            let places = [0, 1].map(|partition| TopicPartition::new(topic.as_str(), partition));
            let committed = in_time("offsets", next.committed(&places)).await.expect("told");
            let offsets: Vec<_> = committed.into_iter().map(|(_, at)| at.map(|at| at.offset)).collect();
            assert_eq!(offsets, [Some(10), Some(10)], "{protocol:?} on {}", cluster.name());
        }
    }
}

on_both! {
    async fn two_in_one_process_and_one_is_dropped_in_the_middle(cluster: &Cluster) {
        for protocol in PROTOCOLS {
            let (topic, config) = begin(cluster, "pair", protocol).await;
            let (mut one, mut other) = (connect(&config).await, connect(&config).await);
            one.subscribe([topic.as_str()]).expect("subscribed");
            other.subscribe([topic.as_str()]).expect("subscribed");
            let both = async {
                while one.assignment().len() != 1 || other.assignment().len() != 1 {
                    let wait = Duration::from_millis(20);
                    let _ = tokio::time::timeout(wait, one.recv()).await;
                    let _ = tokio::time::timeout(wait, other.recv()).await;
                }
            };
            in_time("each has one", both).await;
            let value = || std::iter::once("more".to_owned()).cycle().take(RECORDS);
            send_values(&cluster.bootstrap(), &topic, 2, value()).await;
            in_time("a record", one.recv()).await.expect("a record");
            drop(one);
            // It leaves in the background: nobody waits for its session's end.
            let alone = async {
                while other.assignment().len() != 2 {
                    let _ = tokio::time::timeout(Duration::from_millis(20), other.recv()).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), alone).await.expect("it has left");
            // A close that is not waited for goes on by itself, too.
            let _ = tokio::time::timeout(Duration::ZERO, other.close()).await;
            let mut third = connect(&config).await;
            third.subscribe([topic.as_str()]).expect("subscribed");
            let all = async {
                while third.assignment().len() != 2 {
                    let _ = tokio::time::timeout(Duration::from_millis(20), third.recv()).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), all).await.expect("it has left");
        }
    }
}

on_both! {
    async fn a_pattern_and_a_change_of_mind(cluster: &Cluster) {
        for protocol in PROTOCOLS {
            let (topic, config) = begin(cluster, "minds", protocol).await;
            let mut consumer = connect(&config).await;
            // Nothing at all, twice, and then something, left before it came.
            consumer.subscribe([] as [&str; 0]).expect("nothing");
            in_time("leaving", consumer.unsubscribe()).await.expect("left");
            consumer.subscribe([topic.as_str()]).expect("subscribed");
            in_time("leaving", consumer.unsubscribe()).await.expect("left");
            consumer.subscribe([topic.as_str()]).expect("subscribed");
            pause(Duration::from_millis(30)).await;
            in_time("leaving", consumer.unsubscribe()).await.expect("left");
            assert!(consumer.assignment().is_empty() && consumer.subscription().is_empty());
            consumer.subscribe_pattern(format!("{}.*", &topic[..topic.len() - 1])).expect("a pattern");
            assert_eq!(take(&mut consumer, RECORDS).await.len(), RECORDS, "{protocol:?} on {}", cluster.name());
            let wrong = consumer.subscribe_pattern("a(").map_err(|error| error.to_string());
            if protocol == GroupProtocol::Classic {
                assert!(wrong.is_err_and(|said| said.contains("a(")));
            }
            in_time("the close", consumer.close()).await.ok();
        }
    }
}
