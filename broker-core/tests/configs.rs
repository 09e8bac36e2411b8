//! Settings that are changed while the broker runs.

mod common;

use common::{Client, batch, config_at, start_in_memory};
use rkafka_broker_core::{Broker, BrokerHandle};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use rkafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_protocol::messages::{
    DescribeConfigsRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    ListConfigResourcesRequest,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;

async fn alter(client: &mut Client, kind: i8, name: &str, change: (&str, i8, Option<&str>)) -> (i16, String) {
    let (key, operation, value) = change;
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configs: vec![AlterableConfig {
                name: key.to_owned(),
                config_operation: operation,
                value: value.map(str::to_owned),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.call(&request, 1).await.responses.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default())
}

async fn set(client: &mut Client, kind: i8, name: &str, key: &str, value: &str) {
    assert_eq!(alter(client, kind, name, (key, SET, Some(value))).await, (0, String::new()));
}

async fn describe(client: &mut Client, kind: i8, name: &str) -> Vec<DescribeConfigsResourceResult> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configuration_keys: None,
            ..Default::default()
        }],
        include_synonyms: true,
        include_documentation: true,
        ..Default::default()
    };
    let answer = client.call(&request, 4).await.results.remove(0);
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.configs
}

/// The value and its source, then those of the synonyms.
async fn shown(client: &mut Client, kind: i8, name: &str, key: &str) -> Vec<(String, i8)> {
    let configs = describe(client, kind, name).await;
    let config = configs.into_iter().find(|config| config.name == key).expect("the setting is there");
    let synonyms = config.synonyms.into_iter().map(|it| (it.value.unwrap_or_default(), it.source));
    [(config.value.unwrap_or_default(), config.config_source)].into_iter().chain(synonyms).collect()
}

fn values(expected: &[(&str, i8)]) -> Vec<(String, i8)> {
    expected.iter().map(|(value, source)| ((*value).to_owned(), *source)).collect()
}

async fn too_large(client: &mut Client, topic: &str) -> bool {
    let error = client.produce(topic, 0, batch(&["a value of more than a hundred bytes"; 4])).await.error_code;
    assert!(error == 0 || error == ErrorCode::MessageTooLarge.code(), "{error}");
    error != 0
}

#[tokio::test]
async fn brokers_settings_are_in_force_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || -> BrokerHandle { Broker::start(config_at(dir.path())).await.unwrap() };
    let broker = start().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("sized", 1, &[]).await;
    assert!(!too_large(&mut client, "sized").await);

    set(&mut client, BROKER, "", "message.max.bytes", "100").await;
    assert!(too_large(&mut client, "sized").await);
    client.create_topic("later", 1, &[]).await;
    assert!(too_large(&mut client, "later").await);
    set(&mut client, BROKER, "1", "message.max.bytes", "5000").await;
    assert!(!too_large(&mut client, "sized").await);
    set(&mut client, TOPIC, "sized", "max.message.bytes", "110").await;
    assert!(too_large(&mut client, "sized").await && !too_large(&mut client, "later").await);

    let expected = values(&[("110", 1), ("110", 1), ("5000", 2), ("100", 3), ("1048588", 5)]);
    assert_eq!(shown(&mut client, TOPIC, "sized", "max.message.bytes").await, expected);
    let expected = values(&[("5000", 2), ("5000", 2), ("100", 3), ("1048588", 5)]);
    assert_eq!(shown(&mut client, TOPIC, "later", "max.message.bytes").await, expected);
    assert_eq!(shown(&mut client, BROKER, "1", "message.max.bytes").await, expected);
    let all = describe(&mut client, BROKER, "").await;
    assert_eq!(
        all.iter().map(|it| (it.name.as_str(), it.config_source)).collect::<Vec<_>>(),
        // The second is said for all from the start, as in Kafka (`eligible.leader.replicas.version`).
        [("message.max.bytes", 3), ("min.insync.replicas", 3)]
    );

    drop(client);
    broker.shutdown().await.unwrap();
    let broker = start().await;
    let mut client = Client::connect(&broker).await;
    assert_eq!(broker.state().effective_config().message_max_bytes, 5000);
    assert!(too_large(&mut client, "sized").await && !too_large(&mut client, "later").await);
    assert_eq!(alter(&mut client, BROKER, "1", ("message.max.bytes", DELETE, None)).await.0, 0);
    assert!(too_large(&mut client, "later").await);
    assert_eq!(alter(&mut client, BROKER, "", ("message.max.bytes", DELETE, None)).await.0, 0);
    assert!(!too_large(&mut client, "later").await);
}

