use std::collections::BTreeSet;
use std::time::Duration;

use rkafka::admin::{ErrorCode, GroupState, GroupType, MemberToRemove, TopicPartition};
use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, GroupProtocol};
use rkafka_testkit::on_both;

use super::{admin, code, comes};
use crate::support::{consumer_config, in_time};

fn config(bootstrap: &str, group: &str, protocol: GroupProtocol) -> ConsumerConfig {
    consumer_config(bootstrap)
        .group_id(group.to_owned())
        .group_protocol(protocol)
        .client_id(format!("client-of-{group}"))
}

/// A member that has its partitions.
async fn member(config: ConsumerConfig, topic: &str) -> Consumer {
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.subscribe([topic]).expect("subscribed");
    while consumer.assignment().is_empty() {
        drop(tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await);
    }
    consumer
}

on_both! {
    async fn groups_of_every_kind_are_listed_and_described(cluster: &Cluster) {
        let (admin, bootstrap) = (admin(cluster).await, cluster.bootstrap());
        let topic = cluster.topic("admin-groups", 2, &[]).await;
        let (classic, modern) = (cluster.unique("classic"), cluster.unique("modern"));
        let one = config(&bootstrap, &classic, GroupProtocol::Classic).group_instance_id("static".to_owned());
        let one = in_time("a member", member(one, &topic)).await;
        let two = in_time("a member", member(config(&bootstrap, &modern, GroupProtocol::Consumer), &topic)).await;
        let all: BTreeSet<TopicPartition> = [0, 1].map(|number| TopicPartition::new(topic.as_str(), number)).into();

        let listed = comes("both groups", || admin.list_groups().into_future(), |listed| {
            [&classic, &modern].iter().all(|id| listed.groups.iter().any(|group| group.group_id == **id))
        }).await;
        assert!(listed.errors.is_empty(), "{listed:?}");
        let of = |id: &str| listed.groups.iter().find(|group| group.group_id == id).expect("listed");
        assert_eq!((of(&classic).kind, of(&modern).kind), (Some(GroupType::Classic), Some(GroupType::Consumer)));
        assert_eq!(of(&classic).protocol_type, "consumer");
        let only = admin.list_groups().with_types([GroupType::Classic]).in_states([GroupState::Stable]).await.expect("listed");
        assert!(only.groups.iter().any(|group| group.group_id == classic), "{only:?}");
        assert!(!only.groups.iter().any(|group| group.group_id == modern), "{only:?}");
        let none = admin.list_groups().with_protocol_types(["connect".to_owned()]).await.expect("listed");
        assert!(!none.groups.iter().any(|group| group.group_id == classic), "{none:?}");

        let described = comes("both are stable", || {
            admin.describe_consumer_groups([&classic, &modern, "no-such-group"]).into_future()
        }, |all| [&classic, &modern].iter().all(|id| {
            all[*id].as_ref().is_ok_and(|group| group.state == GroupState::Stable && group.members.len() == 1)
        })).await;
        assert_eq!(code(&described["no-such-group"]), Some(ErrorCode::GroupIdNotFound));
        let group = described[&classic].as_ref().expect("described");
        assert_eq!((group.kind, group.coordinator, group.group_epoch), (GroupType::Classic, Some(1), None));
        let of_one = &group.members[0];
        assert_eq!((of_one.group_instance_id.as_deref(), &of_one.client_id), (Some("static"), &format!("client-of-{classic}")));
        assert_eq!((&of_one.assignment, &of_one.subscribed_topics), (&all, &vec![topic.clone()]));
        let group = described[&modern].as_ref().expect("described");
        assert_eq!((group.kind, group.assignor.as_str()), (GroupType::Consumer, "uniform"));
        let of_two = &group.members[0];
        assert_eq!((&of_two.assignment, &of_two.target_assignment), (&all, &Some(all.clone())));
        assert_eq!((of_two.upgraded, of_two.member_epoch), (Some(true), group.group_epoch));

        let classics = admin.describe_classic_groups([&classic, &modern]).await.expect("described");
        let group = classics[&classic].as_ref().expect("described");
        assert_eq!((group.protocol.as_str(), group.members[0].assignment.len()), ("range", 2));
        assert_eq!(code(&classics[&modern]), Some(ErrorCode::GroupIdNotFound));
        let shares = admin.describe_share_groups([&classic]).await.expect("described");
        assert_eq!(code(&shares[&classic]), Some(ErrorCode::GroupIdNotFound));

        // A group with members stays; without its members it goes.
        let refused = admin.delete_groups([&classic, &modern, "no-such-group"]).await.expect("an answer");
        assert_eq!(code(&refused[&classic]), Some(ErrorCode::NonEmptyGroup));
        assert_eq!(code(&refused[&modern]), Some(ErrorCode::NonEmptyGroup));
        assert_eq!(code(&refused["no-such-group"]), Some(ErrorCode::GroupIdNotFound));
        let who = vec![MemberToRemove::instance("static"), MemberToRemove::member("nobody")];
        // A member that still runs would join anew.
        drop(one);
        let removed = admin.remove_members_from_consumer_group(&classic, Some(who)).await.expect("an answer");
        assert!(removed[&MemberToRemove::instance("static")].is_ok(), "{removed:?}");
        assert_eq!(code(&removed[&MemberToRemove::member("nobody")]), Some(ErrorCode::UnknownMemberId));
        in_time("the close", two.close()).await.expect("closed");
        let rest = admin.remove_members_from_consumer_group(&classic, None).await.expect("an answer");
        assert!(rest.is_empty(), "{rest:?}");
        comes("both can be deleted", || admin.delete_groups([&classic, &modern]).into_future(), |gone| {
            gone.values().all(|one| one.is_ok() || code(one) == Some(ErrorCode::GroupIdNotFound))
        }).await;
    }
}
