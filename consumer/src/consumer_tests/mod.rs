//! The whole consumer against a broker in a few lines, over streams in memory: what a dropped future must not lose.

mod broker;
mod coordinator;
mod fetching;
mod followers;
mod hooks;
mod known_sicknesses;
mod last_commits;
mod topic_ids;

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use rkafka_client_core::ClientSettings;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::{BatchOptions, encode_batch};

use super::*;
use crate::config::IsolationLevel;
use crate::error::PartitionError;
use crate::shared::{Mode, Subscription};
use crate::subscription::{Start, TopicPartition};

use broker::*;

#[tokio::test(start_paused = true)]
async fn a_dropped_future_loses_nothing_and_doubles_nothing() {
    let broker = Broker::with(&[0]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    let mut seen = Vec::new();
    for round in 0..200 {
        if round % 3 == 0 {
            broker.append(0, 2);
        }
        // Polled so many times, then dropped: at every point where the future can be dropped.
        let mut polls = round % 7;
        tokio::select! {
            biased;
            record = consumer.recv() => seen.push(text(&record.unwrap())),
            () = std::future::poll_fn(|context| {
                if polls == 0 { return Poll::Ready(()); }
                polls -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }) => {}
        }
    }
    while let Some(record) = within(consumer.recv_until_end()).await.unwrap() {
        seen.push(text(&record));
    }
    assert_eq!(seen, (0..134).map(|offset| offset.to_string()).collect::<Vec<_>>());
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn faces_may_be_mixed() {
    let broker = Broker::with(&[6]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Offset(1))]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 1);
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 2);
    let batch = within(consumer.next_batch()).await.unwrap();
    assert_eq!(batch.records().map(|record| record.unwrap().offset).collect::<Vec<_>>(), [3]);
    assert_eq!(consumer.position("t", 0).unwrap(), Some(4));
    let mut records = Vec::new();
    assert_eq!(within(consumer.recv_many(&mut records)).await.unwrap(), 2);
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_none());
    assert_eq!(consumer.lag("t", 0), Some(0));
}

#[tokio::test(start_paused = true)]
async fn the_end_is_told_at_once_also_of_an_empty_partition() {
    let broker = Broker::with(&[2, 0]);
    let mut consumer = consumer(&broker).await;
    let begun = clock::now();
    consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::Beginning)]).unwrap();
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_some());
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_none());
    assert!(clock::now() - begun < Duration::from_millis(100), "without waiting for a long poll");
}

