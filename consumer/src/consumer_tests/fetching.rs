//! What is fetched: settings as brokers see them, damage, truncation, sessions and budgets.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_truncated_log_is_told_of_before_anything_more_is_read() {
    let broker = Broker::with(&[8]);
    let config = ConsumerConfig::new().auto_offset_reset(crate::OffsetReset::None);
    let mut consumer = consumer_with(&broker, config).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    while within(consumer.recv_until_end()).await.unwrap().is_some() {}
    *broker.ends.lock().unwrap() = vec![4];
    broker.epoch.store(1, Ordering::SeqCst);
    broker.append(0, 2);
    match within(consumer.recv()).await.unwrap_err() {
        ConsumerError::Partition { source, .. } => assert_eq!(
            source,
            PartitionError::LogTruncated { offset: 8, diverging_offset: Some(6), diverging_epoch: Some(0) }
        ),
        other => panic!("{other}"),
    }
    consumer.seek("t", 0, Start::Offset(6)).unwrap();
    broker.append(0, 2);
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 6);
}

// Shows: check.crcs.
#[tokio::test(start_paused = true)]
async fn a_damaged_batch_is_named_and_can_be_passed_by_a_seek_or_read_unchecked() {
    let broker = Broker::with(&[6]);
    *broker.corrupt.lock().unwrap() = Some((0, 2));
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 1);
    match within(consumer.recv()).await.unwrap_err() {
        ConsumerError::Partition { partition, source: PartitionError::Corrupt { offset: 2, .. } } => {
            assert_eq!(partition, TopicPartition::new("t", 0));
        }
        other => panic!("{other}"),
    }
    consumer.seek("t", 0, Start::Offset(4)).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 4);
    let mut trusting = consumer_with(&broker, ConsumerConfig::new().check_crcs(false)).await;
    trusting.assign([("t", 0, Start::Offset(2))]).unwrap();
    assert_eq!(within(trusting.recv()).await.unwrap().offset(), 2, "check.crcs=false looks at nothing");
}

// Shows: fetch.min.bytes, fetch.max.wait.ms, fetch.max.bytes, max.partition.fetch.bytes, max.poll.records, client.rack.
#[tokio::test(start_paused = true)]
async fn what_the_settings_of_fetching_say_is_what_brokers_are_asked() {
    let broker = Broker::with(&[6]);
    let config = ConsumerConfig::new()
        .isolation_level(IsolationLevel::ReadCommitted)
        .client_rack("rack-7".to_owned())
        .fetch_min_bytes(7)
        .fetch_max_wait(Duration::from_millis(321))
        .fetch_max_bytes(12_345_usize)
        .max_partition_fetch_bytes(1_234_usize)
        .max_poll_records(2_usize);
    let mut consumer = consumer_with(&broker, config).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    let mut records = Vec::new();
    assert_eq!(within(consumer.recv_many(&mut records)).await.unwrap(), 2);
    assert_eq!(within(consumer.recv_many(&mut records)).await.unwrap(), 2);
    while within(consumer.recv_until_end()).await.unwrap().is_some() {}
    clock::sleep(Duration::from_millis(5)).await;
    assert_eq!(*broker.asked.lock().unwrap(), (7, 321, 12_345, 1_234));
    assert_eq!(*broker.asked_as.lock().unwrap(), (1, "rack-7".to_owned()));
}

// Shows: max.decompressed.batch.bytes.
#[tokio::test(start_paused = true)]
async fn a_batch_that_unpacks_to_more_than_allowed_is_not_unpacked() {
    let broker = Broker::with(&[2]);
    broker.compresses.store(true, Ordering::SeqCst);
    for (limit, expected) in [(1_000_usize, Ok("0")), (10, Err(0))] {
        let mut consumer = consumer_with(&broker, ConsumerConfig::new().max_decompressed_batch_bytes(limit)).await;
        consumer.assign([("t", 0, Start::Beginning)]).unwrap();
        match (within(consumer.recv()).await, expected) {
            (Ok(record), Ok(value)) => assert_eq!(text(&record), value),
            (Err(ConsumerError::Partition { source: PartitionError::Corrupt { offset, .. }, .. }), Err(at)) => {
                assert_eq!(offset, at);
            }
            (got, _) => panic!("{limit}: {got:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_names_only_what_has_changed_and_its_loss_is_not_noticed() {
    let broker = Broker::with(&[2, 0, 0, 0]);
    let mut consumer = consumer(&broker).await;
    consumer.assign((0..4).map(|partition| ("t", partition, Start::Beginning))).unwrap();
    while within(consumer.recv_until_end()).await.unwrap().is_some() {}
    clock::sleep(Duration::from_secs(2)).await;
    let counts = || [&broker.fetches, &broker.named].map(|count| count.load(Ordering::Relaxed));
    let before = counts();
    clock::sleep(Duration::from_secs(60)).await;
    let after = counts();
    assert!(after[0] > before[0] + 50, "it goes on asking: {before:?} {after:?}");
    assert_eq!(after[1], before[1], "and names nothing that is as it was");
    for round in 0..10 {
        if round % 3 == 0 {
            *broker.session.lock().unwrap() = None;
        }
        broker.append(1, 2);
        for offset in [round * 2, round * 2 + 1] {
            let record = within(consumer.recv()).await.unwrap();
            assert_eq!((record.partition(), record.offset()), (1, offset));
        }
    }
    // The end is told where nothing but the position has changed, and of a partition that was away.
    consumer.seek("t", 1, Start::Offset(20)).unwrap();
    assert!(within(consumer.recv_until_end()).await.unwrap().is_none());
    consumer.pause([&TopicPartition::new("t", 0)]).unwrap();
    clock::sleep(Duration::from_secs(2)).await;
    consumer.resume([&TopicPartition::new("t", 0)]).unwrap();
    consumer.seek("t", 0, Start::Offset(2)).unwrap();
    assert!(within(consumer.recv_until_end()).await.unwrap().is_none());
}

// Shows: queued.max.bytes.
/// A partition whose records nobody takes fills the budget, and the others are read all the same.
#[tokio::test(start_paused = true)]
async fn a_full_budget_is_not_held_by_a_paused_partition() {
    let broker = Broker::with(&[400, 0]);
    let mut consumer = consumer_with(&broker, ConsumerConfig::new().queued_max_bytes(500_usize)).await;
    consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::Beginning)]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().partition(), 0);
    consumer.pause([&TopicPartition::new("t", 0)]).unwrap();
    for round in 0..50 {
        broker.append(1, 2);
        let record = within(consumer.recv()).await.unwrap();
        assert_eq!((record.partition(), record.offset()), (1, round * 2));
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), round * 2 + 1);
    }
    consumer.resume([&TopicPartition::new("t", 0)]).unwrap();
    for offset in 1..400 {
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), offset);
    }
}
