//! `buffer.memory` when it is short: who waits is served, in the order of coming.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_producer::{ProducerError, Record, TrySendError};

use crate::broker::{Act, now};
use crate::net::{Net, pause, spawn};

const MS: Duration = Duration::from_millis(1);

// Shows: buffer.memory.
#[tokio::test(start_paused = true)]
async fn a_large_record_is_not_starved_by_small_ones() {
    let net = Net::new(1, 8);
    net.cluster.on_produce(|_| Act::AnswerAfter(20 * MS));
    let config = net.config().buffer_memory(8192_usize).batch_size(1024_usize).max_block(Duration::from_secs(30));
    let producer = net.producer(config).await;
    drop(producer.topic("t").await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let small = (0..7).map(|partition| {
        let (producer, stop) = (producer.clone(), stop.clone());
        spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                drop(producer.send(Record::to("t").partition(partition).value(&[b's'; 500])).await.unwrap());
                count += 1;
            }
            count
        })
    });
    let small = small.collect::<Vec<_>>();
    pause(200 * MS).await;
    for round in 0..10 {
        let before = now();
        let large = producer.send(Record::to("t").partition(7).value(&[b'l'; 7000])).await;
        assert!(large.is_ok(), "round {round}: {large:?}");
        assert!(now() - before < Duration::from_secs(1), "round {round}: {:?}", now() - before);
    }
    pause(200 * MS).await;
    stop.store(true, Ordering::Relaxed);
    let mut counts = Vec::new();
    for task in small {
        counts.push(task.await.unwrap());
    }
    producer.flush().await;
    assert!(counts.iter().all(|count| *count > 10), "the small ones go on: {counts:?}");
    assert_eq!(net.cluster.state().values(7).len(), 10);
}

// Shows: buffer.memory.
#[tokio::test(start_paused = true)]
async fn who_waits_for_memory_is_served_in_turn_and_nobody_overtakes() {
    let net = Net::new(1, 1);
    net.cluster.on_produce(|_| Act::AnswerAfter(50 * MS));
    let config = net.config().buffer_memory(2048_usize).batch_size(1024_usize).max_block(Duration::from_secs(30));
    let producer = net.producer(config).await;
    let topic = producer.topic("t").await.unwrap();
    let fill = topic.send(topic.record().value(&[b'x'; 1900])).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for number in 0..12 {
        let (producer, order) = (producer.clone(), order.clone());
        let size = if number % 3 == 0 { 1800 } else { 100 };
        waiting.push(spawn(async move {
            drop(producer.send(Record::to("t").value(&vec![b'x'; size])).await.unwrap());
            order.lock().unwrap().push(number);
        }));
        pause(MS).await;
    }
    // One that gives up makes way for those behind it.
    waiting.remove(3).abort();
    while order.lock().unwrap().len() < 11 {
        // Whoever comes late finds room only in a batch that has it already, of one who waited before.
        let late = topic.try_send(&topic.record().value(&[b'x'; 1000]));
        assert!(matches!(late, Err(TrySendError::Full)), "memory that is waited for is not for who comes late");
        pause(MS).await;
    }
    fill.await.unwrap();
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]);
    producer.flush().await;
    drop(topic.try_send(&topic.record().value(&[b'x'; 10])).unwrap());
}

// Shows: buffer.memory.
#[tokio::test(start_paused = true)]
async fn a_record_that_never_fits_is_refused_at_once() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config().buffer_memory(2048_usize)).await;
    drop(producer.topic("t").await.unwrap());
    let before = now();
    let error = producer.send(Record::to("t").value(&[b'x'; 2048])).await.unwrap_err();
    assert!(matches!(error, ProducerError::RecordTooLarge { limit: 2048, setting: "buffer.memory", .. }), "{error}");
    assert!(error.to_string().contains("`buffer.memory`") && !error.maybe_written(), "{error}");
    assert_eq!(now(), before);
    // The largest that fits, beside nothing else.
    for _ in 0..3 {
        drop(producer.send(Record::to("t").value(&[b'x'; 1900])).await.unwrap());
    }
    producer.flush().await;
    assert_eq!(net.cluster.state().values(0).len(), 3);
}
