//! Every generated message in every version: bytes give an error, or a message that goes through unchanged.
#![no_main]

include!("../../protocol/tests/generated/all_messages.rs");

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rkafka_protocol::messages;
use rkafka_protocol::wire::{Message, decode_whole, encode_to_vec};

type Recode = fn(Bytes, i16) -> Result<Vec<u8>, String>;

fn recode<M: Message>(bytes: Bytes, version: i16) -> Result<Vec<u8>, String> {
    let range = M::VERSIONS;
    let version = range.min + version.rem_euclid(range.max - range.min + 1);
    let message: M = decode_whole(bytes, version).map_err(|error| error.to_string())?;
    encode_to_vec(&message, version).map_err(|error| error.to_string())
}

fuzz_target!(|input: &[u8]| {
    let [first, second, version, body @ ..] = input else { return };
    let which = usize::from(u16::from_be_bytes([*first, *second])) % MESSAGES.len();
    let (name, recode) = MESSAGES[which];
    let version = i16::from(*version);
    if let Ok(once) = recode(Bytes::copy_from_slice(body), version) {
        let twice = recode(Bytes::copy_from_slice(&once), version);
        assert_eq!(twice.as_ref(), Ok(&once), "{name}");
    }
});
