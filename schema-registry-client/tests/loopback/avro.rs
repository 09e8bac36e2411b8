//! The Avro serdes against a registry on a loopback port.

use std::time::Duration;

use crate::registry::{Fault, Registry};
use rkafka_schema_registry_client::serde::avro::{
    AvroDeserializer, AvroDeserializerSettings, AvroSchema, AvroSerializer, AvroSerializerSettings, Value,
};
use rkafka_schema_registry_client::serde::{SerdeError, SubjectNameStrategy};
use rkafka_schema_registry_client::wire::FrameError;
use rkafka_schema_registry_client::{Client, ClientSettings, Reference, SchemaDefinition, SchemaType};
use serde::{Deserialize, Serialize};
use serde_json::json;

const ORDER: &str = r#"{"type":"record","name":"com.example.Order","fields":[{"name":"id","type":"long"},{"name":"note","type":["null","string"]}]}"#;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: i64,
    note: Option<String>,
}

fn client(registry: &Registry) -> Client {
    let mut settings = ClientSettings::new([registry.url()]);
    settings.retry_backoff = Duration::from_millis(1);
    settings.max_retries = 0;
    Client::new(settings).expect("a client")
}

fn serializer(registry: &Registry, change: impl FnOnce(&mut AvroSerializerSettings)) -> AvroSerializer {
    let mut settings = AvroSerializerSettings::default();
    change(&mut settings);
    AvroSerializer::new(client(registry), settings)
}

fn deserializer(registry: &Registry) -> AvroDeserializer {
    AvroDeserializer::new(client(registry), AvroDeserializerSettings::default())
}

fn order_schema() -> AvroSchema {
    AvroSchema::parse(ORDER).expect("a schema")
}

#[tokio::test]
async fn what_is_written_is_read_with_one_request_each() {
    let registry = Registry::start();
    let (serializer, deserializer) = (serializer(&registry, |_| {}), deserializer(&registry));
    let schema = order_schema();
    for id in 0..20 {
        let order = Order { id, note: (id % 2 == 0).then(|| "even".to_owned()) };
        let framed = serializer.serialize("orders", &schema, &order).await.expect("bytes");
        assert_eq!(framed[..5], [0, 0, 0, 0, 1]);
        assert_eq!(deserializer.deserialize::<Order>(&framed).await.expect("an order"), order);
        let value = deserializer.deserialize_value(&framed).await.expect("a value");
        assert_eq!(serializer.serialize_value("orders", &schema, &value).await.expect("bytes"), framed);
    }
    let targets: Vec<String> = registry.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/subjects/orders-value/versions", "/schemas/ids/1"]);
}

#[tokio::test]
async fn a_stampede_makes_one_request() {
    let registry = Registry::start();
    let id = registry.put("orders-value", json!({ "schema": ORDER }));
    let deserializer = deserializer(&registry);
    let mut framed = vec![0];
    framed.extend(id.to_be_bytes());
    framed.extend([2, 0]);
    let read = || deserializer.deserialize::<Order>(&framed);
    let (a, b, c, d) = tokio::join!(read(), read(), read(), read());
    for order in [a, b, c, d] {
        assert_eq!(order.expect("an order"), Order { id: 1, note: None });
    }
    assert_eq!(registry.seen().len(), 1);
}

#[tokio::test]
async fn a_missing_id_is_asked_for_once_and_a_failure_every_time() {
    let registry = Registry::start();
    let deserializer = deserializer(&registry);
    for _ in 0..3 {
        let error = deserializer.deserialize::<Order>(&[0, 0, 0, 0, 77, 1]).await.expect_err("unknown id");
        assert!(matches!(&error, SerdeError::Registry(error) if error.is_not_found()), "{error}");
    }
    assert_eq!(registry.seen().len(), 1);

    registry.put("s", json!({ "schema": ORDER }));
    registry.fail([Fault::Close, Fault::Answer(500, String::new())]);
    for _ in 0..2 {
        let error = deserializer.deserialize::<Order>(&[0, 0, 0, 0, 1, 2, 0]).await.expect_err("it fails");
        assert!(error.is_retriable(), "{error}");
    }
    assert_eq!(deserializer.deserialize::<Order>(&[0, 0, 0, 0, 1, 2, 0]).await.expect("an order").id, 1);
}

