//! Reading from a replica nearby (KIP-392): as long as it has what is asked for, and from the leader else.

use super::*;

async fn reader(broker: &Arc<Broker>) -> Consumer {
    let config = ConsumerConfig::new().client_rack("here".to_owned()).auto_offset_reset(crate::OffsetReset::None);
    let mut consumer = consumer_with(broker, config).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    consumer
}

/// Reads these offsets, and tells which brokers gave them.
async fn read(broker: &Broker, consumer: &mut Consumer, offsets: std::ops::Range<i64>) -> Vec<i32> {
    for offset in offsets {
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), offset);
    }
    let mut nodes: Vec<i32> =
        std::mem::take(&mut *broker.served.lock().unwrap()).iter().map(|(node, _)| *node).collect();
    nodes.dedup();
    nodes
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_read_as_long_as_it_has_what_is_asked_for() {
    let broker = Broker::with(&[8]);
    broker.follow(6, false);
    let mut consumer = reader(&broker).await;
    assert_eq!(read(&broker, &mut consumer, 0..6).await, [2]);
    // It is behind the leader, and in time it is not.
    let begun = clock::now();
    assert!(polled_for(Duration::from_secs(3), consumer.recv()).await.is_none(), "it has no more yet");
    broker.follow(8, false);
    assert_eq!(read(&broker, &mut consumer, 6..8).await, [2]);
    // It comes back with less: its OFFSET_OUT_OF_RANGE is no reset and no error, for the leader has it all.
    broker.follow(2, false);
    broker.append(0, 2);
    assert_eq!(read(&broker, &mut consumer, 8..10).await, [1]);
    // The leader names it again, once it has caught up.
    broker.follow(10, false);
    clock::sleep(Duration::from_secs(2)).await;
    broker.append(0, 2);
    broker.follow(12, false);
    assert_eq!(read(&broker, &mut consumer, 10..12).await, [2]);
    // It is gone, and metadata knows it still.
    broker.follow(12, true);
    broker.append(0, 2);
    assert_eq!(read(&broker, &mut consumer, 12..14).await, [1]);
    assert!(clock::now() - begun < Duration::from_secs(30), "nothing was waited for: {:?}", clock::now() - begun);
    consumer.close().await.unwrap();
}

/// Waits for so long at most.
async fn polled_for<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

#[tokio::test(start_paused = true)]
async fn the_leader_is_asked_anew_after_a_while_and_after_each_election() {
    let broker = Broker::with(&[4]);
    broker.follow(4, false);
    let mut consumer = reader(&broker).await;
    assert_eq!(read(&broker, &mut consumer, 0..4).await, [2]);
    assert_eq!(broker.namings.load(Ordering::SeqCst), 1);
    clock::sleep(Duration::from_secs(200)).await;
    assert_eq!(broker.namings.load(Ordering::SeqCst), 1, "a preference lasts");
    clock::sleep(Duration::from_secs(150)).await;
    assert_eq!(broker.namings.load(Ordering::SeqCst), 2, "for metadata.max.age.ms");
    broker.epoch.store(1, Ordering::SeqCst);
    broker.append(0, 2);
    broker.follow(6, false);
    assert_eq!(read(&broker, &mut consumer, 4..6).await, [2]);
    assert_eq!(broker.namings.load(Ordering::SeqCst), 3, "the new leader says itself who is to be read");
    consumer.close().await.unwrap();
}

/// What was read from the replica is checked with each new leader, as what was read from a leader is.
#[tokio::test(start_paused = true)]
async fn a_truncation_is_told_of_also_where_a_replica_is_read() {
    let broker = Broker::with(&[8]);
    broker.follow(8, false);
    let mut consumer = reader(&broker).await;
    assert_eq!(read(&broker, &mut consumer, 0..8).await, [2]);
    *broker.ends.lock().unwrap() = vec![4];
    broker.epoch.store(1, Ordering::SeqCst);
    broker.append(0, 2);
    broker.follow(6, false);
    match within(consumer.recv()).await.unwrap_err() {
        ConsumerError::Partition { source, .. } => assert_eq!(
            source,
            PartitionError::LogTruncated { offset: 8, diverging_offset: Some(6), diverging_epoch: Some(0) }
        ),
        other => panic!("{other}"),
    }
    consumer.seek("t", 0, Start::Offset(6)).unwrap();
    broker.append(0, 2);
    broker.follow(8, false);
    assert_eq!(read(&broker, &mut consumer, 6..8).await, [2]);
}
