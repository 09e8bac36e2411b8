//! `cargo xtask tidy`: what no compiler checks. Which room may depend on which and on what it does not use, whose licences
//! come in, how long a file may grow, and that nothing is left half done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The rooms, and the rooms each may depend on (its tests may use more, see [`TEST_ROOMS`]).
const ROOMS: &[(&str, &[&str])] = &[
    ("rkafka-protocol", &[]),
    ("rkafka-config", &[]),
    ("rkafka-assignor", &[]),
    ("rkafka-schema-registry-client", &[]),
    ("rkafka-net", &["rkafka-protocol"]),
    ("rkafka-client-core", &["rkafka-protocol", "rkafka-config", "rkafka-net"]),
    ("rkafka-producer", &["rkafka-protocol", "rkafka-config", "rkafka-net", "rkafka-client-core"]),
    ("rkafka-consumer", &["rkafka-protocol", "rkafka-config", "rkafka-net", "rkafka-client-core", "rkafka-assignor"]),
    ("rkafka-admin", &["rkafka-protocol", "rkafka-config", "rkafka-net", "rkafka-client-core"]),
    // The broker knows no client.
    ("rkafka-broker-core", &["rkafka-protocol", "rkafka-config", "rkafka-net", "rkafka-assignor"]),
    (
        "rkafka",
        &[
            "rkafka-protocol",
            "rkafka-config",
            "rkafka-client-core",
            "rkafka-producer",
            "rkafka-consumer",
            "rkafka-admin",
            "rkafka-schema-registry-client",
            "rkafka-broker-core",
        ],
    ),
    ("rkafka-cli", &["rkafka"]),
    ("rkafka-examples", &["rkafka"]),
    ("rkafka-testkit", &["rkafka-broker-core", "rkafka-protocol"]),
    ("rkafka-history", &[]),
    ("rkafka-e2e", &[]),
    ("rkafka-interop", &[]),
    ("rkafka-sim", &["rkafka", "rkafka-broker-core", "rkafka-net"]),
    ("rkafka-bench", &["rkafka"]),
    ("xtask", &[]),
];

/// What tests may use beyond their crate's rooms.
const TEST_ROOMS: &[&str] = &["rkafka", "rkafka-testkit", "rkafka-history", "rkafka-protocol"];

/// Licences that may come in with a dependency.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "0BSD",
    "Unlicense",
    "BSL-1.0",
];

/// Licences that one package alone may have, with the package.
const LICENCES_OF_ONE: &[(&str, &str)] = &[("sasl", "MPL-2.0")];

/// A source file longer than this owns too much.
const LINES_MAX: usize = 800;