#[tokio::test(start_paused = true)]
async fn a_seek_does_not_wait_behind_the_long_poll_of_others() {
    let broker = Broker::with(&[4, 0]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::End), ("t", 1, Start::End)]).unwrap();
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_none());
    clock::sleep(Duration::from_millis(5)).await;
    let begun = clock::now();
    consumer.seek("t", 0, Start::Offset(2)).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 2);
    assert!(clock::now() - begun < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_paused_partition_stops_no_other_and_goes_on_where_it_was() {
    let broker = Broker::with(&[4, 4]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::Beginning)]).unwrap();
    let first = within(consumer.recv()).await.unwrap();
    let paused = TopicPartition::new(first.topic(), first.partition());
    consumer.pause([&paused]).unwrap();
    for offset in 0..4 {
        let record = within(consumer.recv()).await.unwrap();
        assert_eq!((record.partition(), record.offset()), (1 - first.partition(), offset));
    }
    assert!(within(consumer.recv_until_end()).await.unwrap().is_none());
    consumer.resume([&paused]).unwrap();
    for offset in 1..4 {
        let record = within(consumer.recv()).await.unwrap();
        assert_eq!((record.partition(), record.offset()), (first.partition(), offset));
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_are_answered_and_unknown_topics_told() {
    let broker = Broker::with(&[4]);
    let mut consumer = consumer(&broker).await;
    let place = TopicPartition::new("t", 0);
    let ends = within(consumer.end_offsets(std::slice::from_ref(&place))).await.unwrap();
    assert_eq!(ends, [(place.clone(), 4)]);
    let error = within(consumer.max_timestamp_offsets(std::slice::from_ref(&place))).await.unwrap_err().to_string();
    assert!(error.contains("ListOffsets 7, and it knows 5"), "a broker that is too old: {error}");
    assert!(matches!(consumer.commit().await, Err(ConsumerError::NoGroup { .. })));
    assert!(matches!(consumer.seek("t", 0, Start::End), Err(ConsumerError::NotAssigned { .. })));
    consumer.assign([("nowhere", 0, Start::Beginning)]).unwrap();
    let error = within(consumer.recv()).await.unwrap_err();
    assert!(matches!(&error, ConsumerError::UnknownTopicOrPartition { .. }), "{error}");
    let handle = consumer.handle();
    consumer.close().await.unwrap();
    assert!(matches!(handle.seek("t", 0, Start::End), Err(ConsumerError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn an_application_that_never_waits_lets_its_tasks_run() {
    let broker = Broker::with(&[100_000]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    for offset in 0..2_000 {
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), offset);
    }
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

#[tokio::test(start_paused = true)]
async fn dropped_futures_of_every_face_lose_nothing() {
    use std::future::poll_fn;
    let broker = Broker::with(&[0]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    let mut seen = Vec::new();
    for round in 0..400_u32 {
        if round % 3 == 0 {
            broker.append(0, 2);
        }
        let polls = round % 7;
        match round % 8 {
            0 => {
                if let Some(batch) = polled(polls, consumer.next_batch()).await {
                    seen.extend(batch.unwrap().records().map(|record| record.unwrap().offset));
                }
            }
            1 => {
                if let Some(Some(batch)) = polled(polls, consumer.next_batch_until_end()).await.map(Result::unwrap) {
                    seen.extend(batch.records().map(|record| record.unwrap().offset));
                }
            }
            2 => {
                let mut records = Vec::new();
                // What was handed out before the drop is in the caller's list.
                let _ = polled(polls, consumer.recv_many(&mut records)).await;
                seen.extend(records.iter().map(ConsumerRecord::offset));
            }
            3 => {
                let next = poll_fn(|context| Pin::new(&mut consumer).poll_next(context));
                if let Some(Some(record)) = polled(polls, next).await {
                    seen.push(record.unwrap().offset());
                }
            }
            4 => {
                let mut batches = consumer.batches();
                let next = poll_fn(|context| Pin::new(&mut batches).poll_next(context));
                if let Some(Some(batch)) = polled(polls, next).await {
                    seen.extend(batch.unwrap().records().map(|record| record.unwrap().offset));
                }
            }
            5 => {
                seen.extend(consumer.try_recv().unwrap().map(|record| record.offset()));
                if let Some(batch) = consumer.try_next_batch().unwrap() {
                    seen.extend(batch.records().map(|record| record.unwrap().offset));
                }
            }
            6 => {
                if let Some(Some(record)) = polled(polls, consumer.recv_until_end()).await.map(Result::unwrap) {
                    seen.push(record.offset());
                }
            }
            _ => {
                if let Some(record) = polled(polls, consumer.recv()).await {
                    seen.push(record.unwrap().offset());
                }
            }
        }
    }
    // The end is that of the last fetch.
    clock::sleep(Duration::from_secs(1)).await;
    while let Some(record) = within(consumer.recv_until_end()).await.unwrap() {
        seen.push(record.offset());
    }
    assert_eq!(seen, (0..268).collect::<Vec<_>>());
    let handle = consumer.handle();
    assert!(polled(0, consumer.close()).await.is_none(), "dropped in the middle");
    within(async {
        while !matches!(handle.seek("t", 0, Start::End), Err(ConsumerError::Closed)) {
            clock::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_of_the_second_connection_is_not_left_there() {
    let broker = Broker::with(&[4, 4]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::End), ("t", 1, Start::End)]).unwrap();
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_none());
    clock::sleep(Duration::from_millis(5)).await;
    // Partition 1 goes over the second connection, for the first waits with partition 0, which is then paused.
    consumer.seek("t", 1, Start::Offset(2)).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 2);
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 3);
    let zero = TopicPartition::new("t", 0);
    consumer.pause([&zero]).unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(5), consumer.recv()).await;
    broker.append(1, 2);
    let record = tokio::time::timeout(Duration::from_secs(5), consumer.recv()).await.expect("it is fetched").unwrap();
    assert_eq!((record.partition(), record.offset()), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn damage_in_one_partition_stops_no_other() {
    let broker = Broker::with(&[20, 0]);
    let one = encode_batch(Vec::new(), BatchOptions::default(), 0, [(None, Some(&b"0"[..])), (None, Some(&b"1"[..]))]);
    let size = one.unwrap().into_bytes().len();
    for budget in 1..16 {
        *broker.corrupt.lock().unwrap() = Some((0, 2));
        let config = ConsumerConfig::new().queued_max_bytes(size * budget / 2 + 1);
        let mut consumer = consumer_with(&broker, config).await;
        consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::End)]).unwrap();
        clock::sleep(Duration::from_secs(2)).await;
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), 1);
        let error = within(consumer.recv()).await.unwrap_err();
        assert!(matches!(error, ConsumerError::Partition { .. }), "{error}");
        clock::sleep(Duration::from_secs(2)).await;
        broker.append(1, 2);
        let next = tokio::time::timeout(Duration::from_secs(10), consumer.recv()).await;
        assert_eq!(next.expect("the other goes on").unwrap().partition(), 1, "budget {budget}");
        consumer.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_are_told_and_an_assignment_can_be_given_up() {
    let broker = Broker::with(&[4, 0, 2]);
    let mut consumer = consumer(&broker).await;
    let partitions = within(consumer.partitions_for("t")).await.unwrap();
    assert_eq!(partitions.iter().map(|place| place.partition).collect::<Vec<_>>(), [0, 1, 2]);
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
    within(consumer.unsubscribe()).await.unwrap();
    assert!(consumer.assignment().is_empty());
    consumer.assign([("t", 2, Start::Beginning)]).unwrap();
    let record = within(consumer.recv()).await.unwrap();
    assert_eq!((record.partition(), record.offset()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_an_older_generation_is_not_made_in_a_newer_one() {
    let broker = Broker::with(&[4]);
    let consumer = consumer_with(&broker, ConsumerConfig::new().group_id("g").enable_auto_commit(false)).await;
    {
        let mut state = consumer.shared.lock();
        state.mode = Mode::Group(Subscription::to(["t"]));
        state.identity = Some((1, "m".to_owned()));
    }
    let place = TopicPartition::new("t", 0);
    let commit = consumer.commit_offsets([(place, crate::CommittedOffset::new(2))]);
    let mut commit = std::pin::pin!(commit);
    assert!(std::future::poll_fn(|context| Poll::Ready(commit.as_mut().poll(context).is_pending())).await);
    // It was ordered; before it is sent the group goes on, and the partition may be another's.
    consumer.shared.lock().identity = Some((2, "m".to_owned()));
    let error = within(commit).await.unwrap_err();
    let outdated = ErrorCode::IllegalGeneration;
    assert!(matches!(error, ConsumerError::CommitOutdated { code } if code == outdated), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_twice_after_a_pause_is_counted_once_and_lag_is_as_of_now() {
    let broker = Broker::with(&[8]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Offset(1))]).unwrap();
    let place = TopicPartition::new("t", 0);
    let value = |handle: &ConsumerHandle, name| handle.metrics().value(name, "consumer-fetch-manager-metrics").unwrap();
    let handle = consumer.handle();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 1);
    let record = within(consumer.recv()).await.unwrap();
    assert_eq!((record.offset(), value(&handle, "records-consumed-total")), (2, 1.0), "the first answer is used up");
    // The batch of 2 and 3 is put back in its middle, and given on later.
    consumer.pause([&place]).unwrap();
    assert!(within(consumer.recv_until_end()).await.unwrap().is_none());
    consumer.resume([&place]).unwrap();
    assert_eq!(value(&handle, "records-lag"), 5.0);
    while within(consumer.recv_until_end()).await.unwrap().is_some() {}
    assert_eq!(value(&handle, "records-consumed-total"), 7.0);
    assert_eq!((value(&handle, "records-lag-max"), value(&handle, "records-lag")), (6.0, 0.0));
    assert_eq!(value(&handle, "records-per-request-avg"), 7.0 / 4.0);
}

/// Kafka's coordinator answers nothing to the SyncGroup of a member that it drops.
#[tokio::test(start_paused = true)]
async fn a_sync_group_that_is_never_answered_takes_no_longer_than_request_timeout_ms() {
    let broker = Broker::with(&[2]);
    broker.group.version.store(8, Ordering::SeqCst);
    broker.group.never_syncs.store(true, Ordering::SeqCst);
    let config = ConsumerConfig::new().group_id("g".to_owned()).request_timeout(Duration::from_secs(10));
    let mut consumer = consumer_with(&broker, config).await;
    consumer.subscribe(["t"]).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(8), consumer.recv()).await.is_err(), "it waits for the leader");
    assert_eq!(broker.group.generation.load(Ordering::SeqCst), 1);
    assert!(tokio::time::timeout(Duration::from_secs(8), consumer.recv()).await.is_err(), "it waits for the leader");
    assert_eq!(broker.group.generation.load(Ordering::SeqCst), 2, "it joins again");
}
