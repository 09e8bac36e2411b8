//! The generated messages against two oracles.
//!
//! Bytes are made at random straight from Apache Kafka's schemas, for every message in every version, by a walk that
//! shares nothing with the generated code. Ours must read them all and write the same bytes again. Where the
//! `kafka-protocol` crate knows the message and the version, it must read what we wrote and write the same bytes too.
//! Bytes that are damaged must give an error or another message, and never a panic.

#[path = "../../xtask/src/codegen/schema.rs"]
#[expect(dead_code, reason = "the generator uses more of it")]
mod schema;

include!("generated/all_messages.rs");

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rkafka_protocol::messages;
use rkafka_protocol::wire::{Message as _, decode_whole, encode_to_vec};
use schema::{Field, Kind, Message, Struct};

/// Decodes the whole of some bytes in a version and encodes what came out.
type Recode = fn(Bytes, i16) -> Result<Vec<u8>, String>;

fn recode<M: rkafka_protocol::wire::Message>(bytes: Bytes, version: i16) -> Result<Vec<u8>, String> {
    let message: M = decode_whole(bytes, version).map_err(|error| error.to_string())?;
    encode_to_vec(&message, version).map_err(|error| error.to_string())
}

fn schemas() -> BTreeMap<String, Message> {
    let mut found = BTreeMap::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the schemas are checked in") {
            let path: PathBuf = entry.expect("a folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(message) = Message::read(&path) {
                found.insert(message.name.clone(), message);
            }
        }
    }
    found
}

/// A small generator of random numbers: a run is told by its seed alone.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 29)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Writes random bytes of a message in one version, by its schema alone.
struct Author<'a> {
    message: &'a Message,
    version: i16,
    random: Random,
}

