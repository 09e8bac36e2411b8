//! The typed face: what cannot be read stops nothing, and what has to be awaited first is lost by no dropped future.

mod common;

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use common::Numbers;
use rkafka_consumer::serialization::{Side, StringDeserializer};
use rkafka_consumer::{
    ClientSettings, Consumer, ConsumerConfig, OffsetReset, Start, TopicPartition, TypedConsumer, TypedError,
};
use rkafka_testkit::{RawClient, RawProducer, TestCluster, TransactionProtocol};

const LIMIT: Duration = Duration::from_secs(60);

async fn cluster(values: &[&str]) -> TestCluster {
    let cluster = TestCluster::builder().topic("t", 1).start().await;
    let mut client = RawClient::connect(&cluster.bootstrap()).await.unwrap();
    let mut producer = RawProducer::init(&mut client, "filler", TransactionProtocol::V2, LIMIT).await.unwrap();
    for value in values {
        producer.produce(&mut client, "t", &[(0, value)]).await.unwrap();
    }
    producer.end(&mut client, true).await.unwrap();
    cluster
}

fn config(cluster: &TestCluster) -> ConsumerConfig {
    ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id("g")
        .auto_offset_reset(OffsetReset::Earliest)
        .enable_auto_commit(false)
}

/// Numbers of which one can never be prepared.
fn numbers() -> Numbers {
    Numbers { missing: Some(6), ..Numbers::default() }
}