#[tokio::test]
async fn the_cleaner_is_held_to_what_was_set_since_the_start() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    for (name, value, bad) in [
        ("log.cleaner.backoff.ms", "15001", "0"),
        ("log.cleaner.dedupe.buffer.size", "2000000", "1000"),
        ("log.cleaner.io.max.bytes.per.second", "1000000.0", "0"),
    ] {
        set(&mut client, BROKER, "1", name, value).await;
        assert_eq!(alter(&mut client, BROKER, "1", (name, SET, Some(bad))).await.0, ErrorCode::InvalidRequest.code());
    }
    let config = broker.state().effective_config();
    assert_eq!(config.log_cleaner_backoff, std::time::Duration::from_millis(15_001));
    assert_eq!(config.log_cleaner_dedupe_buffer_size, 2_000_000);
    assert!((config.log_cleaner_io_max_bytes_per_second - 1_000_000.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn what_cannot_be_set_is_refused_and_changes_nothing() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("there", 1, &[]).await;
    let before = broker.state().image().next_offset();
    let (request, config) = (ErrorCode::InvalidRequest.code(), ErrorCode::InvalidConfig.code());
    for (kind, name, key, value, code, words) in [
        (BROKER, "1", "num.partitions", "7", request, "Cannot update these configs dynamically: [num.partitions]"),
        (BROKER, "1", "no.such", "7", request, "Cannot update"),
        (
            BROKER,
            "1",
            "message.max.bytes",
            "x",
            request,
            "Invalid value x for configuration message.max.bytes: Not a number of type INT",
        ),
        (BROKER, "1", "message.max.bytes", "-1", request, "Invalid value -1"),
        (BROKER, "9", "message.max.bytes", "1", request, "Unexpected broker id, expected 1 but received 9"),
        (BROKER, "x", "message.max.bytes", "1", request, "Broker id must be an integer"),
        (TOPIC, "nope", "retention.ms", "1", ErrorCode::UnknownTopicOrPartition.code(), "The topic 'nope' does not"),
        (TOPIC, "there", "nope", "1", config, "Unknown topic config name: nope"),
        (TOPIC, "there", "remote.storage.enable", "true", config, ""),
        (GROUP, "", "consumer.session.timeout.ms", "50000", request, "Default group resources are not allowed."),
        (GROUP, "g", "nope", "1", config, "Unknown group config name: nope"),
        (CLIENT_METRICS, "", "interval.ms", "1000", request, "Subscription name can't be empty"),
        (CLIENT_METRICS, "m", "interval.ms", "5", request, "Invalid value 5 for interval.ms, interval must be between"),
        (CLIENT_METRICS, "m", "match", "nokey=a", config, "Illegal client matching pattern: nokey=a"),
        (CLIENT_METRICS, "m", "match", "client_id=(", config, "Illegal client matching pattern"),
        (CLIENT_METRICS, "m", "nope", "1", request, "Unknown client metrics configuration: nope"),
        (99, "x", "y", "1", request, "Resource type 99"),
    ] {
        let (error, message) = alter(&mut client, kind, name, (key, SET, Some(value))).await;
        assert_eq!(error, code, "{kind} {name} {key}={value}: {message}");
        assert!(message.starts_with(words), "{message}");
    }
    assert_eq!(broker.state().image().next_offset(), before);
}

#[tokio::test]
async fn subscriptions_to_metrics_are_kept_and_listed() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    set(&mut client, CLIENT_METRICS, "m", "interval.ms", "1000").await;
    set(&mut client, CLIENT_METRICS, "m", "match", "client_id=a.*").await;
    assert_eq!(alter(&mut client, CLIENT_METRICS, "m", ("match", 2, Some("client_source_port=90.*"))).await.0, 0);
    assert_eq!(shown(&mut client, CLIENT_METRICS, "m", "interval.ms").await, values(&[("1000", 7), ("1000", 7)]));
    assert_eq!(shown(&mut client, CLIENT_METRICS, "m", "match").await[0].0, "client_id=a.*,client_source_port=90.*");
    assert_eq!(shown(&mut client, CLIENT_METRICS, "m", "metrics").await, values(&[("", 5)]));
    let listed = client.call(&ListConfigResourcesRequest::default(), 0).await.config_resources;
    assert_eq!(listed.iter().map(|it| it.resource_name.as_str()).collect::<Vec<_>>(), ["m"]);
    for key in ["interval.ms", "match"] {
        assert_eq!(alter(&mut client, CLIENT_METRICS, "m", (key, DELETE, None)).await.0, 0);
    }
    assert!(client.call(&ListConfigResourcesRequest::default(), 0).await.config_resources.is_empty());
}