impl Author<'_> {
    fn flexible(&self) -> bool {
        self.within(self.message.flexible)
    }

    fn within(&self, versions: schema::Versions) -> bool {
        versions.min <= self.version && self.version <= versions.max
    }

    /// `distinct` as for [`Author::field`]: one field that is not its default makes the whole so.
    fn structure(&mut self, one: &Struct, distinct: bool, out: &mut Vec<u8>) {
        let version = self.version;
        let here = |field: &&Field| field.versions.min <= version && version <= field.versions.max;
        for (at, field) in one.fields.iter().filter(here).filter(|field| field.tag.is_none()).enumerate() {
            let flexible = self.flexible() && field.flexible.is_none();
            self.field(field, flexible, distinct && at == 0, out);
        }
        if !self.flexible() {
            return;
        }
        let mut tagged = BTreeMap::new();
        for field in one.fields.iter().filter(here) {
            if let Some(tag) = field.tag
                && self.random.below(2) == 0
            {
                let mut content = Vec::new();
                self.field(field, true, true, &mut content);
                tagged.insert(tag, content);
            }
        }
        if self.random.below(4) == 0 {
            // A tag that no schema has yet: it must be kept and passed on.
            let length = self.random.below(5);
            let content = (0..length).map(|_| self.random.next() as u8).collect();
            tagged.insert(1000 + self.random.below(9) as u32, content);
        }
        unsigned_varint(tagged.len() as u32, out);
        for (tag, content) in tagged {
            unsigned_varint(tag, out);
            unsigned_varint(content.len() as u32, out);
            out.extend(content);
        }
    }

    /// `distinct` asks for a value that is not the default, since a tagged field with its default does not go out.
    fn field(&mut self, field: &Field, flexible: bool, distinct: bool, out: &mut Vec<u8>) {
        let nullable = self.within(field.nullable);
        let null_is_default = field.default.as_deref() == Some("null") || field.kind == Kind::Records;
        if nullable && self.random.below(4) == 0 && !(distinct && null_is_default) {
            match field.kind {
                Kind::Struct(_) => out.push(0xff),
                _ => length(None, flexible, field.kind == Kind::String, out),
            }
            return;
        }
        if nullable && matches!(field.kind, Kind::Struct(_)) {
            out.push(1);
        }
        // Where null is the default, an empty value is not.
        let filled = distinct && !(nullable && null_is_default);
        self.value(&field.kind, flexible, filled, field.default.as_deref(), out);
    }

    fn value(&mut self, kind: &Kind, flexible: bool, filled: bool, default: Option<&str>, out: &mut Vec<u8>) {
        match kind {
            Kind::Bool if filled => out.push(u8::from(default != Some("true"))),
            Kind::Bool => out.push(self.random.below(2) as u8),
            Kind::Integer(name) => {
                let size = match *name {
                    "i8" => 1,
                    "i16" | "u16" => 2,
                    "i32" | "u32" => 4,
                    _ => 8,
                };
                let number = loop {
                    // Small numbers and whole ranges alike, and never the default where that would not go out.
                    let number = match self.random.below(3) {
                        0 => self.random.below(5) as i64 - 1,
                        _ => self.random.next() as i64,
                    };
                    let default: i64 = default.and_then(|text| text.parse().ok()).unwrap_or(0);
                    let bits = 64 - 8 * size;
                    if !filled || number << bits != default << bits {
                        break number;
                    }
                };
                out.extend(&number.to_be_bytes()[8 - size..]);
            }
            Kind::Float64 => out.extend((self.random.below(1_000_000) as f64 / 7.0 + 1.0).to_be_bytes()),
            Kind::Uuid => out.extend((0..16).map(|_| self.random.next() as u8 | 1)),
            Kind::String => {
                let letters = self.random.below(12).max(u64::from(filled));
                let text: String =
                    (0..letters).map(|_| ['a', 'Z', '0', '.', 'ü', '界'][self.random.below(6) as usize]).collect();
                length(Some(text.len()), flexible, true, out);
                out.extend(text.as_bytes());
            }
            Kind::Bytes | Kind::Records => {
                // Some beyond the size from which the writer keeps references.
                let bound = if self.random.below(8) == 0 { 3000 } else { 20 };
                let size = self.random.below(bound).max(u64::from(filled)) as usize;
                length(Some(size), flexible, false, out);
                out.extend((0..size).map(|_| self.random.next() as u8));
            }
            Kind::Array(element) => {
                let count = self.random.below(4).max(u64::from(filled)) as usize;
                length(Some(count), flexible, false, out);
                for _ in 0..count {
                    self.value(element, flexible, false, None, out);
                }
            }
            Kind::Struct(name) => {
                let message = self.message;
                let one = message.structs.iter().find(|one| one.name == *name).expect("a schema defines its structs");
                self.structure(one, filled, out);
            }
        }
    }
}

fn unsigned_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn length(value: Option<usize>, flexible: bool, short: bool, out: &mut Vec<u8>) {
    let number = value.map_or(-1, |value| value as i64);
    match (flexible, short) {
        (true, _) => unsigned_varint((number + 1) as u32, out),
        (false, true) => out.extend((number as i16).to_be_bytes()),
        (false, false) => out.extend((number as i32).to_be_bytes()),
    }
}

fn author(message: &Message, version: i16, seed: u64) -> Vec<u8> {
    let mut author = Author { message, version, random: Random(seed) };
    let mut out = Vec::new();
    author.structure(&message.structs[0], false, &mut out);
    out
}

/// What `kafka-protocol` makes of the bytes, or `None` where it does not know the message in that version.
fn theirs(message: &Message, version: i16, bytes: &[u8]) -> Option<Result<Vec<u8>, String>> {
    use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
    let key = ApiKey::try_from(message.api_key?).ok()?;
    let range = key.valid_versions();
    if !(range.min..=range.max).contains(&version) {
        return None;
    }
    let mut input = Bytes::copy_from_slice(bytes);
    let mut output = BytesMut::new();
    let done = match message.kind.as_str() {
        "request" => RequestKind::decode(key, &mut input, version).and_then(|kind| kind.encode(&mut output, version)),
        "response" => ResponseKind::decode(key, &mut input, version).and_then(|kind| kind.encode(&mut output, version)),
        _ => return None,
    };
    Some(match done {
        Ok(()) if input.is_empty() => Ok(output.to_vec()),
        Ok(()) => Err(format!("{} bytes left over", input.len())),
        // Its table of keys names some versions that its messages do not have.
        Err(error) if format!("{error:#}").contains("specified version not supported") => return None,
        Err(error) => Err(format!("{error:#}")),
    })
}