#[tokio::test]
async fn foreign_bytes_are_told_apart() {
    let registry = Registry::start();
    registry.put("s", json!({ "schema": ORDER }));
    registry.put("j", json!({ "schema": "{}", "schemaType": "JSON" }));
    let deserializer = deserializer(&registry);
    let error = deserializer.deserialize_value(b"{}").await.expect_err("JSON");
    assert!(matches!(error, SerdeError::Frame(FrameError::UnknownMagic { magic: b'{' })), "{error}");
    let error = deserializer.deserialize_value(b"").await.expect_err("empty");
    assert!(matches!(error, SerdeError::Frame(FrameError::Short { len: 0 })), "{error}");
    let error = deserializer.deserialize_value(&[0, 0, 0, 0, 1, 2, 8]).await.expect_err("a bad branch");
    let text = error.to_string();
    assert!(text.contains("schema 1") && text.contains("com.example.Order") && text.contains("$.note"), "{text}");
    let error = deserializer.deserialize_value(&[0, 0, 0, 0, 2]).await.expect_err("another language");
    assert!(matches!(error, SerdeError::WrongSchemaType { schema_type: SchemaType::Json, .. }), "{error}");
}

#[tokio::test]
async fn schemas_are_registered_only_where_that_is_wanted() {
    let registry = Registry::start();
    let strict = serializer(&registry, |settings| settings.auto_register_schemas = false);
    let order = Order { id: 1, note: None };
    let error = strict.serialize("orders", &order_schema(), &order).await.expect_err("not registered");
    assert!(matches!(&error, SerdeError::Registry(error) if error.is_not_found()), "{error}");
    assert!(registry.seen().iter().all(|seen| !seen.target.ends_with("/versions")));

    registry.put("orders-key", json!({ "schema": ORDER }));
    let keys = serializer(&registry, |settings| {
        settings.auto_register_schemas = false;
        settings.is_key = true;
        settings.normalize_schemas = true;
    });
    assert_eq!(keys.encoder("orders", &order_schema()).await.expect("an encoder").id().0, 1);
    assert_eq!(registry.seen().pop().expect("a request").target, "/subjects/orders-key?normalize=true");
}

