use rkafka::admin::{ConfigSource, ErrorCode, NewPartitions, NewTopic};
use rkafka_testkit::on_both;
use uuid::Uuid;

use super::{admin, code, comes};

on_both! {
    async fn topics_come_grow_and_go(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let (one, two, there) = (cluster.unique("admin"), cluster.unique("admin"), cluster.topic("admin", 1, &[]).await);
        let new = [
            NewTopic::new(&one).partitions(3).replication_factor(1).config("retention.ms", "3600000"),
            NewTopic::new(&two).assignments(vec![vec![1], vec![1]]),
            NewTopic::new(&there),
        ];
        let mut checked = admin.create_topics(&new).validate_only(true).await.expect("an answer");
        assert_eq!(checked.remove(&one).unwrap().expect("valid").partitions, Some(3));
        assert_eq!(code(&checked.remove(&there).unwrap()), Some(ErrorCode::TopicAlreadyExists));
        assert!(!admin.list_topics().await.expect("topics").iter().any(|topic| topic.name == one), "only validated");

        let mut created = admin.create_topics(&new).await.expect("an answer");
        let first = created.remove(&one).unwrap().expect("created");
        assert_eq!((first.partitions, first.replication_factor), (Some(3), Some(1)));
        let configs = first.configs.expect("settings");
        let retention = configs.iter().find(|config| config.name == "retention.ms").expect("a setting");
        assert_eq!((retention.value.as_deref(), retention.source), (Some("3600000"), ConfigSource::Topic));
        assert_eq!(created.remove(&two).unwrap().expect("created").partitions, Some(2));
        let error = created.remove(&there).unwrap().expect_err("there already");
        assert_eq!((error.code(), error.topic()), (Some(ErrorCode::TopicAlreadyExists), Some(there.as_str())));

        let id = first.id.expect("an id");
        let names = [one.as_str(), there.as_str(), "no-such-topic"];
        let mut described = comes("the topics", || admin.describe_topics(names).into_future(), |all| {
            all.get(&one).is_some_and(|topic| topic.as_ref().is_ok_and(|topic| topic.partitions.len() == 3))
        }).await;
        assert_eq!(code(&described.remove("no-such-topic").unwrap()), Some(ErrorCode::UnknownTopicOrPartition));
        let topic = described.remove(&one).unwrap().expect("described");
        assert_eq!((topic.id, topic.internal, topic.authorized_operations), (Some(id), false, None));
        let last = &topic.partitions[2];
        assert_eq!((last.partition, last.leader, &last.replicas, &last.in_sync_replicas), (2, Some(1), &vec![1], &vec![1]));
        assert_eq!(last.eligible_leader_replicas, Some(Vec::new()));

        // Two partitions a page: three pages of the one topic and the other.
        let paged = admin.describe_topics(names).partition_limit_per_response(2).include_authorized_operations(true);
        let paged = paged.await.expect("described");
        let topic = paged[&one].as_ref().expect("described");
        assert_eq!(topic.partitions.iter().map(|one| one.partition).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(topic.authorized_operations.is_some());
        assert!(paged[&there].is_ok() && paged["no-such-topic"].is_err());
        let stranger = Uuid::from_u128(77);
        let mut by_id = admin.describe_topics_by_id([id, stranger]).await.expect("described");
        assert_eq!(by_id.remove(&id).unwrap().expect("described").name, one);
        assert_eq!(code(&by_id.remove(&stranger).unwrap()), Some(ErrorCode::UnknownTopicId));

        let grow = || [
            (one.as_str(), NewPartitions::increase_to(5)),
            (two.as_str(), NewPartitions::increase_to(3).assignments(vec![vec![1]])),
            (there.as_str(), NewPartitions::increase_to(1)),
            ("no-such-topic", NewPartitions::increase_to(9)),
        ];
        let checked = admin.create_partitions(grow()).validate_only(true).await.expect("an answer");
        assert!(checked[&one].is_ok() && checked[&two].is_ok());
        let grown = admin.create_partitions(grow()).await.expect("an answer");
        assert!(grown[&one].is_ok() && grown[&two].is_ok(), "{grown:?}");
        assert_eq!(code(&grown[&there]), Some(ErrorCode::InvalidPartitions));
        assert_eq!(code(&grown["no-such-topic"]), Some(ErrorCode::UnknownTopicOrPartition));
        comes("five partitions", || admin.list_topics().into_future(), |topics| {
            topics.iter().any(|topic| topic.name == one && topic.partitions == 5)
        }).await;

        let gone = admin.delete_topics([&one, "no-such-topic"]).await.expect("an answer");
        assert!(gone[&one].is_ok());
        assert_eq!(code(&gone["no-such-topic"]), Some(ErrorCode::UnknownTopicOrPartition));
        let id = admin.describe_topics([&two]).await.expect("described")[&two].as_ref().expect("described").id.expect("an id");
        let gone = admin.delete_topics_by_id([id, stranger]).await.expect("an answer");
        assert!(gone[&id].is_ok());
        assert_eq!(code(&gone[&stranger]), Some(ErrorCode::UnknownTopicId));
        comes("they are gone", || admin.list_topics().into_future(), |topics| {
            !topics.iter().any(|topic| topic.name == one || topic.name == two)
        }).await;
        assert!(admin.create_topics(&[] as &[NewTopic]).await.expect("nothing to do").is_empty());
    }
}
