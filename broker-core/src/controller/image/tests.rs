use rkafka_protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use rkafka_protocol::messages::register_controller_record::{ControllerEndpoint, ControllerFeature};
use rkafka_protocol::messages::{
    BrokerRegistrationChangeRecord, ClearElrRecord, ConfigRecord, FeatureLevelRecord, PartitionChangeRecord,
    PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord, RegisterControllerRecord, RemoveTopicRecord, TopicRecord,
    UnregisterBrokerRecord,
};

use super::*;
use crate::controller::records::MetadataRecord;

const ID: Uuid = Uuid::from_u128(77);

fn replay(image: &mut MetadataImage, records: &[MetadataRecord]) {
    for record in records {
        // As it is read back.
        let record = MetadataRecord::decode(record.encode().unwrap()).unwrap();
        image.replay(image.next_offset(), &record);
    }
}

fn topic(name: &str, id: Uuid) -> MetadataRecord {
    MetadataRecord::Topic(TopicRecord { name: name.to_owned(), topic_id: id, ..Default::default() })
}

fn partition(id: Uuid, index: i32) -> MetadataRecord {
    MetadataRecord::Partition(PartitionRecord {
        partition_id: index,
        topic_id: id,
        replicas: vec![1, 2, 3],
        isr: vec![1, 2, 3],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![Uuid::from_u128(101), Uuid::from_u128(102), Uuid::from_u128(103)],
        ..Default::default()
    })
}

fn change(index: i32, change: PartitionChangeRecord) -> MetadataRecord {
    MetadataRecord::PartitionChange(PartitionChangeRecord { topic_id: ID, partition_id: index, ..change })
}

fn full() -> MetadataImage {
    let mut image = MetadataImage::default();
    let endpoint =
        BrokerEndpoint { name: "A".into(), host: "h".into(), port: 9, security_protocol: 3, ..Default::default() };
    let feature =
        BrokerFeature { name: "f".into(), min_supported_version: 1, max_supported_version: 4, ..Default::default() };
    let of_controller =
        ControllerEndpoint { name: "C".into(), host: "h".into(), port: 7, security_protocol: 0, ..Default::default() };
    let its_feature = ControllerFeature {
        name: "f".into(),
        min_supported_version: 0,
        max_supported_version: 2,
        ..Default::default()
    };
    let feature_level = |name: &str, feature_level| {
        MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() })
    };
    replay(
        &mut image,
        &[
            feature_level("a.version", 1),
            feature_level("metadata.version", 30),
            MetadataRecord::RegisterBroker(RegisterBrokerRecord {
                broker_id: 3,
                broker_epoch: 2,
                incarnation_id: Uuid::from_u128(5),
                end_points: vec![endpoint],
                features: vec![feature],
                rack: Some("r".into()),
                log_dirs: vec![Uuid::from_u128(103), Uuid::from_u128(104)],
                ..Default::default()
            }),
            MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
                broker_id: 3,
                broker_epoch: 2,
                fenced: -1,
                in_controlled_shutdown: 1,
                log_dirs: vec![Uuid::from_u128(103)],
                cordoned_log_dirs: Some(Vec::new()),
                ..Default::default()
            }),
            MetadataRecord::RegisterController(RegisterControllerRecord {
                controller_id: 4,
                incarnation_id: Uuid::from_u128(6),
                end_points: vec![of_controller],
                features: vec![its_feature],
                ..Default::default()
            }),
            topic("t", ID),
            partition(ID, 0),
            partition(ID, 1),
            change(
                1,
                PartitionChangeRecord {
                    isr: Some(vec![4]),
                    leader: 4,
                    replicas: Some(vec![4, 1, 2, 3]),
                    removing_replicas: Some(vec![1]),
                    adding_replicas: Some(vec![4]),
                    leader_recovery_state: 1,
                    directories: Some(vec![DIRECTORY_LOST; 4]),
                    eligible_leader_replicas: Some(vec![2]),
                    last_known_elr: Some(vec![3]),
                    ..Default::default()
                },
            ),
            MetadataRecord::Config(ConfigRecord {
                resource_type: 2,
                resource_name: "t".into(),
                name: "segment.ms".into(),
                value: Some("9".into()),
                ..Default::default()
            }),
            MetadataRecord::ProducerIds(ProducerIdsRecord { next_producer_id: 3000, ..Default::default() }),
        ],
    );
    image
}