/// Polls `future` so many times at most, then drops it.
async fn polled<T>(mut polls: u32, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        result = future => Some(result),
        () = std::future::poll_fn(|context| {
            if polls == 0 { return Poll::Ready(()); }
            polls -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }) => None,
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_names_its_place_and_stops_nothing() {
    let cluster = cluster(&["1", "secret", "2", "7", "6", "3"]).await;
    let consumer = Consumer::connect(config(&cluster)).await.unwrap();
    let mut typed = TypedConsumer::<Option<String>, u32>::with(consumer, StringDeserializer, numbers());
    typed.assign([("t", 0, Start::Beginning)]).unwrap();
    let mut seen = Vec::new();
    for _ in 0..6 {
        match tokio::time::timeout(LIMIT, typed.recv()).await.expect("a record") {
            Ok(record) => {
                assert_eq!((record.topic(), record.partition(), &record.key), ("t", 0, &None));
                seen.push((record.offset(), Some(record.value)));
            }
            Err(TypedError::Deserialization(error)) => {
                seen.push((error.offset(), None));
                assert_eq!((error.partition().to_string().as_str(), error.side()), ("t-0", Side::Value));
                let text = format!("{error} {error:?}");
                assert!(text.contains(&format!("t-0 at offset {}, value", error.offset())), "{text}");
                assert!(!text.contains("secret"), "{text}");
                if error.offset() == 1 {
                    assert_eq!(error.record().value(), Some(&b"secret"[..]), "it is kept as it came");
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(seen, [(0, Some(1)), (1, None), (2, Some(2)), (3, Some(7)), (4, None), (5, Some(3))]);
    typed.commit().await.unwrap();
    let committed = typed.committed(&[TopicPartition::new("t", 0)]).await.unwrap();
    assert_eq!(committed[0].1.as_ref().map(|at| at.offset), Some(6), "one gets past it");
    // All at once, too.
    typed.seek("t", 0, Start::Beginning).unwrap();
    let mut records = Vec::new();
    while records.len() < 6 {
        tokio::time::timeout(LIMIT, typed.recv_many(&mut records)).await.expect("records").unwrap();
    }
    let values: Vec<_> = records.iter().map(|record| record.as_ref().ok().map(|record| record.value)).collect();
    assert_eq!(values, [Some(1), None, Some(2), Some(7), None, Some(3)]);
    assert!(typed.recv_until_end().await.unwrap().is_none());
    typed.close().await.unwrap();
}

#[tokio::test]
async fn a_null_is_an_error_where_the_type_has_none() {
    let cluster = cluster(&["1"]).await;
    let mut typed = TypedConsumer::<String, String>::connect(config(&cluster)).await.unwrap();
    typed.assign([("t", 0, Start::Beginning)]).unwrap();
    let error = tokio::time::timeout(LIMIT, typed.recv()).await.expect("an answer").unwrap_err();
    let TypedError::Deserialization(error) = error else { panic!("{error}") };
    assert!(error.reason().is_null() && error.side() == Side::Key, "{error}");
}

/// A record whose deserializer has to wait counts as handed out when it is given, and not before.
#[tokio::test]
async fn dropped_futures_lose_no_record_that_is_being_read() {
    let values: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = values.iter().map(String::as_str).filter(|text| *text != "6").collect();
    let cluster = cluster(&texts).await;
    for seed in 0..5_u32 {
        let consumer = Consumer::connect(config(&cluster).group_id(format!("g{seed}"))).await.unwrap();
        let numbers = numbers();
        let mut typed = TypedConsumer::<Option<String>, u32>::with(consumer, StringDeserializer, numbers.clone());
        typed.assign([("t", 0, Start::Beginning)]).unwrap();
        let (mut seen, mut round) = (Vec::new(), 0_u32);
        let work = async {
            while seen.len() < texts.len() {
                round += 1;
                let polls = (round.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16) % 5;
                if round % 3 == 0 {
                    let mut some = Vec::new();
                    let _ = polled(polls, typed.recv_many(&mut some)).await;
                    seen.extend(some.into_iter().map(|record| record.unwrap().value));
                } else if let Some(record) = polled(polls, typed.recv()).await {
                    seen.push(record.unwrap().value);
                }
                // Whatever is under way, the position is that of the next record to be given.
                let next = i64::try_from(seen.len()).unwrap();
                if let Some(position) = typed.position("t", 0).unwrap().filter(|_| !seen.is_empty()) {
                    assert!(position == next || seen.len() == texts.len(), "{position} after {next}");
                }
                tokio::task::yield_now().await;
            }
        };
        pin!(tokio::time::timeout(LIMIT, work)).await.expect("all records");
        let expected: Vec<u32> = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(seen, expected);
        assert_eq!(numbers.preparations.load(Ordering::SeqCst), 35, "each is prepared once");
    }
}

/// A typed record whose deserializer was not ready came after the bytes of the one behind it, and took the position back.
#[tokio::test]
async fn typed_records_and_bytes_come_in_one_order() {
    let values: Vec<String> = (0..40).filter(|number| *number != 6).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = values.iter().map(String::as_str).collect();
    let cluster = cluster(&texts).await;
    let config = config(&cluster).enable_auto_offset_store(false);
    let consumer = Consumer::connect(config).await.unwrap();
    let mut typed = TypedConsumer::<Option<String>, u32>::with(consumer, StringDeserializer, numbers());
    typed.assign([("t", 0, Start::Beginning)]).unwrap();
    let (mut seen, mut round, mut first) = (Vec::new(), 0_u32, None);
    let work = async {
        while seen.len() < texts.len() {
            round += 1;
            // Given up where the deserializer waits, more often than not.
            if let Some(record) = polled(round % 4, typed.recv()).await {
                seen.push(record.unwrap().value.to_string());
            }
            if round % 3 == 0
                && let Some(record) = polled(round % 5, typed.consumer().recv()).await
            {
                let record = record.unwrap();
                seen.push(String::from_utf8(record.value().unwrap().to_vec()).unwrap());
                first.get_or_insert(record);
            }
            tokio::task::yield_now().await;
        }
    };
    pin!(tokio::time::timeout(LIMIT, work)).await.expect("all records");
    assert_eq!(seen, texts);
    typed.mark_done(&first.expect("one of bytes")).expect("what was given before still counts");
}
