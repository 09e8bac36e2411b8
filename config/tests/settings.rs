//! A config declared as the crates of this workspace declare theirs.

use std::time::Duration;

use rkafka_config::{Check, ConfigError, PropertiesError, Secret, setting_enum, settings};

setting_enum! {
    /// Acknowledgements.
    pub enum Acks {
        /// Nobody's.
        None = "0",
        /// Everybody's.
        All = "all" | "-1",
    }
}

settings! {
    /// What all clients share.
    pub struct SharedConfig as SharedSettings {
        /// Where to begin.
        "bootstrap.servers" aka "metadata.broker.list" => bootstrap_servers: Vec<String> = Vec::new(),
            in Check::new("at least one address", |list: &Vec<String>| !list.is_empty()), because "there is no default";
        /// Who asks.
        "client.id" => client_id: String = "rkafka".to_owned();
        /// A password.
        "sasl.password" => password: Secret = Secret::default();
        /// Where the client stands.
        "client.rack" => rack: Option<String> = None;
    }
}

settings! {
    /// What producers have.
    pub struct SenderConfig {
        embed shared: SharedConfig as SharedSettings;
        /// How long
        /// a batch waits.
        "linger.ms" aka "queue.buffering.max.ms" => linger: Duration = Duration::from_millis(5),
            in Duration::ZERO..=Duration::from_secs(900), because "no record should wait longer";
        /// How large a batch is.
        "batch.size" => batch_size: i32 = 16_384, in 1..=i32::MAX, because "a batch holds something";
        /// Whose acknowledgement is waited for.
        "acks" => acks: Acks = Acks::All;
        /// How long a delivery may take.
        "delivery.timeout.ms" => delivery_timeout: Duration = Duration::from_secs(120);
        /// A share.
        "share" => share: f64 = 0.5, in 0.0..=1.0, because "it is a share";
        /// How long to keep.
        "keep.ms" => keep: Option<Duration> = None;
    }
    validate = sender_agrees;
}

fn sender_agrees(config: &SenderConfig) -> Result<(), ConfigError> {
    if config.delivery_timeout < config.linger {
        return Err(ConfigError::Conflict {
            name: "delivery.timeout.ms".to_owned(),
            other: "linger.ms".to_owned(),
            reason: "it must not be shorter".to_owned(),
        });
    }
    Ok(())
}

#[test]
fn typed_and_textual_settings_are_the_same() {
    let typed = SenderConfig::new()
        .bootstrap_servers("a:1, b:2")
        .rack("r1")
        .linger(Duration::from_secs(1))
        .acks(Acks::None)
        .batch_size(65_536)
        .keep(Duration::from_secs(60));
    let textual = SenderConfig::from_properties([
        ("metadata.broker.list", "a:1,b:2"),
        ("client.rack", "r1"),
        ("queue.buffering.max.ms", "1s"),
        ("acks", "0"),
        ("batch.size", "64KiB"),
        ("keep.ms", "1m"),
    ])
    .unwrap();
    assert_eq!(typed, textual);
    assert_eq!(typed.shared.bootstrap_servers, ["a:1", "b:2"]);
    // What `entries` shows can be read again.
    let shown = typed.entries().into_iter().map(|entry| (entry.name, entry.value)).collect::<Vec<_>>();
    assert_eq!(SenderConfig::from_properties(shown).unwrap(), typed);
}

#[test]
fn errors_name_the_setting() {
    let mut config = SenderConfig::new();
    let text = |result: Result<(), ConfigError>| result.unwrap_err().to_string();
    assert_eq!(text(config.set("linger", "5")), "there is no setting `linger`");
    assert_eq!(text(config.set("client_id", "5")), "there is no setting `client_id`; did you mean `client.id`?");
    assert_eq!(
        text(config.set("batch.size", "0")),
        "`batch.size` is 0, but must be 1 to 2147483647: a batch holds something"
    );
    assert_eq!(text(config.set("acks", "2")), "`acks` cannot be `2`: expected one of 0, all");
    assert!(text(config.set("linger.ms", "soon")).contains("500ms"));
    assert!(text(config.set("batch.size", "9999999999")).contains("expected a whole number"));
    assert!(config.set("share", "NaN").is_err());
    assert_eq!(config, SenderConfig::new(), "what failed has changed nothing");
    config = config.bootstrap_servers("a:1").batch_size(-1);
    assert!(matches!(config.validate(), Err(ConfigError::OutOfRange { name, .. }) if name == "batch.size"));
    config = config.batch_size(1).delivery_timeout(Duration::ZERO);
    assert!(matches!(config.validate(), Err(ConfigError::Conflict { .. })));
}

#[test]
fn secrets_stay_hidden() {
    let config = SenderConfig::new().password("hunter2");
    assert!(!format!("{config:?} {:?}", config.entries()).contains("hunter2"));
    assert!(config.entries().iter().any(|entry| entry.name == "sasl.password" && entry.value == "[hidden]"));
    assert_eq!(config.shared.password.reveal(), "hunter2");
}

#[test]
fn documentation_comes_from_the_declaration() {
    let docs = SenderConfig::describe();
    assert_eq!(docs.len(), 10);
    let linger = docs.iter().find(|doc| doc.name == "linger.ms").unwrap();
    assert_eq!((linger.default.as_str(), linger.bound.as_deref()), ("5", Some("0 to 900000")));
    assert_eq!(
        (linger.doc.as_str(), linger.aliases, linger.config),
        ("How long\na batch waits.", &["queue.buffering.max.ms"][..], "SenderConfig")
    );
    assert!(docs.iter().any(|doc| doc.name == "sasl.password" && doc.secret));
}

#[test]
fn files_name_the_line() {
    let read = |text| SenderConfig::from_properties_text(text);
    assert_eq!(read("# x\nbootstrap.servers=a:1\nclient.id : me\n").unwrap().shared.client_id, "me");
    let error = read("bootstrap.servers=a:1\n\nlinger.mss=5").unwrap_err();
    assert_eq!(error.to_string(), "line 3: there is no setting `linger.mss`; did you mean `linger.ms`?");
    assert!(matches!(read("client.id=x"), Err(PropertiesError::Whole(_))), "nowhere to begin");
}
