//! docs/config.md and docs/protocol-support.md say what the code says. `UPDATE_DOCS=1 cargo test -p rkafka
//! --all-features --test docs` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rkafka::admin::AdminConfig;
use rkafka::broker::BrokerConfig;
use rkafka::client::ClientConfig;
use rkafka::config::SettingDoc;
use rkafka::consumer::ConsumerConfig;
use rkafka::producer::ProducerConfig;
use rkafka::protocol::ApiKey;

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

fn settings(title: &str, config: &str, all: &[SettingDoc]) -> String {
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
        writeln!(rows, "| `{}` | {default} | {} | {} |", setting.name, cell(&values), cell(&meaning))
            .expect("a String takes all");
    }
    if rows.is_empty() {
        return format!("\n## {title}\n\nNone of its own: those of every client.\n");
    }
    format!("\n## {title}\n\n| name | default | values | meaning |\n|---|---|---|---|\n{rows}")
}

#[test]
fn settings_are_documented() {
    let mut out = String::from(
        "# Settings\n\nGenerated from the declarations; do not edit. Every setting has Kafka's own name and is set by a \
         typed method, by\n`set(\"name\", \"value\")`, from a `.properties` file, or by `-X name=value` on the command \
         line. Times are milliseconds unless\na unit says otherwise (`5s`, `1m`, `7d`); sizes take `KiB`, `MiB`, `GiB`. \
         What is not listed is not there: an unknown\nname is an error, with a suggestion.\n",
    );
    out += &settings("Every client", "ClientConfig", ClientConfig::describe());
    out += &settings("Producer", "ProducerConfig", ProducerConfig::describe());
    out += &settings("Consumer", "ConsumerConfig", ConsumerConfig::describe());
    out += &settings("Admin", "AdminConfig", AdminConfig::describe());
    out += &settings("Broker", "BrokerConfig", BrokerConfig::describe());
    check("config.md", &out);
}

#[test]
fn names_are_declared_once() {
    for all in
        [ProducerConfig::describe(), ConsumerConfig::describe(), AdminConfig::describe(), BrokerConfig::describe()]
    {
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
    let mut out = String::from(
        "# What the broker answers\n\nGenerated from the heads of the handlers; do not edit. A request that is not \
         answered is not in ApiVersions either.\n\n| API | key | Kafka 4.3.1 | here | deviations | KIPs |\n\
         |---|---|---|---|---|---|\n",
    );
    for key in ApiKey::ALL {
        let kafka = key.versions();
        let here = handlers.get(&(*key as i16));
        let field = |name: &str| cell(here.and_then(|fields| fields.get(name)).map_or("", String::as_str));
        let versions = if here.is_some() { field("Versions") } else { "–".to_owned() };
        writeln!(
            out,
            "| {} | {} | {}-{} | {versions} | {} | {} |",
            key.name(),
            *key as i16,
            kafka.min,
            kafka.max,
            field("Deviations"),
            field("KIPs")
        )
        .expect("a String takes all");
    }
    check("protocol-support.md", &out);
}