#[tokio::test]
async fn brokers_settings_have_kafkas_types() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    let configs = describe(&mut client, BROKER, "1").await;
    let of = |name: &str| configs.iter().find(|config| config.name == name).unwrap();
    assert_eq!((of("log.retention.ms").config_type, of("log.retention.ms").value.as_deref()), (5, None));
    assert_eq!((of("listeners").config_type, of("num.partitions").config_type), (7, 3));
    assert!(of("num.partitions").read_only && !of("log.retention.ms").read_only);
    assert!(configs.iter().all(|config| config.documentation.as_ref().is_some_and(|text| !text.is_empty())));
}

#[tokio::test]
async fn more_replicas_in_sync_than_there_are_cannot_be_asked_for() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("safe", 1, &[("min.insync.replicas", "2")]).await;
    // As in Kafka 4, where the least is the number of replicas if that is smaller.
    assert_eq!(client.produce("safe", 0, batch(&["a"])).await.error_code, 0);
    assert_eq!(client.values("safe", 0, 0).await, ["a"]);
}

#[tokio::test]
async fn what_is_not_set_can_be_removed() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("there", 1, &[]).await;
    for (kind, name, key) in [
        (TOPIC, "there", "leader.replication.throttled.replicas"),
        (BROKER, "1", "leader.replication.throttled.rate"),
        (GROUP, "g", "consumer.session.timeout.ms"),
        (CLIENT_METRICS, "m", "match"),
    ] {
        assert_eq!(alter(&mut client, kind, name, (key, DELETE, None)).await, (0, String::new()));
    }
}

#[tokio::test]
async fn internal_topics_get_the_replicas_in_sync_that_their_settings_ask_for() {
    let broker = Broker::builder().with(|config| config.transaction_state_log_min_isr(3)).start().await.unwrap();
    let mut client = Client::connect(&broker).await;
    let keys = FindCoordinatorRequest { key_type: 1, coordinator_keys: vec!["id".to_owned()], ..Default::default() };
    assert_eq!(client.call(&keys, 4).await.coordinators[0].error_code, 0);
    let of_topic = 1;
    let shown = shown(&mut client, TOPIC, "__transaction_state", "min.insync.replicas").await;
    assert_eq!(shown[0], ("3".to_owned(), of_topic), "{shown:?}");
    // With one replica, one is all that there are.
    let begin = InitProducerIdRequest {
        transactional_id: Some("id".to_owned()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    assert_eq!(client.call(&begin, 4).await.error_code, 0);
    broker.shutdown().await.unwrap();
}
