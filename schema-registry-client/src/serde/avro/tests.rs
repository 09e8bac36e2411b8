//! What the codec owes to good values and to hostile bytes.

use std::collections::BTreeMap;

use apache_avro::types::Value;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::AvroSchema;
use super::shape::{DEPTH_MAX, EMPTY_ITEMS_MAX};
use crate::serde::SerdeError;

/// Every kind of type that a datum can have, logical ones among them, and recursion.
const EVERYTHING: &str = r#"{"type":"record","name":"Everything","namespace":"com.example","fields":[
  {"name":"flag","type":"boolean"},
  {"name":"small","type":"int"},
  {"name":"large","type":"long"},
  {"name":"single","type":"float"},
  {"name":"double","type":"double"},
  {"name":"text","type":"string"},
  {"name":"raw","type":"bytes"},
  {"name":"hash","type":{"type":"fixed","name":"Hash","size":4}},
  {"name":"colour","type":{"type":"enum","name":"Colour","symbols":["RED","GREEN","BLUE"]}},
  {"name":"list","type":{"type":"array","items":["null","string","long"]}},
  {"name":"map","type":{"type":"map","values":{"type":"array","items":"int"}}},
  {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
  {"name":"fixed_price","type":{"type":"fixed","name":"Price","size":5,"logicalType":"decimal","precision":9,"scale":2}},
  {"name":"big","type":{"type":"bytes","logicalType":"big-decimal"}},
  {"name":"id","type":{"type":"string","logicalType":"uuid"}},
  {"name":"day","type":{"type":"int","logicalType":"date"}},
  {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
  {"name":"span","type":{"type":"fixed","name":"Span","size":12,"logicalType":"duration"}},
  {"name":"again","type":"Hash"},
  {"name":"next","type":["null","Everything"]}
]}"#;

const LIST: &str = r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}"#;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: i64,
    name: String,
    tags: Vec<String>,
    prices: BTreeMap<String, f64>,
    note: Option<String>,
}

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"com.example","fields":[
  {"name":"id","type":"long"},{"name":"name","type":"string"},
  {"name":"tags","type":{"type":"array","items":"string"}},
  {"name":"prices","type":{"type":"map","values":"double"}},
  {"name":"note","type":["null","string"],"default":null}]}"#;

fn schema(text: &str) -> AvroSchema {
    AvroSchema::parse(text).expect("a schema")
}

