//! What `produce` wrote `consume` prints again, for each pair of formats that can carry it: bytes that are no text,
//! separators inside of keys and values, empty ones and null.

mod common;

use std::sync::atomic::{AtomicU32, Ordering};

use common::Broker;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

/// Key, value and headers of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Bytes among which what separates records and parts of them is frequent, and what is no UTF-8.
fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let byte = prop_oneof![
        3 => Just(b'\n'), 3 => Just(b':'), 2 => Just(b'|'), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(0u8),
        2 => Just(0xffu8), 4 => any::<u8>(), 6 => b'a'..=b'e'
    ];
    prop_oneof![1 => Just(None), 1 => Just(Some(Vec::new())), 6 => prop::collection::vec(byte, 1..40).prop_map(Some)]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let headers = prop::collection::vec(("[a-c:=,]{0,3}", bytes()), 0..3);
    let record = (bytes(), bytes(), headers).prop_map(|(key, value, headers)| Record { key, value, headers });
    prop::collection::vec(record, 1..12)
}

const HEX: &str = "%K %k{hex} %S %s{hex}\\n";

fn hex(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "-1 ".to_owned(),
        Some(bytes) => {
            format!("{} {}", bytes.len(), bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

/// What `-f` of [`HEX`] prints of it.
fn hex_line(record: &Record) -> String {
    format!("{} {}\n", hex(record.key.as_deref()), hex(record.value.as_deref()))
}

fn contains(bytes: Option<&[u8]>, needle: &[u8]) -> bool {
    bytes.is_some_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

/// Runs `property` on one broker with topics of its own.
fn check(cases: u32, property: impl Fn(&Broker, &dyn Fn() -> String, Vec<Record>) -> Result<(), TestCaseError>) {
    let broker = Broker::in_memory();
    let next = AtomicU32::new(0);
    let topic = || {
        let name = format!("t{}", next.fetch_add(1, Ordering::Relaxed));
        broker.topic(&name, "1");
        name
    };
    let given = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(given.unwrap_or(1)),
        max_shrink_iters: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config).run(&records(), |records| property(&broker, &topic, records)).unwrap();
}

/// The record as `produce -J` reads it, its bytes in base64 or, where they are text, as a string.
fn json(record: &Record) -> serde_json::Value {
    let value = |bytes: Option<&[u8]>| match bytes.map(std::str::from_utf8) {
        None => serde_json::Value::Null,
        Some(Ok(text)) => text.into(),
        Some(Err(_)) => serde_json::json!({ "base64": base64(bytes.unwrap_or_default()) }),
    };
    let headers = record.headers.iter().flat_map(|(name, header)| [name.as_str().into(), value(header.as_deref())]);
    serde_json::json!({
        "key": value(record.key.as_deref()),
        "payload": value(record.value.as_deref()),
        "headers": serde_json::Value::from_iter(headers),
    })
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63] as char;
            out.push(if place <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

#[test]
fn json_carries_everything_to_json_and_to_a_format() {
    check(24, |broker, topic, records| {
        let (first, second) = (topic(), topic());
        let lines: String = records.iter().map(|record| format!("{}\n", json(record))).collect();
        broker.ok(&["produce", &first, "-J"], lines.as_bytes());
        let expected: String = records.iter().map(hex_line).collect();
        let hex = broker.ok(&["consume", &first, "-e", "-f", HEX], b"");
        prop_assert_eq!(String::from_utf8(hex).unwrap(), expected);
        let printed = broker.ok(&["consume", &first, "-e", "-J"], b"");
        broker.ok(&["produce", &second, "-J"], &printed);
        let again = broker.ok(&["consume", &second, "-e", "-J"], b"");
        let parts = |line: &str| {
            let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
            let headers = parsed.get("headers").cloned().unwrap_or_else(|| serde_json::json!([]));
            serde_json::json!({ "key": parsed["key"], "payload": parsed["payload"], "headers": headers })
        };
        let again: Vec<_> = String::from_utf8(again).unwrap().lines().map(parts).collect();
        prop_assert_eq!(again, records.iter().map(json).collect::<Vec<_>>());
        Ok(())
    });
}

/// What lines with this delimiter of keys and of records carry: the first separator is the one that counts.
fn fits(record: &Record, key_end: &[u8], end: &[u8], null: bool) -> bool {
    let empty = |bytes: &Option<Vec<u8>>| bytes.as_ref().is_some_and(Vec::is_empty);
    let lost = |bytes: &Option<Vec<u8>>| if null { empty(bytes) } else { bytes.is_none() };
    let line =
        [record.key.clone().unwrap_or_default(), key_end.to_vec(), record.value.clone().unwrap_or_default()].concat();
    // Within a delimiter of several bytes, the end of a part and its beginning may make another one.
    let found = line.windows(key_end.len()).position(|window| window == key_end);
    let whole = [line.clone(), end.to_vec()].concat();
    let ends = whole.windows(end.len()).position(|window| window == end);
    !lost(&record.key)
        && !lost(&record.value)
        && found == Some(record.key.as_ref().map_or(0, Vec::len))
        && ends == Some(line.len())
        && !contains(record.key.as_deref(), key_end)
}

#[test]
fn lines_carry_what_has_no_separator_in_the_wrong_place() {
    for (key_end, end, null) in [(":", "\n", false), (":", "\n", true), ("||", "\\x00", false), ("\\t", "--\\n", true)]
    {
        let real = |text: &str| text.replace("\\x00", "\0").replace("\\n", "\n").replace("\\t", "\t").into_bytes();
        check(12, |broker, topic, records| {
            let (first, second) = (topic(), topic());
            let (key_bytes, end_bytes) = (real(key_end), real(end));
            let records: Vec<Record> =
                records.into_iter().filter(|record| fits(record, &key_bytes, &end_bytes, null)).collect();
            let mut input = Vec::new();
            for record in &records {
                input.extend(record.key.as_deref().unwrap_or_default());
                input.extend(&key_bytes);
                input.extend(record.value.as_deref().unwrap_or_default());
                input.extend(&end_bytes);
            }
            let flags = ["-K", key_end, "-D", end];
            let nulls: &[&str] = if null { &["-Z"] } else { &[] };
            broker.ok(&[&["produce", &first][..], &flags, nulls].concat(), &input);
            let expected: String = records.iter().map(hex_line).collect();
            let hex = broker.ok(&["consume", &first, "-e", "-f", HEX], b"");
            prop_assert_eq!(String::from_utf8(hex).unwrap(), expected);
            // Printed with the same separators it is the same input.
            let printed = broker.ok(&[&["consume", &first, "-e"][..], &flags].concat(), b"");
            prop_assert_eq!(&printed, &input);
            broker.ok(&[&["produce", &second][..], &flags, nulls].concat(), &printed);
            prop_assert_eq!(broker.ok(&[&["consume", &second, "-e"][..], &flags].concat(), b""), input);
            Ok(())
        });
    }
}