/// What is not left in the tree. Split, so that this file does not find itself.
const LOOSE_ENDS: &[&str] =
    &[concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ign", "ore"), concat!("#[al", "low(")];

/// Runs every check and reports all that is wrong at once.
pub fn run(root: &Path) -> Result<(), String> {
    let metadata = metadata(root)?;
    let mut wrong = Vec::new();
    rooms(&metadata, &mut wrong);
    licences(&metadata, &mut wrong);
    duplicates(&metadata, &mut wrong);
    unused(&metadata, &mut wrong);
    planted(&metadata, &mut wrong);
    sources(root, root, &mut wrong)?;
    if wrong.is_empty() {
        eprintln!("tidy: rooms, licences, duplicates and sources are in order");
        return Ok(());
    }
    Err(format!("not tidy:\n  {}", wrong.join("\n  ")))
}

fn metadata(root: &Path) -> Result<Value, String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

fn rooms(metadata: &Value, wrong: &mut Vec<String>) {
    let ours: BTreeSet<&str> = packages(metadata).filter(|package| is_ours(package)).map(|p| text(p, "name")).collect();
    for package in packages(metadata).filter(|package| is_ours(package)) {
        let name = text(package, "name");
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == name) else {
            wrong.push(format!("{name}: no such room in xtask/src/tidy.rs; say there what it may depend on"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = text(dependency, "name");
            let is_test = dependency["kind"].as_str() == Some("dev");
            if ours.contains(other) && !allowed.contains(&other) && !(is_test && TEST_ROOMS.contains(&other)) {
                wrong.push(format!("{name} depends on {other}, which the house does not allow (ARCHITECTURE.md)"));
            }
        }
    }
}

/// Whether one of a licence expression's alternatives can be met.
fn may_come_in(package: &str, expression: &str) -> bool {
    let allowed = |licence: &str| {
        let licence = licence.trim().trim_matches(['(', ')']).trim();
        LICENCES.contains(&licence) || LICENCES_OF_ONE.contains(&(package, licence))
    };
    let expression = expression.replace('/', " OR ");
    // "(A OR B) AND C" has an alternative in its first part; without brackets, OR binds less than AND.
    if expression.contains('(') {
        expression.split(" AND ").all(|part| part.split(" OR ").any(allowed))
    } else {
        expression.split(" OR ").any(|part| part.split(" AND ").all(allowed))
    }
}

fn licences(metadata: &Value, wrong: &mut Vec<String>) {
    for package in packages(metadata).filter(|package| !is_ours(package)) {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        if !may_come_in(name, licence) {
            wrong.push(format!("{name} {}: licence `{licence}` is not on the list", text(package, "version")));
        }
    }
}

/// Two versions of one package are built twice and speak past each other. The few that others force on us are named.
const DUPLICATES_FORCED: &[&str] = &[
    // kafka-protocol and apache-avro derive by older macros than clap and serde do; built for the host only.
    "heck", "syn",
];

fn duplicates(metadata: &Value, wrong: &mut Vec<String>) {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages(metadata) {
        versions.entry(text(package, "name")).or_default().insert(text(package, "version"));
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !DUPLICATES_FORCED.contains(name) {
            wrong.push(format!("{name} comes in {} versions: {versions:?}", versions.len()));
        }
    }
}

/// A dependency that no code of its crate names is built for nothing. Those that only files from elsewhere name are said.
const NAMED_ELSEWHERE: &[(&str, &str)] = &[
    // The walk over the schemas that protocol's tests share with the generator.
    ("rkafka-protocol", "serde_json"),
    // The runtime of the README's programs, which are this crate's documentation tests.
    ("rkafka", "tokio"),
];

fn unused(metadata: &Value, wrong: &mut Vec<String>) {
    for package in packages(metadata).filter(|package| is_ours(package)) {
        let name = text(package, "name");
        let Some(folder) = Path::new(text(package, "manifest_path")).parent() else { continue };
        let code = code_below(folder);
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["rename"].as_str().unwrap_or_else(|| text(dependency, "name"));
            let in_code = other.replace('-', "_");
            if !code.contains(&in_code) && !NAMED_ELSEWHERE.contains(&(name, other)) {
                wrong.push(format!("{name} depends on {other}, which none of its code names"));
            }
        }
    }
}

/// Bugs that were planted for tests must be asked for, by no other feature and by no crate that depends on them.
fn planted(metadata: &Value, wrong: &mut Vec<String>) {
    const FEATURE: &str = "planted-bugs";
    for package in packages(metadata).filter(|package| is_ours(package)) {
        let name = text(package, "name");
        for (feature, enables) in package["features"].as_object().into_iter().flatten() {
            let mut enables = enables.as_array().into_iter().flatten().filter_map(Value::as_str);
            if feature != FEATURE && enables.any(|enabled| enabled.ends_with(FEATURE)) {
                wrong.push(format!("{name}: feature `{feature}` brings `{FEATURE}` with it"));
            }
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let mut features = dependency["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if dependency["kind"].as_str() != Some("dev") && features.any(|feature| feature == FEATURE) {
                wrong.push(format!("{name} depends on {} with `{FEATURE}`", text(dependency, "name")));
            }
        }
    }
}

fn code_below(folder: &Path) -> String {
    let mut code = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            code.push_str(&code_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
    code
}

fn sources(root: &Path, folder: &Path, wrong: &mut Vec<String>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') && name != "messages" {
                sources(root, &path, wrong)?;
            }
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let code = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let lines = code.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{shown}: {lines} lines; which of its parts wants a file of its own?"));
        }
        for (index, line) in code.lines().enumerate() {
            if let Some(end) = LOOSE_ENDS.iter().find(|end| line.contains(**end)) {
                wrong.push(format!("{shown}:{}: `{end}`", index + 1));
            }
        }
    }
    Ok(())
}