/// A datum of [`EVERYTHING`] with one more inside it, byte by byte.
fn everything() -> Vec<u8> {
    let one = |next: &[u8]| {
        let mut datum = vec![1, 3, 0x80, 1];
        datum.extend(1.5_f32.to_le_bytes());
        datum.extend(2.5_f64.to_le_bytes());
        datum.extend(b"\x06abc\x04\xff\x00wxyz\x02");
        // A list in two blocks, the second with its length in bytes: null, "hi"; then 7.
        datum.extend(b"\x04\x00\x02\x04hi\x01\x04\x04\x0e\x00");
        datum.extend(b"\x02\x02k\x04\x02\x04\x00\x00");
        datum.extend(b"\x04\x01\x02\x00\x00\x00\x01\x02");
        // A big decimal is bytes within bytes: the number, then its scale.
        datum.extend(b"\x06\x02\x05\x04");
        datum.extend(b"\x48550e8400-e29b-41d4-a716-446655440000");
        datum.extend([2, 4]);
        datum.extend([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        datum.extend(b"wxyz");
        datum.extend(next);
        datum
    };
    let inner = one(&[0]);
    let mut next = vec![2];
    next.extend(inner);
    one(&next)
}

fn misfit(error: SerdeError) -> (String, String) {
    match error {
        SerdeError::Datum { path, reason, .. } => (path, reason),
        other => panic!("not a misfit: {other}"),
    }
}

#[test]
fn every_kind_of_type_is_read_and_written_back() {
    let codec = schema(EVERYTHING).codec().clone();
    let value = codec.decode_value(&everything()).expect("a value");
    let mut written = Vec::new();
    codec.encode_value(&value, &mut written).expect("bytes");
    assert_eq!(codec.decode_value(&written).expect("a value"), value);
    let Value::Record(fields) = value else { panic!("not a record") };
    assert_eq!(fields[8].1, Value::Enum(1, "GREEN".into()));
    assert!(matches!(&fields[19].1, Value::Union(1, _)));
}

#[test]
fn serde_types_make_the_round_trip() {
    let order = Order {
        id: -7,
        name: "füür".into(),
        tags: vec!["a".into(), String::new()],
        prices: [("x".to_owned(), 0.5)].into(),
        note: Some("n".into()),
    };
    let codec = schema(ORDER).codec().clone();
    let mut datum = vec![0xee];
    codec.encode(&order, &mut datum).expect("bytes");
    assert_eq!(codec.decode::<Order>(&datum[1..]).expect("an order"), order);
    let value = codec.decode_value(&datum[1..]).expect("a value");
    assert_eq!(apache_avro::from_value::<Order>(&value).expect("an order"), order);
}

#[test]
fn a_value_that_does_not_fit_leaves_the_buffer_alone() {
    let codec = schema(ORDER).codec().clone();
    let mut out = vec![1, 2, 3];
    let error = codec.encode(&"a string", &mut out).expect_err("it does not fit");
    assert!(matches!(error, SerdeError::Encode { .. }), "{error}");
    let error = codec.encode_value(&Value::Record(vec![("id".into(), Value::Long(1))]), &mut out);
    assert!(matches!(error, Err(SerdeError::Encode { .. })));
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn equal_schemas_share_one_codec() {
    assert!(std::sync::Arc::ptr_eq(schema(ORDER).codec(), schema(ORDER).codec()));
    assert_eq!(schema(ORDER).codec().name(), Some("com.example.Order"));
    assert_eq!(schema("\"string\"").codec().name(), None);
}

#[test]
fn what_is_no_schema_is_told() {
    for text in ["", "{", "\"nothing\"", r#"{"type":"record","name":"R"}"#, r#"{"type":"array","items":"Unknown"}"#] {
        let error = AvroSchema::parse(text).expect_err("no schema");
        assert!(matches!(error, SerdeError::Schema { .. }), "{text}: {error}");
    }
}

#[test]
fn a_datum_that_ends_early_is_an_error_and_never_a_null() {
    let (codec, datum) = (schema(EVERYTHING).codec().clone(), everything());
    for len in 0..datum.len() {
        let error = codec.decode_value(&datum[..len]).expect_err("cut short");
        assert!(matches!(error, SerdeError::Datum { .. }), "{len}: {error}");
    }
    for text in ["[\"null\",\"string\"]", "\"boolean\"", "\"string\""] {
        let error = schema(text).codec().decode_value(&[]).expect_err("nothing there");
        assert_eq!(misfit(error).0, "$");
    }
    assert_eq!(schema("\"null\"").codec().decode_value(&[]).expect("a null"), Value::Null);
}

#[test]
fn errors_name_the_place() {
    let codec = schema(ORDER).codec().clone();
    let (path, reason) = misfit(codec.decode_value(b"\x02\x02a\x02\x64").expect_err("a tag too long"));
    assert_eq!((path.as_str(), reason.as_str()), ("$.tags[]", "50 bytes are wanted and 0 are left"));
    let (path, reason) = misfit(codec.decode_value(b"\x02\x02a\x00\x00\x08").expect_err("no such branch"));
    assert_eq!((path.as_str(), reason.as_str()), ("$.note", "the union has 2 branches and none with index 4"));
    let (_, reason) = misfit(codec.decode_value(b"\x02\x02a\x00\x00\x00\x00\x00").expect_err("left over"));
    assert!(reason.starts_with("2 bytes are left over"), "{reason}");
}

#[test]
fn lengths_and_counts_cost_nothing_before_their_bytes_are_there() {
    let huge = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    for text in ["\"string\"", "\"bytes\"", r#"{"type":"array","items":"int"}"#, r#"{"type":"map","values":"int"}"#] {
        let codec = schema(text).codec().clone();
        for bytes in [
            &huge[..],
            b"\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        ] {
            let error = codec.decode_value(bytes).expect_err("nothing behind it");
            assert!(matches!(error, SerdeError::Datum { .. }), "{text}: {error}");
        }
    }
    // Nulls take no bytes, so their number is bounded by itself.
    let nulls = schema(r#"{"type":"array","items":"null"}"#).codec().clone();
    let (_, reason) = misfit(nulls.decode_value(huge).expect_err("too many"));
    assert!(reason.contains(&EMPTY_ITEMS_MAX.to_string()), "{reason}");
    assert!(nulls.decode_value(b"\x06\x00").is_ok());
}

#[test]
fn nesting_is_bounded_before_anything_recurses() {
    let codec = schema(LIST).codec().clone();
    let nested = |depth: usize| [vec![2; depth], vec![0]].concat();
    let (path, reason) = misfit(codec.decode_value(&nested(1_000_000)).expect_err("too deep"));
    assert!(reason.contains(&DEPTH_MAX.to_string()) && path.starts_with("$.next.next"), "{path}: {reason}");

    #[derive(Debug, Serialize, Deserialize)]
    struct Node {
        next: Option<Box<Node>>,
    }
    let deepest = nested(DEPTH_MAX / 2 - 1);
    assert!(codec.decode::<Node>(&deepest).is_ok());
    let value = codec.decode_value(&deepest).expect("a value");
    let mut written = Vec::new();
    codec.encode_value(&value, &mut written).expect("bytes");
    assert_eq!(written, deepest);
    let (_, reason) = misfit(codec.resolve(value).expect_err("it would not end"));
    assert!(reason.contains("without a reader schema"), "{reason}");
    assert!(codec.resolve(codec.decode_value(&nested(9)).expect("a value")).is_ok());
}

#[test]
fn values_are_brought_into_a_reader_schema() {
    let old =
        schema(r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"}]}"#);
    let new = schema(
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"c","type":"string","default":"x"}]}"#,
    );
    let value = old.codec().decode_value(b"\x04\x02b").expect("a value");
    let resolved = new.codec().resolve(value).expect("a value of the new schema");
    assert_eq!(resolved, Value::Record(vec![("a".into(), Value::Long(2)), ("c".into(), Value::String("x".into()))]));
    assert!(schema("\"int\"").codec().resolve(Value::String("no".into())).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_of_a_datum_does_harm(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        let codec = schema(EVERYTHING).codec().clone();
        let mut datum = everything();
        for (place, byte, kind) in edits {
            if datum.is_empty() { break; }
            let at = place.index(datum.len());
            match kind {
                0 => datum[at] = byte,
                1 => datum.insert(at, byte),
                2 => drop(datum.remove(at)),
                _ => datum.truncate(at),
            }
        }
        if let Ok(value) = codec.decode_value(&datum) {
            let mut written = Vec::new();
            codec.encode_value(&value, &mut written).expect("what was read can be written");
            let _ = codec.resolve(value);
        }
        let _ = codec.decode::<serde_json::Value>(&datum);
        let _ = schema(ORDER).codec().decode::<Order>(&datum);
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for text in [EVERYTHING, ORDER, LIST, r#"{"type":"array","items":"null"}"#, "\"boolean\"", "\"double\""] {
            let codec = schema(text).codec().clone();
            let _ = codec.decode_value(&bytes);
            let _ = codec.decode::<serde_json::Value>(&bytes);
        }
    }

    #[test]
    fn orders_make_the_round_trip(
        id in any::<i64>(),
        name in ".*",
        tags in proptest::collection::vec(".*", 0..4),
        prices in proptest::collection::btree_map(".*", any::<f64>().prop_filter("equal to itself", |x| !x.is_nan()), 0..4),
        note in proptest::option::of(".*"),
    ) {
        let order = Order { id, name, tags, prices, note };
        let codec = schema(ORDER).codec().clone();
        let mut datum = Vec::new();
        codec.encode(&order, &mut datum).expect("bytes");
        prop_assert_eq!(codec.decode::<Order>(&datum).expect("an order"), order);
    }
}