#[tokio::test]
async fn the_latest_version_is_written_where_that_is_wanted() {
    let registry = Registry::start();
    let wider = ORDER.replace(r#"["null","string"]}"#, r#"["null","string"]},{"name":"extra","type":"int"}"#);
    registry.put("orders-value", json!({ "schema": ORDER }));
    registry.put("orders-value", json!({ "schema": wider }));
    let serializer = serializer(&registry, |settings| settings.use_latest_version = true);
    #[derive(Serialize)]
    struct Wide {
        id: i64,
        note: Option<String>,
        extra: i32,
    }
    let value = Wide { id: 1, note: None, extra: 3 };
    let framed = serializer.serialize("orders", &order_schema(), &value).await.expect("bytes");
    assert_eq!(framed, [0, 0, 0, 0, 2, 2, 0, 6]);
    assert_eq!(registry.seen().len(), 1);
    assert_eq!(registry.seen()[0].target, "/subjects/orders-value/versions/latest");
}

#[tokio::test]
async fn subjects_follow_the_strategy() {
    let registry = Registry::start();
    for (strategy, subject) in [
        (SubjectNameStrategy::RecordName, "com.example.Order"),
        (SubjectNameStrategy::TopicRecordName, "orders-com.example.Order"),
    ] {
        let serializer = serializer(&registry, |settings| settings.subject_name_strategy = strategy);
        serializer.encoder("orders", &order_schema()).await.expect("an encoder");
        assert_eq!(registry.seen().pop().expect("a request").target, format!("/subjects/{subject}/versions"));
        let unnamed = AvroSchema::parse("\"string\"").expect("a schema");
        let error = serializer.encoder("orders", &unnamed).await.expect_err("no name");
        assert!(matches!(error, SerdeError::UnnamedSchema { .. }), "{error}");
    }
}

#[tokio::test]
async fn rules_that_nobody_runs_stop_both_sides() {
    let registry = Registry::start();
    let rules = json!({"schema": ORDER, "ruleSet": {"domainRules": [{"name": "encrypt", "kind": "TRANSFORM"}]}});
    registry.put("orders-value", rules);
    let latest = serializer(&registry, |settings| settings.use_latest_version = true);
    let order = Order { id: 1, note: None };
    let error = latest.serialize("orders", &order_schema(), &order).await.expect_err("rules");
    assert!(matches!(error, SerdeError::UnsupportedRules { .. }), "{error}");
    let error = deserializer(&registry).deserialize::<Order>(&[0, 0, 0, 0, 1, 2, 0]).await.expect_err("rules");
    assert!(matches!(error, SerdeError::UnsupportedRules { .. }), "{error}");
}

#[tokio::test]
async fn references_are_fetched_with_theirs() {
    let registry = Registry::start();
    registry.put("money", json!({"schema": r#"{"type":"fixed","name":"com.example.Money","size":2}"#}));
    let reference = |name: &str, subject: &str| json!({"name": name, "subject": subject, "version": 1});
    registry.put(
        "item",
        json!({
            "schema": r#"{"type":"record","name":"com.example.Item","fields":[{"name":"price","type":"com.example.Money"}]}"#,
            "references": [reference("com.example.Money", "money")],
        }),
    );
    let cart = r#"{"type":"record","name":"com.example.Cart","fields":[
        {"name":"items","type":{"type":"array","items":"com.example.Item"}},{"name":"total","type":"com.example.Money"}]}"#;
    let definition = SchemaDefinition {
        references: ["item", "money"]
            .map(|subject| Reference { name: subject.into(), subject: subject.into(), version: 1 })
            .to_vec(),
        ..SchemaDefinition::avro(cart)
    };
    let schema = AvroSchema::from_registry(&client(&registry), definition).await.expect("a schema");
    let item = Value::Record(vec![("price".into(), Value::Fixed(2, vec![1, 2]))]);
    let value =
        Value::Record(vec![("items".into(), Value::Array(vec![item])), ("total".into(), Value::Fixed(2, vec![3, 4]))]);
    let serializer = serializer(&registry, |_| {});
    let framed = serializer.serialize_value("carts", &schema, &value).await.expect("bytes");
    assert_eq!(framed[5..], [2, 1, 2, 0, 3, 4]);
    assert_eq!(deserializer(&registry).deserialize_value(&framed).await.expect("a value"), value);
}

#[tokio::test]
async fn references_without_end_are_refused() {
    let registry = Registry::start();
    for number in 0..40 {
        let next = json!({"name": "n", "subject": format!("s{}", number + 1), "version": 1});
        let schema = format!(r#"{{"type":"fixed","name":"F{number}","size":1}}"#);
        registry.put(&format!("s{number}"), json!({"schema": schema, "references": [next]}));
    }
    let error = deserializer(&registry).deserialize_value(&[0, 0, 0, 0, 1, 0]).await.expect_err("too long a chain");
    assert!(matches!(error, SerdeError::Schema { .. }), "{error}");
}

#[tokio::test]
async fn a_reader_schema_brings_values_into_its_shape() {
    let registry = Registry::start();
    registry.put("s", json!({ "schema": ORDER }));
    let mut settings = AvroDeserializerSettings::default();
    let reader = r#"{"type":"record","name":"com.example.Order","fields":[{"name":"id","type":"double"},{"name":"added","type":"string","default":"new"}]}"#;
    settings.reader_schema = Some(AvroSchema::parse(reader).expect("a schema"));
    let deserializer = AvroDeserializer::new(client(&registry), settings);
    #[derive(Debug, PartialEq, Deserialize)]
    struct Evolved {
        id: f64,
        added: String,
    }
    let evolved: Evolved = deserializer.deserialize(&[0, 0, 0, 0, 1, 4, 0]).await.expect("a value");
    assert_eq!(evolved, Evolved { id: 2.0, added: "new".into() });
}
