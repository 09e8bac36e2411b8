//! Where reading can begin, and how it can be moved.

use rkafka::consumer::ConsumerError;
use rkafka::consumer::{Consumer, OffsetReset, PartitionError, Start, TopicPartition};
use rkafka::producer::Record;
use rkafka_testkit::{Cluster, on_both};

use crate::support::{consumer_config, in_time, next, next_values, producer, reader, value_text};

const FIRST_MS: i64 = 1_700_000_000_000;

/// A topic with one partition and the records 0 to 99, a second apart.
async fn hundred(cluster: &Cluster) -> String {
    let topic = cluster.topic("hundred", 1, &[("retention.ms", "-1")]).await;
    let producer = producer(&cluster.bootstrap()).await;
    for number in 0..100 {
        let record = Record::to(&topic).timestamp(FIRST_MS + number * 1000);
        drop(producer.send(record.value(&number.to_string())).await.expect("accepted"));
        if number % 10 == 9 {
            // Ten batches.
            in_time("the flush", producer.flush()).await;
        }
    }
    topic
}

on_both! {
    async fn reading_begins_where_it_is_told(cluster: &Cluster) {
        let topic = hundred(cluster).await;
        for (start, first) in [
            (Start::Beginning, 0),
            (Start::Offset(0), 0),
            (Start::Offset(57), 57),
            (Start::Timestamp(FIRST_MS + 41_001), 42),
            (Start::Timestamp(FIRST_MS + 42_000), 42),
            (Start::Timestamp(0), 0),
            (Start::RelativeToEnd(-10), 90),
            (Start::RelativeToEnd(-1000), 0),
        ] {
            let mut consumer = reader(&cluster.bootstrap(), &topic, 1, start).await;
            for number in first..100 {
                let record = next(&mut consumer).await;
                assert_eq!((record.offset(), value_text(&record)), (number, number.to_string()), "{start}");
            }
            let more = in_time("the end", consumer.recv_until_end()).await.expect("no error");
            assert!(more.is_none(), "{start}: {more:?}");
            assert_eq!(consumer.position(&topic, 0).expect("assigned"), Some(100));
        }
        for start in [Start::End, Start::Offset(100), Start::RelativeToEnd(0), Start::Timestamp(FIRST_MS + 99_001)] {
            let mut consumer = reader(&cluster.bootstrap(), &topic, 1, start).await;
            let more = in_time("the end", consumer.recv_until_end()).await.expect("no error");
            assert!(more.is_none(), "{start}: {more:?}");
        }
    }
}

on_both! {
    async fn a_reader_at_the_end_gets_what_comes(cluster: &Cluster) {
        let topic = hundred(cluster).await;
        let mut consumer = reader(&cluster.bootstrap(), &topic, 1, Start::End).await;
        assert!(in_time("the end", consumer.recv_until_end()).await.expect("no error").is_none());
        let producer = producer(&cluster.bootstrap()).await;
        drop(producer.send(Record::to(&topic).value("new")).await.expect("accepted"));
        let record = next(&mut consumer).await;
        assert_eq!((record.offset(), value_text(&record)), (100, "new".to_owned()));
    }
}

on_both! {
    async fn seeks_move_and_pauses_stop(cluster: &Cluster) {
        let topic = hundred(cluster).await;
        let mut consumer = reader(&cluster.bootstrap(), &topic, 1, Start::Beginning).await;
        assert_eq!(next_values(&mut consumer, 2).await, ["0", "1"]);
        for (start, first) in [(Start::Offset(70), "70"), (Start::Beginning, "0"), (Start::RelativeToEnd(-3), "97")] {
            consumer.seek(&topic, 0, start).expect("assigned");
            assert_eq!(next_values(&mut consumer, 1).await, [first]);
        }
        consumer.seek(&topic, 0, Start::Offset(5)).expect("assigned");
        let partition = TopicPartition::new(topic.as_str(), 0);
        consumer.pause([&partition]).expect("assigned");
        assert_eq!(consumer.paused(), std::slice::from_ref(&partition));
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(300), consumer.recv()).await;
        assert!(nothing.is_err(), "a paused partition gives nothing: {nothing:?}");
        consumer.resume([&partition]).expect("assigned");
        assert_eq!(next_values(&mut consumer, 2).await, ["5", "6"]);
        assert!(consumer.seek(&topic, 1, Start::Beginning).is_err(), "partition 1 is not assigned");
    }
}

on_both! {
    async fn offsets_can_be_asked_for(cluster: &Cluster) {
        let topic = hundred(cluster).await;
        let consumer = reader(&cluster.bootstrap(), &topic, 1, Start::End).await;
        let partition = TopicPartition::new(topic.as_str(), 0);
        let asked = [partition.clone()];
        let first = in_time("offsets", consumer.beginning_offsets(&asked)).await.expect("offsets");
        assert_eq!(first, [(partition.clone(), 0)]);
        let end = in_time("offsets", consumer.end_offsets(&asked)).await.expect("offsets");
        assert_eq!(end, [(partition.clone(), 100)]);
        let times = [(partition.clone(), FIRST_MS + 30_500), (partition.clone(), FIRST_MS + 99_500)];
        for (time, expected) in times.iter().zip([Some((31, FIRST_MS + 31_000)), None]) {
            let found = in_time("offsets", consumer.offsets_for_times(std::slice::from_ref(time))).await.expect("offsets");
            let found: Vec<_> = found.into_iter().map(|(_, found)| found.map(|at| (at.offset, at.timestamp))).collect();
            assert_eq!(found, [expected]);
        }
        let newest = in_time("offsets", consumer.max_timestamp_offsets(&asked)).await.expect("offsets");
        let newest: Vec<_> = newest.into_iter().map(|(_, found)| found.map(|at| (at.offset, at.timestamp))).collect();
        assert_eq!(newest, [Some((99, FIRST_MS + 99_000))]);
        let local = in_time("offsets", consumer.earliest_local_offsets(&asked)).await.expect("offsets");
        assert_eq!(local, [(partition.clone(), 0)]);
        let tiered = in_time("offsets", consumer.latest_tiered_offsets(&asked)).await.expect("offsets");
        assert_eq!(tiered, [(partition, None)]);
    }
}

on_both! {
    // Shows: auto.offset.reset.
    async fn an_offset_that_is_not_there_is_reset_as_set(cluster: &Cluster) {
        let topic = hundred(cluster).await;
        for (reset, first) in [(OffsetReset::Earliest, Some("0")), (OffsetReset::Latest, None)] {
            let config = consumer_config(&cluster.bootstrap()).auto_offset_reset(reset);
            let mut consumer = Consumer::connect(config).await.expect("a consumer");
            consumer.assign([(topic.as_str(), 0, Start::Offset(5_000))]).expect("assigned");
            let record = in_time("the end", consumer.recv_until_end()).await.expect("no error");
            assert_eq!(record.as_ref().map(value_text).as_deref(), first, "{reset:?}");
        }
        let config = consumer_config(&cluster.bootstrap()).auto_offset_reset(OffsetReset::None);
        let mut consumer = Consumer::connect(config).await.expect("a consumer");
        consumer.assign([(topic.as_str(), 0, Start::Offset(5_000))]).expect("assigned");
        match in_time("the error", consumer.recv()).await {
            Err(ConsumerError::Partition { source: PartitionError::OffsetOutOfRange { offset: 5_000 }, .. }) => {}
            other => panic!("not out of range: {other:?}"),
        }
        consumer.seek(&topic, 0, Start::Offset(99)).expect("assigned");
        assert_eq!(next_values(&mut consumer, 1).await, ["99"], "a seek mends it");
    }
}
