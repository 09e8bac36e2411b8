use std::collections::BTreeSet;
use std::time::Duration;

use rkafka::admin::{CommittedOffset, ConfigChange, ConfigResource, ErrorCode, TopicPartition};
use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ShareConsumer, ShareConsumerConfig};
use rkafka_testkit::on_both;

use super::{admin, code, comes, write};
use crate::support::{consumer_config, in_time};

on_both! {
    async fn committed_offsets_are_listed_altered_and_deleted(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let (group, topic) = (cluster.unique("admin-offsets"), cluster.topic("admin-offsets", 3, &[]).await);
        let partition = |number| TopicPartition::new(topic.as_str(), number);
        let offsets = [
            (partition(0), CommittedOffset::new(7).with_metadata("by hand").with_leader_epoch(Some(0))),
            (partition(1), CommittedOffset::new(0)),
            (TopicPartition::new("no-such-topic", 0), CommittedOffset::new(1)),
        ];
        let set = admin.alter_consumer_group_offsets(&group, offsets.clone()).await.expect("an answer");
        assert!(set[&partition(0)].is_ok() && set[&partition(1)].is_ok(), "{set:?}");
        let missing = &set[&TopicPartition::new("no-such-topic", 0)];
        assert_eq!(code(missing), Some(ErrorCode::UnknownTopicOrPartition));

        let wanted = vec![partition(0), partition(2)];
        let ask = [(group.as_str(), None), ("nobody-committed", Some(wanted.clone()))];
        let mut listed = admin.list_consumer_group_offsets(ask).require_stable(true).await.expect("an answer");
        let of_group = listed.remove(&group).unwrap().expect("offsets");
        assert_eq!(of_group.len(), 2, "{of_group:?}");
        assert_eq!(of_group[&partition(0)].as_ref().ok(), Some(&Some(offsets[0].1.clone())));
        let of_nobody = listed.remove("nobody-committed").unwrap().expect("offsets");
        assert_eq!(of_nobody.len(), 2);
        assert!(of_nobody.values().all(|offset| matches!(offset, Ok(None))), "{of_nobody:?}");

        let deleted = admin.delete_consumer_group_offsets(&group, [partition(0)]).await.expect("an answer");
        assert!(deleted[&partition(0)].is_ok());
        let listed = admin.list_consumer_group_offsets([(group.as_str(), None)]).await.expect("an answer");
        assert_eq!(listed[&group].as_ref().expect("offsets").keys().collect::<Vec<_>>(), [&partition(1)]);
        let error = admin.delete_consumer_group_offsets("no-such-group", [partition(0)]).await;
        assert_eq!(code(&error), Some(ErrorCode::GroupIdNotFound));

        // With a member the group decides for itself.
        let mut consumer = Consumer::connect(consumer_config(&cluster.bootstrap()).group_id(group.clone())).await.expect("a consumer");
        consumer.subscribe([topic.as_str()]).expect("subscribed");
        while consumer.assignment().is_empty() {
            drop(tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await);
        }
        let refused = admin.alter_consumer_group_offsets(&group, offsets).await.expect("an answer");
        assert_eq!(code(&refused[&partition(0)]), Some(ErrorCode::UnknownMemberId));
        let refused = admin.delete_consumer_group_offsets(&group, [partition(1)]).await.expect("an answer");
        assert_eq!(code(&refused[&partition(1)]), Some(ErrorCode::GroupSubscribedToTopic));
        in_time("the close", consumer.close()).await.expect("closed");
    }
}

on_both! {
    async fn offsets_of_share_groups(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let (group, topic) = (cluster.unique("admin-share"), cluster.topic("admin-share", 1, &[]).await);
        write(cluster, &topic, 0, 10).await;
        let partition = TopicPartition::new(topic.as_str(), 0);
        let set = [(ConfigResource::group(&group), [("share.auto.offset.reset", ConfigChange::Set("earliest".into()))])];
        assert!(admin.incremental_alter_configs(set).await.expect("an answer").values().all(Result::is_ok));
        let config = ShareConsumerConfig::new().bootstrap_servers(cluster.bootstrap()).group_id(group.clone());
        let mut consumer = in_time("a consumer", ShareConsumer::connect(config)).await.expect("a consumer");
        consumer.subscribe([topic.as_str()]).expect("subscribed");
        in_time("a record", consumer.recv()).await.expect("a record");

        let described = comes("the group", || admin.describe_share_groups([&group]).into_future(), |all| {
            all[&group].as_ref().is_ok_and(|group| group.members.first().is_some_and(|one| !one.assignment.is_empty()))
        }).await;
        let description = described[&group].as_ref().expect("described");
        assert_eq!(description.members[0].assignment, BTreeSet::from([partition.clone()]));
        assert_eq!((description.coordinator, description.assignor.as_str()), (Some(1), "simple"));
        assert_eq!(code(&admin.alter_share_group_offsets(&group, [(partition.clone(), 4)]).await), Some(ErrorCode::NonEmptyGroup));
        in_time("the close", consumer.close()).await.expect("closed");

        let altered = comes("the offset is set", || {
            admin.alter_share_group_offsets(&group, [(partition.clone(), 4)]).into_future()
        }, |all| all[&partition].is_ok()).await;
        assert_eq!(altered.len(), 1);
        let ask = || [(group.as_str(), Some(vec![partition.clone()])), ("no-such-group", None)];
        let listed = comes("the offset", || admin.list_share_group_offsets(ask()).into_future(), |all| {
            all[&group].as_ref().is_ok_and(|offsets| matches!(&offsets[&partition], Ok(Some(at)) if at.start_offset == 4))
        }).await;
        // That it is not there is not said.
        assert!(listed["no-such-group"].as_ref().is_ok_and(|offsets| offsets.is_empty()), "{listed:?}");
        let deleted = admin.delete_share_group_offsets(&group, [topic.as_str(), "no-such-topic"]).await.expect("an answer");
        assert!(deleted[&topic].is_ok(), "{deleted:?}");
        assert_eq!(code(&deleted["no-such-topic"]), Some(ErrorCode::UnknownTopicOrPartition));
        let gone = admin.delete_groups([&group]).await.expect("an answer");
        assert!(gone[&group].is_ok(), "{gone:?}");
    }
}
