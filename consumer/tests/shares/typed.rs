//! The typed face: what cannot be read stops nothing and is not lost, and what has to be awaited first neither.

use std::collections::BTreeMap;
use std::task::Poll;

use rkafka_consumer::serialization::{Side, StringDeserializer};
use rkafka_consumer::{
    AcknowledgeType, AcknowledgementMode, ShareDeserializationError, TypedShareConsumer, TypedShareError,
    TypedShareRecord,
};

use super::common::Numbers;
use super::*;

type Numbered = TypedShareRecord<Option<String>, u32>;

async fn typed(
    cluster: &TestCluster,
    mode: AcknowledgementMode,
    numbers: &Numbers,
) -> TypedShareConsumer<Option<String>, u32> {
    let config = config(cluster).share_acknowledgement_mode(mode);
    let mut consumer =
        TypedShareConsumer::with(ShareConsumer::connect(config).await.unwrap(), StringDeserializer, numbers.clone());
    consumer.subscribe(["t"]).unwrap();
    consumer
}

fn unread(result: Result<Numbered, TypedShareError>) -> Result<Numbered, ShareDeserializationError> {
    result.map_err(|error| match error {
        TypedShareError::Deserialization(error) => error,
        error => panic!("{error}"),
    })
}

#[tokio::test]
async fn what_cannot_be_read_is_told_with_its_place_and_may_be_rejected_or_released() {
    let cluster = cluster_of(&["1", "secret", "2", "7", "poison", "3"]).await;
    let numbers = Numbers::default();
    let mut member = typed(&cluster, AcknowledgementMode::Explicit, &numbers).await;
    let mut deliveries: BTreeMap<i64, Vec<(Option<u32>, i16)>> = BTreeMap::new();
    // One is rejected at once, the other released the first time.
    for _ in 0..7 {
        match unread(within(member.recv()).await) {
            Ok(record) => {
                assert_eq!((record.topic(), record.partition(), &record.key), ("t", 0, &None));
                deliveries.entry(record.offset()).or_default().push((Some(record.value), record.delivery_count()));
                member.acknowledge(&record, AcknowledgeType::Accept).unwrap();
            }
            Err(error) => {
                let (record, reason) = (error.record(), error.reason());
                assert_eq!((reason.partition().to_string().as_str(), reason.side()), ("t-0", Side::Value));
                assert_eq!(reason.offset(), record.offset());
                let text = format!("{error} {error:?}");
                assert!(text.contains(&format!("t-0 at offset {}, value", record.offset())), "{text}");
                assert!(!text.contains("secret") && !text.contains("poison"), "{text}");
                deliveries.entry(record.offset()).or_default().push((None, record.delivery_count()));
                let is_first = record.offset() == 4 && record.delivery_count() == 1;
                let kind = if is_first { AcknowledgeType::Release } else { AcknowledgeType::Reject };
                member.acknowledge(record, kind).unwrap();
            }
        }
    }
    let expected = [(0, Some(1)), (1, None), (2, Some(2)), (3, Some(7)), (4, None), (5, Some(3))];
    for (offset, value) in expected {
        let times = if offset == 4 { 2 } else { 1 };
        let each: Vec<_> = (1..=times).map(|count| (value, count)).collect();
        assert_eq!(deliveries[&offset], each, "at {offset}");
    }
    let results = within(member.commit()).await.unwrap();
    assert!(results.iter().all(|result| result.result.is_ok()), "{results:?}");
    within(member.close()).await.unwrap();
}

/// By coming back everything is accepted that was handed out: what was never read must not be.
#[tokio::test]
async fn what_cannot_be_read_is_not_accepted_by_coming_back() {
    let cluster = cluster_of(&["1", "poison", "2"]).await;
    let mut member = typed(&cluster, AcknowledgementMode::Implicit, &Numbers::default()).await;
    let mut counts = Vec::new();
    let mut values = Vec::new();
    while counts.len() < 3 {
        let mut records = Vec::new();
        within(member.recv_many(&mut records)).await.unwrap();
        for record in records {
            match record {
                Ok(record) => values.push(record.value),
                Err(error) => {
                    assert_eq!(error.record().value(), Some(&b"poison"[..]), "it is kept as it came");
                    counts.push(error.record().delivery_count());
                }
            }
        }
    }
    assert_eq!(counts, [1, 2, 3], "it is delivered again");
    assert_eq!(values, [1, 2], "and nothing else is");
    within(member.close()).await.unwrap();
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

/// Whichever face takes them, and whatever is dropped: each record comes once and in order, also one whose deserializer
/// was awaited, which is accepted only after it was handed out.
#[tokio::test]
async fn typed_records_batches_and_bytes_come_in_one_order_and_dropped_futures_lose_none() {
    let texts: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for seed in 0..4_u32 {
        let cluster = cluster_of(&texts).await;
        let numbers = Numbers::default();
        let mut member = typed(&cluster, AcknowledgementMode::Implicit, &numbers).await;
        let (mut seen, mut round) = (Vec::new(), 0_u32);
        let work = async {
            while seen.len() < texts.len() {
                round += 1;
                let dice = round.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16;
                match round % 7 {
                    0 | 4 => {
                        let mut some = Vec::new();
                        let _ = polled(dice % 5, member.recv_many(&mut some)).await;
                        seen.extend(some.into_iter().map(|record| record.unwrap().offset()));
                    }
                    2 => {
                        if let Some(record) = polled(dice % 5, member.consumer().recv()).await {
                            seen.push(record.unwrap().offset());
                        }
                    }
                    // Each was made a batch of its own, so that this is one record, too.
                    5 => {
                        if let Some(batch) = polled(dice % 5, member.consumer().next_batch()).await {
                            seen.extend(batch.unwrap().records().map(|record| record.unwrap().offset));
                        }
                    }
                    _ => {
                        if let Some(record) = polled(dice % 5, member.recv()).await {
                            let record = record.unwrap();
                            assert_eq!(record.value.to_string().as_bytes(), record.record.value().unwrap());
                            seen.push(record.offset());
                        }
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        within(work).await;
        assert_eq!(seen, (0..40).collect::<Vec<i64>>());
        assert!(numbers.preparations.load(Ordering::SeqCst) <= 36, "each is prepared once at most");
        within(member.close()).await.unwrap();
    }
}

/// What is being read for the application was not handed out: a commit by anybody must not accept it.
#[tokio::test]
async fn a_record_that_is_being_read_is_not_accepted() {
    let cluster = cluster_of(&["1", "7"]).await;
    let mut member = typed(&cluster, AcknowledgementMode::Implicit, &Numbers::default()).await;
    assert_eq!(within(member.recv()).await.unwrap().value, 1);
    // Two polls: one to let the tasks come first, and one that begins.
    assert!(polled(2, member.recv()).await.is_none(), "it is being prepared");
    let results = within(member.commit()).await.unwrap();
    // The first may have been sent before.
    assert!(results.iter().all(|result| result.offsets == [(0, 0)] && result.result.is_ok()), "{results:?}");
    within(member.close()).await.unwrap();
    let mut next = typed(&cluster, AcknowledgementMode::Implicit, &Numbers::default()).await;
    let record = within(next.recv()).await.unwrap();
    assert_eq!(record.value, 7);
    within(next.close()).await.unwrap();
}
