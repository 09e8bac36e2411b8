use std::time::Duration;

use rkafka::admin::{ErrorCode, ErrorKind, IsolationLevel, OffsetSpec, RecordsToDelete, TopicPartition};
use rkafka_testkit::{TestCluster, on_both};

use super::{admin, code, connect, write};

on_both! {
    async fn offsets_are_found_and_records_deleted(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let topic = cluster.topic("admin-offsets", 3, &[("message.timestamp.before.max.ms", "9223372036854775807")]).await;
        write(cluster, &topic, 0, 5).await;
        write(cluster, &topic, 1, 2).await;
        let partition = |number| TopicPartition::new(topic.as_str(), number);
        let find = async |spec| admin.list_offsets([(partition(0), spec)]).await.expect("an answer")
            .remove(&partition(0)).expect("an item").expect("an offset");
        assert_eq!(find(OffsetSpec::Earliest).await.offset, Some(0));
        assert_eq!(find(OffsetSpec::Latest).await.offset, Some(5));
        assert_eq!(find(OffsetSpec::EarliestLocal).await.offset, Some(0));
        let found = find(OffsetSpec::Timestamp(2_500)).await;
        assert_eq!((found.offset, found.timestamp, found.leader_epoch), (Some(2), Some(3_000), Some(0)));
        assert_eq!(find(OffsetSpec::Timestamp(5_001)).await.offset, None);
        let largest = find(OffsetSpec::MaxTimestamp).await;
        assert_eq!((largest.offset, largest.timestamp), (Some(4), Some(5_000)));

        let ask = [(partition(0), OffsetSpec::Latest), (partition(1), OffsetSpec::Earliest),
            (partition(2), OffsetSpec::MaxTimestamp), (partition(9), OffsetSpec::Latest),
            (TopicPartition::new("no-such-topic", 0), OffsetSpec::Latest)];
        // Soon, and not at the end of the time.
        let all = admin.list_offsets(ask).isolation_level(IsolationLevel::ReadCommitted).timeout(Duration::from_secs(600));
        let all = all.await.expect("an answer");
        let offset = |number| all[&partition(number)].as_ref().map(|found| found.offset).ok();
        assert_eq!((offset(0), offset(1), offset(2)), (Some(Some(5)), Some(Some(0)), Some(None)));
        assert_eq!(code(&all[&partition(9)]), Some(ErrorCode::UnknownTopicOrPartition));
        let missing = &all[&TopicPartition::new("no-such-topic", 0)];
        assert_eq!(code(missing), Some(ErrorCode::UnknownTopicOrPartition));
        assert_eq!(missing.as_ref().unwrap_err().partition(), Some(0));

        let ends = admin.list_leader_epoch_offsets([(partition(0), 0), (partition(2), 0)]).await.expect("an answer");
        let end = ends[&partition(0)].as_ref().expect("an end").expect("an epoch");
        assert_eq!((end.leader_epoch, end.end_offset), (0, 5));

        let which = [(partition(0), RecordsToDelete::Before(3)), (partition(1), RecordsToDelete::All),
            (partition(2), RecordsToDelete::Before(7))];
        let deleted = admin.delete_records(which).await.expect("an answer");
        assert_eq!(deleted[&partition(0)].as_ref().ok(), Some(&3));
        assert_eq!(deleted[&partition(1)].as_ref().ok(), Some(&2));
        assert_eq!(code(&deleted[&partition(2)]), Some(ErrorCode::OffsetOutOfRange));
        assert_eq!(find(OffsetSpec::Earliest).await.offset, Some(3));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_is_waited_for_and_then_given_up() {
    let cluster = TestCluster::builder().topic("away", 1).on_disk().start().await;
    let admin = connect(&cluster.bootstrap()).await;
    let ends = || admin.list_offsets([(TopicPartition::new("away", 0), OffsetSpec::Latest)]);
    ends().await.expect("an answer");
    cluster.stop().await;
    let error = ends().timeout(Duration::from_millis(300)).await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let (answer, ()) = tokio::join!(ends().into_future(), cluster.start_again());
    answer.expect("an answer").into_values().for_each(|found| assert_eq!(found.expect("an offset").offset, Some(0)));
}
