//! docs/config.md, docs/metrics.md and docs/protocol-support.md say what the code says. `UPDATE_DOCS=1 cargo test -p rkafka
//! --all-features --test docs` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rkafka::admin::AdminConfig;
use rkafka::broker::BrokerConfig;
use rkafka::client::ClientConfig;
use rkafka::config::SettingDoc;
use rkafka::consumer::{ConsumerConfig, ShareConsumerConfig};
use rkafka::producer::ProducerConfig;
use rkafka::protocol::ApiKey;

#[path = "docs/java_consumer_metrics.rs"]
mod java_consumer_metrics;
#[path = "docs/java_metrics.rs"]
mod java_metrics;
#[path = "docs/kafka_apis.rs"]
mod kafka_apis;
#[path = "docs/metrics_page.rs"]
mod metrics_page;
#[path = "docs/shown_by.rs"]
mod shown_by;

use kafka_apis::KAFKA;
use shown_by::ShownBy;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// Compares a page with what it should be, or writes it.
fn check(name: &str, text: &str) {
    let path = root().join("docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).expect("docs can be written");
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "docs/{name} is old: run `UPDATE_DOCS=1 cargo test -p rkafka --all-features --test docs`");
}

/// A table's cell: one line, no bar.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The rows of one config; `shown` gives the tests that show what each setting does, where the table tells of them.
fn settings(title: &str, config: &str, all: &[SettingDoc], shown: Option<&ShownBy>) -> String {
    let mut rows = String::new();
    for setting in all.iter().filter(|setting| setting.config == config) {
        let mut values = setting.expected.clone();
        if let Some(bound) = &setting.bound {
            values = format!("{values}, {bound}: {}", setting.reason);
        }
        let mut meaning = setting.doc.clone();
        if !setting.aliases.is_empty() {
            meaning = format!("{meaning} Also `{}`.", setting.aliases.join("`, `"));
        }
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", cell(&setting.default)) };
        let tests = shown.map(|shown| format!(" {} |", shown.links(setting.name))).unwrap_or_default();
        writeln!(rows, "| `{}` | {default} | {} | {} |{tests}", setting.name, cell(&values), cell(&meaning))
            .expect("a String takes all");
    }
    if rows.is_empty() {
        return format!("\n## {title}\n\nNone of its own: those of every client.\n");
    }
    let (head, line) = if shown.is_some() { (" shown by |", "---|") } else { ("", "") };
    format!("\n## {title}\n\n| name | default | values | meaning |{head}\n|---|---|---|---|{line}\n{rows}")
}

#[test]
fn settings_are_documented() {
    let mut out = String::from(
        "# Settings\n\nGenerated from the declarations; do not edit. Every setting has Kafka's own name and is set by a \
         typed method, by\n`set(\"name\", \"value\")`, from a `.properties` file, or by `-X name=value` on the command \
         line. Times are milliseconds unless\na unit says otherwise (`5s`, `1m`, `7d`); sizes take `KiB`, `MiB`, `GiB`. \
         What is not listed is not there: an unknown\nname is an error, with a suggestion.\n",
    );
    let shown = ShownBy::read(&root());
    out += &settings("Every client", "ClientConfig", ClientConfig::describe(), Some(&shown));
    out += &settings("Producer", "ProducerConfig", ProducerConfig::describe(), Some(&shown));
    out += &settings("Consumer", "ConsumerConfig", ConsumerConfig::describe(), Some(&shown));
    out += &settings("Share consumer", "ShareConsumerConfig", ShareConsumerConfig::describe(), Some(&shown));
    out += &settings("Admin", "AdminConfig", AdminConfig::describe(), None);
    out += &settings("Broker", "BrokerConfig", BrokerConfig::describe(), None);
    check("config.md", &out);
}

#[test]
fn metrics_are_documented() {
    check("metrics.md", &metrics_page::text());
}

/// What a client's setting does is shown by a test that says so (`// Shows: linger.ms.`), and what a test says that it
/// shows is there.
#[test]
fn every_setting_of_a_client_is_shown_by_a_test() {
    let shown = ShownBy::read(&root());
    let of_clients = [ProducerConfig::describe(), ConsumerConfig::describe(), ShareConsumerConfig::describe()];
    let known = |name: &str| {
        let all = of_clients.into_iter().chain([AdminConfig::describe()]);
        all.flatten().any(|setting| setting.name == name)
    };
    for name in shown.names() {
        assert!(known(name), "{} shows `{name}`, which is no setting", shown.links(name));
    }
    let names = of_clients.into_iter().flatten().map(|setting| setting.name);
    let missing = names.filter(|name| !shown.has(name)).collect::<BTreeSet<_>>();
    assert!(missing.is_empty(), "no test says `// Shows:` of {missing:?}");
}

#[test]
fn names_are_declared_once() {
    for all in [
        ProducerConfig::describe(),
        ConsumerConfig::describe(),
        ShareConsumerConfig::describe(),
        AdminConfig::describe(),
        BrokerConfig::describe(),
    ] {
        let mut seen = BTreeMap::new();
        for setting in all {
            for name in std::iter::once(&setting.name).chain(setting.aliases) {
                assert!(seen.insert(*name, setting.config).is_none(), "{name} is declared twice");
            }
            assert!(!setting.doc.trim().is_empty(), "{} says nothing", setting.name);
        }
    }
}