#[test]
fn a_change_says_what_is_different_and_the_rest_stays() {
    let mut image = full();
    let partition = |image: &MetadataImage| image.topic("t").unwrap().partitions[1].clone();
    let expected = PartitionImage {
        replicas: vec![4, 1, 2, 3],
        directories: vec![DIRECTORY_LOST; 4],
        isr: vec![4],
        removing_replicas: vec![1],
        adding_replicas: vec![4],
        elr: vec![2],
        last_known_elr: vec![3],
        leader: 4,
        recovering: true,
        leader_epoch: 1,
        partition_epoch: 1,
    };
    assert_eq!(partition(&image), expected);
    assert_eq!((expected.directory_of(2), expected.directory_of(9)), (Some(DIRECTORY_LOST), None));
    replay(&mut image, &[change(1, PartitionChangeRecord { isr: Some(vec![4, 2]), ..Default::default() })]);
    assert_eq!(partition(&image), PartitionImage { isr: vec![4, 2], partition_epoch: 2, ..expected.clone() });
    // The same leader under a new epoch, and the recovery is over.
    let recovered = PartitionChangeRecord { leader: 4, leader_recovery_state: 0, ..Default::default() };
    replay(&mut image, &[change(1, recovered)]);
    let now = partition(&image);
    assert_eq!((now.leader, now.leader_epoch, now.recovering), (4, 2, false));

    let broker = image.broker(3).unwrap();
    assert!(!broker.fenced && broker.in_controlled_shutdown && !broker.is_active());
    assert_eq!((broker.log_dirs.len(), broker.cordoned_log_dirs.as_deref()), (1, Some(&[][..])));
    replay(&mut image, &[MetadataRecord::ClearElr(ClearElrRecord { topic_name: "t".into(), ..Default::default() })]);
    let now = partition(&image);
    assert_eq!((now.elr, now.last_known_elr, now.partition_epoch), (Vec::new(), Vec::new(), 3));
    let gone = UnregisterBrokerRecord { broker_id: 3, broker_epoch: 2, ..Default::default() };
    replay(&mut image, &[MetadataRecord::UnregisterBroker(gone)]);
    assert!(image.brokers().is_empty());
}

#[test]
fn a_snapshot_makes_the_same_image() {
    let image = full();
    let read_back = image.records().map(|record| MetadataRecord::decode(record.encode().unwrap()).unwrap());
    assert_eq!(MetadataImage::from_snapshot(image.next_offset(), read_back), image);
    assert!(matches!(
        image.records().next(),
        Some(MetadataRecord::FeatureLevel(record)) if record.name == "metadata.version"
    ));
    let empty = MetadataImage::default();
    assert_eq!(MetadataImage::from_snapshot(0, empty.records()), empty);
}

#[test]
fn a_delta_names_what_is_different() {
    let before = full();
    assert!(ImageDelta::between(&before, &before).is_empty());
    let from_nothing = ImageDelta::between(&MetadataImage::default(), &before);
    assert_eq!(from_nothing.partitions().count(), 2);
    assert!(from_nothing.changed_brokers.contains(&3) && from_nothing.changed_controllers.contains(&4));
    assert_eq!((from_nothing.features.len(), from_nothing.configs.len()), (2, 1));

    let mut after = before.clone();
    replay(&mut after, &[change(0, PartitionChangeRecord { isr: Some(vec![1, 3]), ..Default::default() })]);
    let delta = ImageDelta::between(&before, &after);
    let changed: Vec<_> =
        delta.partitions().map(|it| (it.index, it.before.unwrap().isr.len(), it.after.isr.len())).collect();
    assert_eq!(changed, [(0, 3, 2)]);
    assert!(delta.deleted_topics.is_empty() && delta.configs.is_empty() && delta.changed_brokers.is_empty());

    // Another topic of the same name.
    let removed = RemoveTopicRecord { topic_id: ID, ..Default::default() };
    let other = Uuid::from_u128(78);
    replay(&mut after, &[MetadataRecord::RemoveTopic(removed), topic("t", other), partition(other, 0)]);
    let delta = ImageDelta::between(&before, &after);
    assert_eq!(delta.deleted_topics.iter().map(|topic| topic.id).collect::<Vec<_>>(), [ID]);
    assert_eq!(delta.partitions().map(|it| (it.topic.id, it.before.is_none())).collect::<Vec<_>>(), [(other, true)]);
    assert_eq!(delta.configs, [(ConfigResource::Topic, "t".to_owned())]);

    let gone = UnregisterBrokerRecord { broker_id: 3, broker_epoch: 2, ..Default::default() };
    replay(&mut after, &[MetadataRecord::UnregisterBroker(gone)]);
    assert!(ImageDelta::between(&before, &after).removed_brokers.contains(&3));
}
