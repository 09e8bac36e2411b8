//! The REST client against a registry on a loopback port.

use std::time::Duration;

use crate::registry::{Fault, Registry};
use rkafka_schema_registry_client::{
    BasicAuth, Client, ClientSettings, CompatibilityLevel, DeleteMode, ErrorCode, RegistryError, SchemaDefinition,
    SchemaId, SchemaType, Version,
};

fn settings(urls: &[&Registry]) -> ClientSettings {
    let mut settings = ClientSettings::new(urls.iter().map(|registry| registry.url()));
    settings.retry_backoff = Duration::from_millis(1);
    settings
}

fn client(registry: &Registry) -> Client {
    Client::new(settings(&[registry])).expect("a client")
}

fn string() -> SchemaDefinition {
    SchemaDefinition::avro("\"string\"")
}

fn unavailable() -> Fault {
    Fault::Answer(503, r#"{"error_code":50003,"message":"no leader"}"#.into())
}

#[tokio::test]
async fn every_operation_does_what_it_says() {
    let registry = Registry::start();
    let client = client(&registry);
    assert_eq!(client.schema_types().await.expect("types"), [SchemaType::Avro]);
    let id = client.register("t-value", &string(), false).await.expect("an id");
    assert_eq!(client.register("t-value", &string(), true).await.expect("an id"), id);
    assert_eq!(client.schema_by_id(id, Some("t-value")).await.expect("a schema"), string());

    let latest = client.schema("t-value", Version::Latest).await.expect("a version");
    assert_eq!((latest.subject.as_str(), latest.version, latest.id), ("t-value", 1, id));
    assert_eq!(client.schema("t-value", Version::Number(1)).await.expect("a version"), latest);
    assert_eq!(client.lookup("t-value", &string(), false).await.expect("a version"), latest);
    assert_eq!(client.subjects(false).await.expect("subjects"), ["t-value"]);
    assert_eq!(client.versions("t-value").await.expect("versions"), [1]);

    let other = SchemaDefinition::avro("\"int\"");
    assert!(client.check_compatibility("t-value", Version::Latest, &string()).await.expect("an answer").is_compatible);
    let answer = client.check_compatibility("t-value", Version::Latest, &other).await.expect("an answer");
    assert_eq!((answer.is_compatible, answer.messages), (false, vec!["it differs".to_owned()]));

    client.set_compatibility("t-value", CompatibilityLevel::Full).await.expect("set");
    let config = client.subject_config("t-value", false).await.expect("a config");
    assert_eq!(config.compatibility, Some(CompatibilityLevel::Full));
    let global = client.global_config().await.expect("a config");
    assert_eq!(global.compatibility, Some(CompatibilityLevel::Backward));
    let error = client.register("t-value", &other, false).await.expect_err("incompatible");
    assert!(error.is_incompatible() && !error.is_retriable(), "{error}");
    client.delete_subject_config("t-value").await.expect("deleted");
    let error = client.subject_config("t-value", false).await.expect_err("none of its own");
    assert_eq!(error.code(), Some(ErrorCode::SubjectCompatibilityNotConfigured));
    assert_eq!(
        client.subject_config("t-value", true).await.expect("the global one").compatibility,
        global.compatibility
    );

    client.register("t-value", &other, false).await.expect("an id");
    assert_eq!(client.delete_version("t-value", Version::Number(1), DeleteMode::Soft).await.expect("deleted"), 1);
    assert_eq!(client.versions("t-value").await.expect("versions"), [2]);
    assert_eq!(client.delete_subject("t-value", DeleteMode::Permanent).await.expect("deleted"), [1, 2]);
    let last = registry.seen().pop().expect("a request");
    assert_eq!((last.method.as_str(), last.target.as_str()), ("DELETE", "/subjects/t-value?permanent=true"));
}

#[tokio::test]
async fn errors_have_the_registrys_codes() {
    let registry = Registry::start();
    let client = client(&registry);
    let code = |error: RegistryError| {
        assert!(error.is_not_found() && !error.is_retriable(), "{error}");
        error.code().expect("a code")
    };
    assert_eq!(code(client.versions("none").await.expect_err("404")), ErrorCode::SubjectNotFound);
    assert_eq!(code(client.schema_by_id(SchemaId(9), None).await.expect_err("404")), ErrorCode::SchemaNotFound);
    client.register("s", &string(), false).await.expect("an id");
    assert_eq!(code(client.schema("s", Version::Number(5)).await.expect_err("404")), ErrorCode::VersionNotFound);

    let before = registry.seen().len();
    registry.fail([Fault::Answer(409, r#"{"error_code":40901,"message":"READER_FIELD_MISSING"}"#.into())]);
    let error = client.register("s", &string(), false).await.expect_err("incompatible");
    assert_eq!((error.status(), error.code()), (Some(409), Some(ErrorCode::IncompatibleSchema)));
    assert!(
        error.to_string().contains("READER_FIELD_MISSING") && error.to_string().contains("POST http://"),
        "{error}"
    );
    assert_eq!(registry.seen().len(), before + 1, "it was tried again");

    let error = client.versions("").await.expect_err("no subject");
    assert!(matches!(error, RegistryError::Argument { argument: "subject", .. }), "{error}");
}

#[tokio::test]
async fn subjects_with_slashes_stay_one_segment() {
    let registry = Registry::start();
    let client = client(&registry);
    client.register("a/b c?#é", &string(), false).await.expect("an id");
    assert_eq!(registry.seen()[0].target, "/subjects/a%2Fb%20c%3F%23%C3%A9/versions");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_the_rest_is_not() {
    let registry = Registry::start();
    let client = client(&registry);
    let late = |status: u16| Fault::Answer(status, String::new());
    registry.fail([late(408), late(429), unavailable()]);
    client.register("s", &string(), false).await.expect("an id at the fourth attempt");
    assert_eq!(registry.seen().len(), 4);

    registry.fail([Fault::Close, Fault::Half]);
    assert_eq!(client.versions("s").await.expect("versions at the third attempt"), [1]);
    assert_eq!(registry.seen().len(), 7);

    registry.fail([late(401)]);
    assert_eq!(client.versions("s").await.expect_err("refused").status(), Some(401));
    assert_eq!(registry.seen().len(), 8);

    registry.fail(std::iter::repeat_n(unavailable(), 4));
    let error = client.versions("s").await.expect_err("it stays down");
    assert_eq!((error.status(), error.code()), (Some(503), Some(ErrorCode::ForwardingFailed)));
    assert_eq!(registry.seen().len(), 12);
}

#[tokio::test]
async fn a_dead_url_gives_way_to_the_next_for_good() {
    let (sick, well) = (Registry::start(), Registry::start());
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let mut settings = settings(&[&sick, &well]);
    settings.urls.insert(0, dead);
    settings.max_retries = 0;
    let client = Client::new(settings).expect("a client");
    sick.fail([unavailable()]);
    client.register("s", &string(), false).await.expect("an id from the third");
    assert_eq!((sick.seen().len(), well.seen().len()), (1, 1));
    assert_eq!(client.versions("s").await.expect("versions"), [1]);
    assert_eq!((sick.seen().len(), well.seen().len()), (1, 2));
}

#[tokio::test]
async fn nobody_there_is_an_error_that_says_where() {
    let mut settings = ClientSettings::new(["http://user:secret@127.0.0.1:1"]);
    settings.max_retries = 1;
    settings.retry_backoff = Duration::from_millis(1);
    let error = Client::new(settings).expect("a client").subjects(false).await.expect_err("nobody");
    assert!(matches!(error, RegistryError::Transport { .. }) && error.is_retriable());
    let text = error.to_string();
    assert!(text.contains("GET http://127.0.0.1:1/subjects") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_silent_registry_is_not_waited_for_longer_than_told() {
    let registry = Registry::start();
    let mut settings = settings(&[&registry]);
    settings.request_timeout = Duration::from_millis(50);
    settings.max_retries = 0;
    registry.fail([Fault::Silence]);
    let error = Client::new(settings).expect("a client").subjects(false).await.expect_err("silence");
    assert!(matches!(error, RegistryError::Timeout { .. }) && error.is_retriable(), "{error}");
}

#[tokio::test]
async fn answers_that_are_too_large_or_no_answers_are_refused() {
    let registry = Registry::start();
    let mut settings = settings(&[&registry]);
    settings.max_response_bytes = 1000;
    let client = Client::new(settings).expect("a client");
    registry.fail([Fault::Answer(200, format!("[\"{}\"]", "x".repeat(100_000)))]);
    let error = client.subjects(false).await.expect_err("too large");
    assert!(matches!(error, RegistryError::ResponseTooLarge { limit_bytes: 1000, .. }), "{error}");

    registry.fail([Fault::Answer(200, "<html>hello</html>".into())]);
    let error = client.subjects(false).await.expect_err("no JSON");
    assert!(matches!(error, RegistryError::InvalidResponse { .. }) && !error.is_retriable(), "{error}");
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn credentials_and_content_type_are_sent() {
    let registry = Registry::start();
    let mut settings = settings(&[&registry]);
    settings.basic_auth = Some(BasicAuth { username: "user".into(), password: "pass".into() });
    assert!(!format!("{settings:?}").contains("pass\""));
    Client::new(settings).expect("a client").register("s", &string(), false).await.expect("an id");
    let seen = registry.seen().pop().expect("a request");
    assert_eq!(seen.headers["authorization"], "Basic dXNlcjpwYXNz");
    assert_eq!(seen.headers["content-type"], "application/vnd.schemaregistry.v1+json");
    assert_eq!(seen.headers["host"], registry.address.to_string());
    assert_eq!(seen.body, r#"{"schema":"\"string\""}"#);
}
