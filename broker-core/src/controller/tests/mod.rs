mod cluster;
mod property;
mod world;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use rkafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use rkafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_protocol::messages::{ProducerIdsRecord, RegisterBrokerRecord};
use uuid::Uuid;

use super::*;
use crate::config::BrokerConfig;
use crate::log::OpenState;
use crate::storage::MemStorage;

fn open(storage: &MemStorage) -> Controller {
    let (storage, config) = (Arc::new(storage.clone()), BrokerConfig::new());
    let clock = crate::Clock::system();
    Controller::open(storage, Path::new("/logs"), &config, "cluster", Vec::new(), OpenState::clean(), clock).unwrap()
}

fn register(controller: &Controller) {
    let record =
        MetadataRecord::RegisterBroker(RegisterBrokerRecord { broker_id: 1, fenced: false, ..Default::default() });
    controller.submit_now(5, |_| Decision { records: vec![record], reply: () }).unwrap();
}

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions: partitions, replication_factor: -1, ..Default::default() }
}

fn create(
    controller: &Controller,
    config: &BrokerConfig,
    topics: &[CreatableTopic],
) -> Vec<Result<CreatedTopic, Refusal>> {
    controller
        .submit_now(7, |image| {
            let mut next = u128::from(image.next_offset().unsigned_abs()) << 32;
            create_topics(&View::new(image, config), topics, &mut || {
                next += 1;
                Uuid::from_u128(next)
            })
        })
        .unwrap()
}

fn error_of<T: std::fmt::Debug>(reply: &Result<T, Refusal>) -> ErrorCode {
    reply.as_ref().unwrap_err().error
}

#[test]
fn topics_are_refused_as_kafka_does() {
    let config = BrokerConfig::new();
    let controller = open(&MemStorage::new());
    register(&controller);
    assert!(create(&controller, &config, &[topic("a.b", 3)])[0].is_ok());

    let cases = [
        (topic("a.b", 1), ErrorCode::TopicAlreadyExists),
        (topic("a_b", 1), ErrorCode::InvalidTopicException),
        (topic("bad name", 1), ErrorCode::InvalidTopicException),
        (topic("zero", 0), ErrorCode::InvalidPartitions),
        (topic("minus", -2), ErrorCode::InvalidPartitions),
        (topic("many", i32::MAX), ErrorCode::PolicyViolation),
        (CreatableTopic { replication_factor: 3, ..topic("three", 1) }, ErrorCode::InvalidReplicationFactor),
        (CreatableTopic { replication_factor: 0, ..topic("none", 1) }, ErrorCode::InvalidReplicationFactor),
        (
            CreatableTopic {
                configs: vec![CreatableTopicConfig { name: "no.such".to_owned(), value: None, ..Default::default() }],
                ..topic("c", 1)
            },
            ErrorCode::InvalidConfig,
        ),
    ];
    for (request, error) in cases {
        let before = controller.image();
        let reply = create(&controller, &config, std::slice::from_ref(&request));
        assert_eq!(error_of(&reply[0]), error, "{}", request.name);
        assert_eq!(controller.image(), before);
    }
    let twice = create(&controller, &config, &[topic("t", 1), topic("t", 1), topic("u", 1)]);
    assert_eq!(error_of(&twice[0]), ErrorCode::InvalidRequest);
    assert_eq!(error_of(&twice[1]), ErrorCode::InvalidRequest);
    assert!(twice[2].is_ok());
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8, i32, bool),
    Grow(u8, i32),
    Delete(u8),
    Alter(u8, u8, Option<u8>),
    ProducerIds,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6u8, 1..5i32, any::<bool>()).prop_map(|(name, count, config)| Step::Create(name, count, config)),
        (0..6u8, 1..8i32).prop_map(|(name, count)| Step::Grow(name, count)),
        (0..6u8).prop_map(Step::Delete),
        (0..6u8, 0..3u8, proptest::option::of(1..9u8))
            .prop_map(|(name, setting, value)| Step::Alter(name, setting, value)),
        Just(Step::ProducerIds),
        Just(Step::Reopen),
    ]
}

proptest! {
    #[test]
    fn the_image_is_what_the_log_says(steps in proptest::collection::vec(step(), 1..25)) {
        let config = BrokerConfig::new();
        let storage = MemStorage::new();
        let mut controller = open(&storage);
        register(&controller);
        for step in steps {
            match step {
                Step::Create(name, count, with_config) => {
                    let mut request = topic(&format!("t{name}"), count);
                    if with_config {
                        request.configs.push(CreatableTopicConfig {
                            name: "segment.ms".to_owned(),
                            value: Some("9".to_owned()),
                            ..Default::default()
                        });
                    }
                    create(&controller, &config, &[request]);
                }
                Step::Grow(name, count) => {
                    let request = CreatePartitionsTopic { name: format!("t{name}"), count, ..Default::default() };
                    controller.submit_now(8, |image| create_partitions(&View::new(image, &config), &[request])).unwrap();
                }
                Step::Delete(name) => {
                    let request = DeleteTopicState { name: Some(format!("t{name}")), ..Default::default() };
                    controller.submit_now(8, |image| delete_topics(image, &[request])).unwrap();
                }
                Step::Alter(name, setting, value) => {
                    let names = ["segment.ms", "flush.messages", "max.message.bytes"];
                    let change = AlterableConfig {
                        name: names[usize::from(setting)].to_owned(),
                        config_operation: if value.is_some() { 0 } else { 1 },
                        value: value.map(|value| value.to_string()),
                        ..Default::default()
                    };
                    let request = AlterConfigsResource {
                        resource_type: 2,
                        resource_name: format!("t{name}"),
                        configs: vec![change],
                        ..Default::default()
                    };
                    controller.submit_now(8, |image| alter_configs(image, &config, &[request])).unwrap();
                }
                Step::ProducerIds => {
                    controller.submit_now(8, |image| Decision {
                        records: vec![MetadataRecord::ProducerIds(ProducerIdsRecord {
                            broker_id: 1,
                            next_producer_id: image.next_producer_id() + 1000,
                            ..Default::default()
                        })],
                        reply: (),
                    }).unwrap();
                }
                Step::Reopen => {
                    let before = controller.image();
                    controller.close(true).unwrap();
                    controller = open(&storage);
                    // The new leader epoch has a record of its own.
                    let mut expected = (*before).clone();
                    expected.advance_to(before.next_offset() + 1);
                    prop_assert_eq!(&*controller.image(), &expected);
                }
            }
            let image = controller.image();
            prop_assert_eq!(controller.replayed(), (*image).clone());
            prop_assert_eq!(MetadataImage::from_snapshot(image.next_offset(), image.records()), (*image).clone());
        }
    }
}
