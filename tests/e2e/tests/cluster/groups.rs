//! Groups of both protocols, whose coordinator's broker is killed and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::client::TopicPartition;
use rkafka::consumer::{Consumer, GroupProtocol};
use rkafka::producer::Record;
use rkafka_testkit::eventually;

use crate::trio::{GROUP, Trio, consumer_config, in_background, in_time, producer};

const PARTITIONS: i32 = 4;
const ROUNDS: i64 = 4;
/// How many records each round brings.
const RECORDS: i64 = 200;

/// What the members of a group have done.
#[derive(Default)]
struct Done {
    seen: Mutex<BTreeSet<i64>>,
    /// The greatest offset of each partition whose commit was acknowledged.
    committed: Mutex<BTreeMap<i32, i64>>,
    commits: Mutex<usize>,
    is_over: AtomicBool,
}

/// A member that commits after every few records, and goes on whatever becomes of the commit.
async fn member(bootstrap: String, group: String, protocol: GroupProtocol, done: Arc<Done>) {
    let mut config = consumer_config(&bootstrap)
        .group_id(group)
        .group_protocol(protocol)
        .enable_auto_commit(false)
        .max_poll_records(20_usize);
    if protocol == GroupProtocol::Classic {
        config = config.session_timeout(Duration::from_secs(10)).heartbeat_interval(Duration::from_millis(300));
    }
    let mut consumer = in_time("a member", Consumer::connect(config)).await.expect("a member");
    consumer.subscribe(["in"]).expect("subscribed");
    let mut records = Vec::new();
    while !done.is_over.load(Ordering::SeqCst) {
        records.clear();
        let Ok(received) = tokio::time::timeout(Duration::from_millis(200), consumer.recv_many(&mut records)).await
        else {
            continue;
        };
        received.expect("records");
        let mut ends = BTreeMap::new();
        for record in &records {
            let value = std::str::from_utf8(record.value().expect("a value")).expect("text");
            done.seen.lock().unwrap().insert(value.parse().expect("a number"));
            ends.insert(record.partition(), record.offset() + 1);
        }
        // A commit that fails says nothing of what is committed; the records may come again.
        if consumer.commit().await.is_ok() {
            *done.commits.lock().unwrap() += 1;
            let mut committed = done.committed.lock().unwrap();
            for (partition, end) in ends {
                let known = committed.entry(partition).or_insert(0);
                *known = end.max(*known);
            }
        }
    }
    in_time("the close", consumer.close()).await.expect("closed");
}

/// What is committed for each partition.
async fn committed(bootstrap: &str, group: &str) -> BTreeMap<i32, i64> {
    let consumer = Consumer::connect(consumer_config(bootstrap).group_id(group)).await.expect("a consumer");
    let places: Vec<_> = (0..PARTITIONS).map(|partition| TopicPartition::new("in", partition)).collect();
    let found = in_time("the offsets", consumer.committed(&places)).await.expect("an answer");
    found.into_iter().filter_map(|(place, at)| Some((place.partition, at?.offset))).collect()
}

async fn goes_on_whichever_broker_dies(protocol: GroupProtocol) {
    let mut trio = Trio::start().await;
    trio.topic("in", PARTITIONS).await;
    let group = "g";
    let done = Arc::new(Done::default());
    let members: Vec<_> = (0..2)
        .map(|_| in_background(member(trio.bootstrap(), group.to_owned(), protocol, Arc::clone(&done))))
        .collect();
    let producer = producer(&trio.bootstrap()).await;
    let mut next = 0;
    let mut killed = BTreeSet::new();
    for _ in 0..ROUNDS {
        let coordinator = trio.coordinator(GROUP, group).await;
        let commits = *done.commits.lock().unwrap();
        for number in next..next + RECORDS / 2 {
            let value = number.to_string();
            drop(in_time("room", producer.send(Record::to("in").value(&value))).await.expect("accepted"));
        }
        eventually("commits are under way", || async {
            if *done.commits.lock().unwrap() > commits { Ok(()) } else { Err(format!("{commits}")) }
        })
        .await;
        trio.kill(coordinator);
        killed.insert(coordinator);
        let before = done.committed.lock().unwrap().clone();
        for number in next + RECORDS / 2..next + RECORDS {
            let value = number.to_string();
            drop(in_time("room", producer.send(Record::to("in").value(&value))).await.expect("accepted"));
        }
        next += RECORDS;
        in_time("all is written", producer.flush()).await;
        eventually("the group goes on", || async {
            let seen = done.seen.lock().unwrap().len();
            if i64::try_from(seen).unwrap() == next { Ok(()) } else { Err(format!("{seen} of {next}")) }
        })
        .await;
        let found = committed(&trio.bootstrap(), group).await;
        for (partition, end) in before {
            let found = found.get(&partition).copied().unwrap_or(-1);
            assert!(found >= end, "partition {partition}: {end} was committed, and {found} is found");
        }
        trio.revive(coordinator).await;
    }
    assert!(!killed.is_empty());
    eventually("all is committed", || async {
        let found: i64 = committed(&trio.bootstrap(), group).await.values().sum();
        if found == next { Ok(()) } else { Err(format!("{found} of {next}")) }
    })
    .await;
    done.is_over.store(true, Ordering::SeqCst);
    for member in members {
        in_time("a member's end", member).await.expect("no panic");
    }
    let found = committed(&trio.bootstrap(), group).await;
    for (partition, end) in done.committed.lock().unwrap().iter() {
        assert!(found[partition] >= *end, "partition {partition}: {end} was committed, and {found:?} is found");
    }
    drop(producer);
    trio.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_classic_group_goes_on_whichever_coordinator_dies() {
    goes_on_whichever_broker_dies(GroupProtocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_group_goes_on_whichever_coordinator_dies() {
    goes_on_whichever_broker_dies(GroupProtocol::Consumer).await;
}
