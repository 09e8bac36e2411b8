//! Sarama's key hash, which librdkafka has too: FNV-1a of 32 bits, taken as a signed number without its sign.

pub(super) fn fnv1a(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash as i32).unsigned_abs()
}