fn check(message: &Message, recode: Recode, version: i16, seed: u64) {
    let name = &message.name;
    let bytes = author(message, version, seed);
    let ours = recode(Bytes::copy_from_slice(&bytes), version)
        .unwrap_or_else(|error| panic!("{name} v{version}, seed {seed}: {error}; bytes {bytes:02x?}"));
    assert_eq!(ours, bytes, "{name} v{version}, seed {seed}: ours changed the bytes");
    match theirs(message, version, &ours) {
        Some(Ok(theirs)) => assert_eq!(theirs, ours, "{name} v{version}, seed {seed}: kafka-protocol differs"),
        Some(Err(error)) => panic!("{name} v{version}, seed {seed}: kafka-protocol refuses ours: {error}"),
        None => {}
    }
}

#[test]
fn every_message_has_a_schema_and_a_codec() {
    let schemas = schemas();
    let names: Vec<&str> = MESSAGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, schemas.keys().map(String::as_str).collect::<Vec<_>>());
    let shared = schemas
        .values()
        .flat_map(|message| (message.versions.min..=message.versions.max).map(move |version| (message, version)))
        .filter(|(message, version)| theirs(message, *version, &author(message, *version, 1)).is_some())
        .count();
    assert!(shared > 500, "the oracle must know most messages, it knows {shared} message versions");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_a_schema_allows_goes_through_unchanged(seed: u64) {
        let schemas = schemas();
        for (name, recode) in MESSAGES {
            let message = &schemas[*name];
            for version in message.versions.min..=message.versions.max {
                check(message, *recode, version, seed);
            }
        }
    }

    #[test]
    fn damaged_bytes_never_panic(seed: u64) {
        let schemas = schemas();
        let mut random = Random(seed);
        for (name, recode) in MESSAGES {
            let message = &schemas[*name];
            let version = message.versions.min
                + random.below((message.versions.max - message.versions.min) as u64 + 1) as i16;
            let mut bytes = author(message, version, seed);
            for _ in 0..8 {
                let at = random.below(bytes.len() as u64 + 1) as usize;
                match random.below(4) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, random.next() as u8),
                    2 => bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f]).for_each(drop),
                    _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.next() as u8),
                }
                // Either it is refused, or it is another message, which must itself go through unchanged.
                if let Ok(again) = recode(Bytes::copy_from_slice(&bytes), version) {
                    let twice = recode(Bytes::copy_from_slice(&again), version);
                    prop_assert_eq!(twice.as_ref(), Ok(&again), "{} v{}", name, version);
                }
            }
        }
    }
}

#[test]
fn the_five_bytes_that_abort_a_trusting_decoder() {
    let error = decode_whole::<messages::MetadataRequest>(Bytes::from_static(&[0xf0, 0xff, 0xff, 0xff, 0x0f]), 12);
    assert!(error.is_err());
}

#[test]
fn a_field_that_a_version_cannot_carry_is_refused_and_not_dropped() {
    use rkafka_protocol::wire::EncodeError;
    let request = messages::OffsetFetchRequest { require_stable: true, ..Default::default() };
    let error = encode_to_vec(&request, 6).unwrap_err();
    assert_eq!(
        error,
        EncodeError::FieldNotInVersion { message: "OffsetFetchRequest", field: "RequireStable", version: 6 }
    );
    let _: i16 = messages::OffsetFetchRequest::FIRST_FLEXIBLE;
}
