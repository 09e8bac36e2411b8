//! Where records go that are free to go anywhere, when brokers differ and when topics grow.

use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::ClientSettings as _;
use rkafka_producer::{Delivery, Producer, ProducerConfig, Record, murmur2};

use crate::broker::Act;
use crate::net::{Net, pause};

const MS: Duration = Duration::from_millis(1);

/// A batch takes two or three records of [`send`].
fn small_batches(net: &Net) -> ProducerConfig {
    net.config().batch_size(300_usize).max_in_flight(1_u32)
}

/// Sends so many records without a key, one each `every`, and says how many went to each of two partitions.
async fn send(producer: &Producer, count: usize, every: Duration) -> [usize; 2] {
    let mut seen = [0; 2];
    for _ in 0..count {
        let delivery = producer.send(Record::to("t").value(&[b'x'; 100])).await.unwrap();
        seen[delivery.partition() as usize] += 1;
        pause(every).await;
    }
    seen
}

// Shows: partitioner.adaptive.partitioning.enable.
#[tokio::test(start_paused = true)]
async fn a_slow_broker_gets_fewer_records() {
    let mut slow = Vec::new();
    for adaptive in [true, false] {
        let net = Net::new(2, 2);
        net.cluster.script(|call| if call.node == 1 { Act::AnswerAfter(200 * MS) } else { Act::Do });
        let producer = net.producer(small_batches(&net).partitioner_adaptive_partitioning(adaptive)).await;
        let seen = send(&producer, 1_000, MS).await;
        producer.flush().await;
        assert_eq!(net.cluster.state().values(1).len(), seen[1], "and what it gets arrives");
        slow.push(seen[1]);
    }
    assert!(slow[0] < 300 && slow[0] > 0, "{slow:?}");
    assert!((350..650).contains(&slow[1]), "{slow:?}");
}

// Shows: partitioner.availability.timeout.ms.
#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_nothing_gets_nothing_until_it_is_back() {
    for timeout in [Duration::ZERO, 500 * MS] {
        let net = Net::new(2, 2);
        let config = small_batches(&net).partitioner_availability_timeout(timeout);
        let producer = net.producer(config.reconnect_backoff_max(200 * MS)).await;
        let before = send(&producer, 200, MS).await;
        assert!(before.iter().all(|count| *count > 40), "{before:?}");
        net.kill(1);
        send(&producer, 100, 10 * MS).await;
        let without = send(&producer, 1_000, 10 * MS).await;
        assert_eq!(without[1] == 0, !timeout.is_zero(), "{timeout:?}: {without:?}");
        net.revive(1);
        pause(1_000 * MS).await;
        let after = send(&producer, 300, 10 * MS).await;
        assert!(after.iter().all(|count| *count > 80), "{timeout:?}: {after:?}");
        producer.flush().await;
        let state = net.cluster.state();
        assert_eq!(state.values(0).len() + state.values(1).len(), 1_600);
    }
}

/// Sends a record with each key and as many without one, and says where they went.
async fn places(producer: &Producer, keys: &[String]) -> (Vec<i32>, Vec<i32>) {
    let keyed = async |key: &String| producer.send(Record::to("t").key(key.as_str()).value("x")).await.unwrap();
    let mut keyed_places = Vec::new();
    for key in keys {
        keyed_places.push(keyed(key).await.partition());
    }
    let mut free = Vec::new();
    for _ in 0..keys.len() {
        let delivery: Delivery = producer.send(Record::to("t").value(&[b'x'; 100])).await.unwrap();
        free.push(delivery.partition());
    }
    (keyed_places, free)
}

fn by_hash(keys: &[String], partitions: i32) -> Vec<i32> {
    keys.iter().map(|key| (murmur2(key.as_bytes()) & i32::MAX) % partitions).collect()
}

// Shows: metadata.max.age.ms.
#[tokio::test(start_paused = true)]
async fn partitions_that_a_topic_gets_are_used_once_the_metadata_is_old() {
    let net: Arc<Net> = Net::new(1, 2);
    let producer = net.producer(net.config().batch_size(300_usize).metadata_max_age(5_000 * MS)).await;
    let keys = (0..100).map(|number| format!("key-{number}")).collect::<Vec<_>>();
    let (keyed, free) = places(&producer, &keys).await;
    assert_eq!(keyed, by_hash(&keys, 2));
    assert!(free.iter().all(|partition| *partition < 2));
    for _ in 0..3 {
        net.cluster.state().add_partition();
    }
    // Nobody has told yet: what is sent meanwhile goes where it went before.
    assert_eq!(places(&producer, &keys).await.0, by_hash(&keys, 2));
    for _ in 0..12 {
        pause(500 * MS).await;
        drop(producer.send(Record::to("t").value("meanwhile")).await.unwrap());
    }
    let (keyed, free) = places(&producer, &keys).await;
    assert_eq!(keyed, by_hash(&keys, 5));
    for partition in 0..5 {
        assert!(free.contains(&partition), "{free:?}");
    }
    producer.flush().await;
    let state = net.cluster.state();
    assert_eq!((0..5).map(|partition| state.values(partition).len()).sum::<usize>(), 612);
}
