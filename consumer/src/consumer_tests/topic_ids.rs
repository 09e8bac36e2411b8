//! Offsets go by the ids of topics where both sides can (KIP-848), else by names.

use uuid::Uuid;

use super::*;
use crate::CommittedOffset;

async fn in_a_group(broker: &Arc<Broker>) -> Consumer {
    consumer_with(broker, ConsumerConfig::new().group_id("g").enable_auto_commit(false)).await
}

/// A broker of one partition with four records.
fn broker(id: Uuid, offsets_version: i16) -> Arc<Broker> {
    let broker = Broker::with(&[4]);
    *broker.topic_id.lock().unwrap() = id;
    broker.group.version.store(offsets_version, Ordering::SeqCst);
    broker
}

#[tokio::test(start_paused = true)]
async fn offsets_go_by_ids_where_both_sides_can() {
    let id = Uuid::from_u128(5);
    for (has_id, offsets_version, by_id) in [(true, 10, true), (true, 9, false), (false, 10, false)] {
        let broker = broker(if has_id { id } else { Uuid::nil() }, offsets_version);
        let mut consumer = in_a_group(&broker).await;
        consumer.assign([("t", 0, Start::Beginning)]).unwrap();
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
        within(consumer.commit()).await.unwrap();
        let place = TopicPartition::new("t", 0);
        let committed = within(consumer.committed(std::slice::from_ref(&place))).await.unwrap();
        assert_eq!(committed, [(place.clone(), Some(CommittedOffset::new(1)))]);
        // A topic of which nothing is known goes by its name, and takes the others along.
        let other = TopicPartition::new("elsewhere", 0);
        let offsets = [(place, CommittedOffset::new(2)), (other, CommittedOffset::new(3))];
        within(consumer.commit_offsets(offsets)).await.unwrap();
        let expected = |name: &str, by_id: bool| {
            if by_id { (10, String::new(), id) } else { (9, name.to_owned(), Uuid::nil()) }
        };
        let requests = std::mem::take(&mut *broker.group.requests.lock().unwrap());
        let (commit, fetch) = (expected("t", by_id), expected("t", by_id));
        assert_eq!(requests, [commit, fetch, expected("elsewhere", false), expected("t", false)]);
        // Where it is read from again, the answer is found by either.
        consumer.seek("t", 0, Start::Committed).unwrap();
        let offset = broker.group.committed.lock().unwrap()[&0];
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), offset);
    }
}

/// What is committed of a topic that was deleted fails, and is not taken for the topic that has its name now.
#[tokio::test(start_paused = true)]
async fn a_commit_for_a_topic_that_is_gone_ends_at_once() {
    let (old, new) = (Uuid::from_u128(5), Uuid::from_u128(6));
    let broker = broker(old, 10);
    let mut consumer = in_a_group(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
    broker.group.gone.lock().unwrap().push(old);
    // The coordinator has heard of it before the others: it may be only late with a new topic, and is asked again.
    let begun = clock::now();
    let commit = consumer.commit_async().unwrap();
    clock::sleep(Duration::from_secs(3)).await;
    *broker.topic_id.lock().unwrap() = new;
    // However the consumer learns of it.
    consumer.shared.refresh_metadata();
    clock::sleep(Duration::from_millis(1)).await;
    let error = within(commit).await.unwrap_err();
    let unknown = ErrorCode::UnknownTopicId;
    assert!(matches!(&error, ConsumerError::CommitRefused { code, .. } if *code == unknown), "{error}");
    assert!(clock::now() - begun < Duration::from_secs(10), "there is nothing to wait for");
    assert!(broker.group.committed.lock().unwrap().is_empty());
}

/// Between the collecting of offsets and their commit a topic is found to be another of the same name: the offsets are
/// those of the one that is gone, and must not become the other's.
#[tokio::test(start_paused = true)]
async fn offsets_are_of_the_topic_that_they_were_collected_of() {
    let (old, new) = (Uuid::from_u128(5), Uuid::from_u128(6));
    let broker = broker(old, 10);
    let mut consumer = in_a_group(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
    let collected = crate::driver::committer::committable(&consumer.shared, true);
    broker.group.gone.lock().unwrap().push(old);
    *broker.topic_id.lock().unwrap() = new;
    consumer.shared.refresh_metadata();
    while consumer.shared.lock().positions.topic_id("t") != Some(new) {
        clock::sleep(Duration::from_millis(1)).await;
    }
    let (reply, answer) = tokio::sync::oneshot::channel();
    let limit = Duration::from_secs(10);
    let order = crate::driver::committer::CommitOrder::new(collected, limit, Some(reply));
    consumer.shared.commits.send(order).unwrap();
    let error = within(answer).await.unwrap().unwrap_err();
    assert!(matches!(&error, ConsumerError::CommitRefused { .. } | ConsumerError::CommitOutdated { .. }), "{error}");
    assert!(broker.group.committed.lock().unwrap().is_empty());
}
