use rkafka::admin::{ElectionType, ErrorCode, ErrorKind, FeatureUpdate, TopicPartition, TopicPartitionReplica};
use rkafka_testkit::on_both;
use uuid::Uuid;

use super::{admin, code, write};

on_both! {
    async fn the_cluster_its_quorum_and_its_features(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let described = admin.describe_cluster().include_authorized_operations(true).include_fenced_brokers(true)
            .await.expect("described");
        assert!(described.id.is_some_and(|id| !id.is_empty()));
        assert_eq!((described.controller, described.brokers.len(), described.brokers[0].id), (Some(1), 1, 1));
        assert!(!described.brokers[0].fenced && described.authorized_operations.is_some());

        let quorum = admin.describe_metadata_quorum().await.expect("described");
        assert_eq!((quorum.leader, quorum.voters.len()), (Some(1), 1));
        assert!(quorum.high_watermark > 0 && quorum.voters[0].log_end_offset >= Some(quorum.high_watermark));

        let features = admin.describe_features().broker(1).await.expect("described");
        let level = features.finalized["metadata.version"];
        assert!(features.supported["metadata.version"].max >= level && features.finalized_epoch.is_some());
        let update = |feature: &'static str, update| admin.update_features([(feature, update)]);
        let too_high = update("metadata.version", FeatureUpdate::upgrade_to(9_999)).validate_only(true).await;
        assert_eq!(code(&too_high), Some(ErrorCode::InvalidUpdateVersion));
        let lower = update("group.version", FeatureUpdate::upgrade_to(0)).validate_only(true).await;
        assert_eq!(code(&lower), Some(ErrorCode::InvalidUpdateVersion), "an upgrade lowers nothing");
        let checked = update("group.version", FeatureUpdate::downgrade_to(0)).validate_only(true).await.expect("checked");
        assert!(checked["group.version"].is_ok());
        assert_eq!(admin.describe_features().await.expect("described").finalized["group.version"], 1);

        let versions = admin.list_api_versions().await.expect("an answer");
        let of_one = versions[&1].as_ref().expect("versions");
        assert_eq!((of_one[&18].name(), of_one[&18].max), (Some("ApiVersions"), 4));
        let error = admin.list_api_versions().broker(77).await.expect_err("no such broker");
        assert_eq!(error.kind(), ErrorKind::UnknownBroker);

        assert_eq!(code(&admin.unregister_broker(77).await), Some(ErrorCode::BrokerIdNotRegistered));
        let voter = admin.remove_raft_voter(77, Uuid::from_u128(1)).await.expect_err("no such voter");
        // A broker that cannot do it says so, and does not pretend.
        let expected = if cluster.is_real() { ErrorKind::Broker(ErrorCode::UnsupportedVersion) } else { ErrorKind::UnsupportedVersion };
        assert_eq!(voter.kind(), expected, "{voter}");
        let voter = admin.add_raft_voter(77, Uuid::from_u128(1), []).cluster_id("of-another".to_owned()).await;
        assert!(voter.is_err());
    }
}

on_both! {
    async fn replicas_and_their_directories(cluster: &Cluster) {
        let admin = admin(cluster).await;
        let topic = cluster.topic("admin-replicas", 2, &[]).await;
        write(cluster, &topic, 0, 3).await;
        let (zero, one) = (TopicPartition::new(topic.as_str(), 0), TopicPartition::new(topic.as_str(), 1));
        let missing = TopicPartition::new("no-such-topic", 0);

        let targets = [(zero.clone(), Some(vec![1])), (one.clone(), None), (missing.clone(), Some(vec![1]))];
        let moved = admin.alter_partition_reassignments(targets).await.expect("an answer");
        assert!(moved[&zero].is_ok(), "{moved:?}");
        assert_eq!(code(&moved[&one]), Some(ErrorCode::NoReassignmentInProgress));
        assert_eq!(code(&moved[&missing]), Some(ErrorCode::UnknownTopicOrPartition));
        let bad = admin.alter_partition_reassignments([(zero.clone(), Some(vec![1, 99]))]).await.expect("an answer");
        assert_eq!(code(&bad[&zero]), Some(ErrorCode::InvalidReplicaAssignment));
        assert!(admin.list_partition_reassignments(None).await.expect("an answer").is_empty());
        assert!(admin.list_partition_reassignments(Some(vec![zero.clone()])).await.expect("an answer").is_empty());

        let elected = admin.elect_leaders(ElectionType::Preferred, Some(vec![zero.clone(), missing.clone()])).await.expect("an answer");
        assert_eq!(code(&elected[&zero]), Some(ErrorCode::ElectionNotNeeded));
        assert_eq!(code(&elected[&missing]), Some(ErrorCode::UnknownTopicOrPartition));
        assert!(admin.elect_leaders(ElectionType::Preferred, None).await.expect("an answer").is_empty());
        let unclean = admin.elect_leaders(ElectionType::Unclean, Some(vec![one.clone()])).await.expect("an answer");
        assert_eq!(code(&unclean[&one]), Some(ErrorCode::ElectionNotNeeded));

        let brokers = admin.describe_log_dirs([1, 77]).await.expect("an answer");
        assert_eq!(brokers[&77].as_ref().expect_err("no such broker").kind(), ErrorKind::UnknownBroker);
        let dirs = brokers[&1].as_ref().expect("directories");
        let sizes: Vec<i64> = dirs.values().flatten().filter_map(|dir| Some(dir.replicas.get(&zero)?.size)).collect();
        assert!(matches!(sizes.as_slice(), [size] if *size > 0), "{dirs:?}");
        let only = admin.describe_log_dirs([1]).partitions(vec![one.clone()]).await.expect("an answer");
        let seen: Vec<_> = only[&1].as_ref().expect("directories").values().flatten().flat_map(|dir| dir.replicas.keys()).collect();
        assert_eq!(seen, [&one]);
        let replicas = [TopicPartitionReplica::new(topic.as_str(), 0, 1), TopicPartitionReplica::new("no-such-topic", 0, 1)];
        let places = admin.describe_replica_log_dirs(replicas.clone()).await.expect("an answer");
        let place = places[&replicas[0]].as_ref().expect("a place");
        assert!(place.current.is_some() && place.future.is_none(), "{place:?}");
        assert_eq!(places[&replicas[1]].as_ref().expect("nowhere").current, None);

        let nowhere = admin.alter_replica_log_dirs([(replicas[0].clone(), "/no/such/directory")]).await;
        if cluster.is_real() {
            assert_eq!(code(&nowhere.expect("an answer")[&replicas[0]]), Some(ErrorCode::LogDirNotFound));
        } else {
            assert_eq!(nowhere.expect_err("not there").kind(), ErrorKind::UnsupportedVersion);
        }
    }
}
