//! Which partition a record goes to.
//!
//! Pure: randomness comes in as a number, and the sticky partition's bytes are counted by the accumulator, under the
//! lock that it holds anyway.

mod crc32;
mod murmur2;

pub use murmur2::murmur2;

use rkafka_config::setting_enum;

setting_enum! {
    /// How a record without a partition of its own gets one.
    ///
    /// Java's hash (murmur2) and librdkafka's (crc32) differ: producers that write to the same compacted or joined
    /// topics must use the same.
    pub enum Partitioner {
        /// Java's default: murmur2 of the key; without a key, one partition at a time, until `batch.size` bytes were
        /// written to it (KIP-480, KIP-794). librdkafka's `murmur2_random` hashes the same.
        Default = "default" | "sticky" | "murmur2_random" | "org.apache.kafka.clients.producer.internals.DefaultPartitioner",
        /// librdkafka's default, `consistent_random`: crc32 of the key; without a key, or with an empty one, sticky.
        ConsistentRandom = "consistent_random",
        /// librdkafka's `consistent`: crc32 of the key; no key is hashed as an empty one.
        Consistent = "consistent",
        /// librdkafka's `murmur2`: murmur2 of the key; no key is hashed as an empty one.
        Murmur2 = "murmur2",
        /// Every partition in turn, with or without a key. Batches are smaller than with the others.
        RoundRobin = "round_robin" | "RoundRobinPartitioner" | "org.apache.kafka.clients.producer.RoundRobinPartitioner",
    }
}

/// What the partitioner says about one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This partition and no other.
    Fixed(u32),
    /// The one that batches are filled in at present.
    Sticky,
    /// The next one in turn.
    Next,
}

impl Partitioner {
    /// Chooses among `count` partitions, of which there is one at least.
    pub(crate) fn choose(self, key: Option<&[u8]>, ignore_keys: bool, count: u32) -> Choice {
        let count = count.max(1);
        let key = key.filter(|_| !ignore_keys);
        match (self, key) {
            (Self::Default, Some(key)) => Choice::Fixed(positive(murmur2(key)) % count),
            (Self::Default, None) => Choice::Sticky,
            (Self::ConsistentRandom, Some(key)) if !key.is_empty() => Choice::Fixed(crc32::crc32(key) % count),
            (Self::ConsistentRandom, _) => Choice::Sticky,
            (Self::Consistent | Self::Murmur2, None) if ignore_keys => Choice::Sticky,
            (Self::Consistent, key) => Choice::Fixed(crc32::crc32(key.unwrap_or_default()) % count),
            (Self::Murmur2, key) => Choice::Fixed(positive(murmur2(key.unwrap_or_default())) % count),
            (Self::RoundRobin, _) => Choice::Next,
        }
    }
}

/// Java's `Utils.toPositive`: the sign bit is masked, which is not the absolute value.
fn positive(hash: i32) -> u32 {
    hash as u32 & 0x7fff_ffff
}

/// One step of xorshift64*, to choose the next sticky partition: spread is what is asked of it, not secrecy.
pub(crate) fn next_random(state: u64) -> u64 {
    let mut next = state | 1;
    next ^= next >> 12;
    next ^= next << 25;
    next ^= next >> 27;
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_the_others_put_them() {
        // Java: toPositive(murmur2("foobar")) = 1357151166.
        assert_eq!(Partitioner::Default.choose(Some(b"foobar"), false, 1000), Choice::Fixed(166));
        assert_eq!(Partitioner::Default.choose(Some(b""), false, 7), Choice::Fixed(positive(murmur2(b"")) % 7));
        // crc32("123456789") = 0xcbf43926, the check value of the polynomial.
        assert_eq!(Partitioner::Consistent.choose(Some(b"123456789"), false, 10), Choice::Fixed(0xcbf4_3926 % 10));
        assert_eq!(Partitioner::ConsistentRandom.choose(Some(b""), false, 10), Choice::Sticky);
        assert_eq!(Partitioner::Consistent.choose(None, false, 10), Choice::Fixed(0));
        for partitioner in [Partitioner::Default, Partitioner::Consistent, Partitioner::Murmur2] {
            assert_eq!(partitioner.choose(Some(b"k"), true, 10), Choice::Sticky, "partitioner.ignore.keys");
        }
    }

    #[test]
    fn names_of_both_worlds_are_read() {
        for (name, expected) in [
            ("murmur2_random", Partitioner::Default),
            ("consistent_random", Partitioner::ConsistentRandom),
            ("org.apache.kafka.clients.producer.RoundRobinPartitioner", Partitioner::RoundRobin),
        ] {
            assert_eq!(name.parse(), Ok(expected));
        }
    }
}
