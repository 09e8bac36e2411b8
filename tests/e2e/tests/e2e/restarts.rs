//! Brokers go and come back; clients find them by themselves, and each record is there once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rkafka::consumer::Start;
use rkafka::producer::{CompressionType, Producer, Record};
use rkafka_testkit::{TestCluster, eventually, pause};

use crate::support::{in_background, in_time, next, next_values, producer, producer_config, read_all, reader};

const RECORDS: usize = 6_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Stop,
    Crash,
}

/// Sends and reads numbered records while the broker goes away and comes back five times.
async fn through_ends(end: End, codec: CompressionType) {
    let cluster = TestCluster::builder().topic("numbers", 2).on_disk().start().await;
    let config = producer_config(&cluster.bootstrap()).compression_type(codec).linger(Duration::from_millis(1));
    let producer = Producer::new(config).await.expect("a producer");
    let sent = Arc::new(AtomicUsize::new(0));
    let read = Arc::new(AtomicUsize::new(0));

    let sending = in_background({
        let sent = Arc::clone(&sent);
        async move {
            let mut deliveries = Vec::new();
            for number in 0..RECORDS {
                let record = Record::to("numbers").partition((number % 2) as i32);
                deliveries
                    .push(in_time("room", producer.send(record.value(&number.to_string()))).await.expect("accepted"));
                sent.store(number + 1, Ordering::Relaxed);
                if number % 20 == 0 {
                    pause(Duration::from_millis(2)).await;
                }
            }
            for delivery in deliveries {
                in_time("an acknowledgement", delivery).await.expect("each record is written in the end");
            }
        }
    });
    let reading = in_background({
        let (read, bootstrap) = (Arc::clone(&read), cluster.bootstrap());
        async move {
            let mut consumer = reader(&bootstrap, "numbers", 2, Start::Beginning).await;
            let mut expected = [0, 1];
            for count in 0..RECORDS {
                let record = next(&mut consumer).await;
                let number: usize = crate::support::value_text(&record).parse().expect("a number");
                let expected = &mut expected[record.partition() as usize];
                assert_eq!(number, *expected, "each record once and in order");
                *expected += 2;
                read.store(count + 1, Ordering::Relaxed);
            }
        }
    });

    for round in 1..=5 {
        let goal = RECORDS * round / 6;
        eventually("records on their way", || async {
            let sent = sent.load(Ordering::Relaxed);
            if sent >= goal || sending.is_finished() || reading.is_finished() { Ok(()) } else { Err(sent.to_string()) }
        })
        .await;
        match end {
            End::Stop => cluster.stop().await,
            End::Crash => cluster.crash().await,
        }
        cluster.start_again().await;
    }
    in_time("the sender", sending).await.expect("the sender");
    in_time("the reader", reading).await.expect("the reader");
    assert_eq!(read.load(Ordering::Relaxed), RECORDS);
    // And what is in the log is just that.
    let seen = read_all(&cluster.bootstrap(), "numbers", 2).await;
    let numbers: Vec<usize> =
        seen.iter().map(|seen| String::from_utf8_lossy(seen.value.as_deref().unwrap()).parse().unwrap()).collect();
    let expected: Vec<usize> = (0..RECORDS).step_by(2).chain((1..RECORDS).step_by(2)).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_records_goes_on_over_stops() {
    through_ends(End::Stop, CompressionType::None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_records_goes_on_over_crashes() {
    through_ends(End::Crash, CompressionType::Lz4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotent_producer_keeps_its_numbers_over_a_restart() {
    let cluster = TestCluster::builder().topic("once", 1).on_disk().start().await;
    let producer = producer(&cluster.bootstrap()).await;
    assert!(producer.config().is_idempotent());
    for round in 0..4 {
        for number in 0..50 {
            let value = (round * 50 + number).to_string();
            let delivery = producer.send(Record::to("once").value(&value)).await.expect("accepted");
            let written = in_time("an acknowledgement", delivery).await.expect("written");
            assert_eq!(written.offset, round * 50 + number, "nothing is written twice");
        }
        match round {
            0 => cluster.restart().await,
            1 => {
                cluster.crash().await;
                cluster.start_again().await;
            }
            _ => {}
        }
    }
    let mut consumer = reader(&cluster.bootstrap(), "once", 1, Start::Beginning).await;
    let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(next_values(&mut consumer, 200).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_were_accepted_without_a_broker_are_written_when_it_is_back() {
    let cluster = TestCluster::builder().topic("patient", 1).on_disk().start().await;
    let producer = producer(&cluster.bootstrap()).await;
    let topic = producer.topic("patient").await.expect("the topic");
    let mut consumer = reader(&cluster.bootstrap(), "patient", 1, Start::Beginning).await;
    assert!(in_time("the end", consumer.recv_until_end()).await.expect("no error").is_none());
    cluster.stop().await;
    let delivery = topic.send(topic.record().value("patient")).await.expect("accepted");
    let waiting = in_background(async move { next_values(&mut consumer, 1).await });
    pause(Duration::from_millis(1500)).await;
    assert!(delivery.try_result().is_none(), "nothing is decided while nobody answers");
    cluster.start_again().await;
    assert_eq!(in_time("an acknowledgement", delivery).await.expect("written").offset, 0);
    assert_eq!(in_time("the reader", waiting).await.expect("the reader"), ["patient"]);
}