/// The lines `//! Name: text` at the head of a handler, joined where they go on.
fn header(code: &str) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut current = None;
    for line in code.lines() {
        let Some(text) = line.strip_prefix("//!") else { break };
        let text = text.trim();
        let named = ["API", "Versions", "Behaviour", "Deviations", "KIPs"]
            .into_iter()
            .find_map(|name| Some((name, text.strip_prefix(name)?.strip_prefix(':')?.trim())));
        if let Some((name, text)) = named {
            fields.insert(name.to_owned(), text.to_owned());
            current = Some(name);
        } else if let (Some(name), false) = (current, text.is_empty()) {
            let field = fields.get_mut(name).expect("it was inserted when it became the current one");
            field.push(' ');
            field.push_str(text);
        }
    }
    fields
}

#[test]
fn protocol_support_is_documented() {
    let folder = root().join("broker-core/src/handlers");
    let mut handlers = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).expect("the handlers are there") {
        let path = entry.expect("a folder can be listed").path();
        let code = std::fs::read_to_string(&path).unwrap_or_default();
        let fields = header(&code);
        let Some(api) = fields.get("API") else { continue };
        let key: i16 = api
            .split_once('(')
            .and_then(|(_, key)| key.trim_end_matches(')').parse().ok())
            .unwrap_or_else(|| panic!("{}: `API: Name (key)` expected", path.display()));
        handlers.insert(key, fields);
    }
    let offered: BTreeMap<i16, String> = rkafka::broker::handlers::OFFERED
        .iter()
        .map(|(key, versions)| {
            // KAFKA-18659: advertised from 0 on, as Kafka does, and refused below 3.
            let least = if *key == ApiKey::Produce { 0 } else { versions.min };
            (*key as i16, range(least, versions.max))
        })
        .collect();
    let to_controllers = rkafka::broker::handlers::OFFERED_TO_CONTROLLERS;
    for (key, _) in to_controllers {
        assert!(handlers.contains_key(&(*key as i16)), "{} has no head: `//! API: Name (key)` expected", key.name());
    }
    let kips_of_controllers: BTreeMap<i16, String> =
        handlers.iter().map(|(key, fields)| (*key, cell(fields.get("KIPs").map_or("", String::as_str)))).collect();
    handlers.retain(|key, _| offered.contains_key(key));
    assert!(handlers.len() == offered.len(), "a handler has no head: `//! API: Name (key)` expected");
    for (key, fields) in &handlers {
        let said = fields.get("Versions").map_or("", String::as_str);
        assert!(said.starts_with(|first: char| first.is_ascii_digit()), "API {key}: `Versions: 0-1` expected");
        for name in ["Behaviour", "Deviations", "KIPs"] {
            assert!(fields.get(name).is_some_and(|text| !text.is_empty()), "API {key} says nothing about its {name}");
        }
    }
    let kafka: BTreeMap<i16, (&str, String)> =
        KAFKA.iter().map(|(key, name, least, most)| (*key, (*name, range(*least, *most)))).collect();
    let field =
        |key: i16, name: &str| cell(handlers.get(&key).and_then(|fields| fields.get(name)).map_or("", String::as_str));
    let same = offered.iter().filter(|(key, here)| kafka.get(key).is_some_and(|(_, there)| there == *here));
    let mut out = format!(
        "# What the broker answers\n\nGenerated from the heads of the handlers and the table of what is offered; do not \
         edit. Kafka's versions are those of\na broker of Kafka 4.3.1 with the settings of its distribution, as \
         `kafka-broker-api-versions` shows them. A request that is\nnot answered is not in ApiVersions either.\n\n\
         Kafka answers {} requests, this broker {}, {} of them in the same versions.\n\n\
         | API | key | here | Kafka 4.3.1 | deviations | KIPs |\n|---|---|---|---|---|---|\n",
        kafka.len(),
        offered.len(),
        same.count(),
    );
    for (key, here) in &offered {
        let name = ApiKey::ALL.iter().find(|api| **api as i16 == *key).map_or("", |api| api.name());
        let there = kafka.get(key).map_or("–", |(_, versions)| versions);
        let (deviations, kips) = (field(*key, "Deviations"), field(*key, "KIPs"));
        writeln!(out, "| {name} | {key} | {here} | {there} | {deviations} | {kips} |").expect("a String takes all");
    }
    out += "\n## What Kafka answers, and this broker does not\n\n| API | key | Kafka 4.3.1 |\n|---|---|---|\n";
    for (key, (name, versions)) in kafka.iter().filter(|(key, _)| !offered.contains_key(key)) {
        writeln!(out, "| {name} | {key} | {versions} |").expect("a String takes all");
    }
    out += "\n## What controllers answer\n\nOn the listeners that `controller.listener.names` names, for brokers, other \
            controllers and tools.\n\n| API | key | versions | KIPs |\n|---|---|---|---|\n";
    for (key, versions) in to_controllers {
        let (name, number, versions) = (key.name(), *key as i16, range(versions.min, versions.max));
        let kips = kips_of_controllers.get(&number).map_or("", String::as_str);
        writeln!(out, "| {name} | {number} | {versions} | {kips} |").expect("a String takes all");
    }
    check("protocol-support.md", &out);
}

fn range(least: i16, most: i16) -> String {
    if least == most { least.to_string() } else { format!("{least}-{most}") }
}

/// The generated schemas, and the list that was taken from a broker, speak of the same versions.
#[test]
fn kafkas_list_fits_its_schemas() {
    for (key, name, least, most) in KAFKA {
        let api = ApiKey::ALL.iter().find(|api| **api as i16 == *key).unwrap_or_else(|| panic!("{name} has no schema"));
        let schema = api.versions();
        assert_eq!(api.name(), *name);
        // A broker may hold back the newest version, and never goes beyond it.
        assert!(schema.max >= *most && schema.min <= (*least).max(schema.min), "{name}");
    }
}
