//! Which partition a record goes to.
//!
//! Pure: randomness comes in as a number, and the sticky partition's bytes are counted by the accumulator, under the
//! lock that it holds anyway.

mod crc32;
mod custom;
mod fnv1a;
pub(crate) mod load;
mod murmur2;

pub use custom::{CustomPartitioner, TopicPartitions};
pub use murmur2::murmur2;

use rkafka_config::setting_enum;

setting_enum! {
    /// How a record without a partition of its own gets one.
    ///
    /// Java's hash (murmur2) and librdkafka's (crc32) differ: producers that write to the same compacted or joined
    /// topics must use the same. Names of both are read, and Java's class names; of the classes that Java dropped in 4.0
    /// (KIP-794), `DefaultPartitioner` and `UniformStickyPartitioner`, too.
    pub enum Partitioner {
        /// Java's default: murmur2 of the key; without a key, one partition at a time, until a batch of it is full
        /// (KIP-480, KIP-794), and the sooner again the less waits for it (`partitioner.adaptive.partitioning.enable`).
        /// librdkafka's `murmur2_random` hashes the same.
        Default = "default" | "sticky" | "murmur2_random" | "DefaultPartitioner" | "org.apache.kafka.clients.producer.internals.DefaultPartitioner",
        /// Every record as one without a key, as `default` with `partitioner.ignore.keys`; librdkafka's `random`.
        UniformSticky = "uniform_sticky" | "random" | "UniformStickyPartitioner" | "org.apache.kafka.clients.producer.UniformStickyPartitioner",
        /// librdkafka's default, `consistent_random`: crc32 of the key; without a key, or with an empty one, sticky.
        ConsistentRandom = "consistent_random",
        /// librdkafka's `consistent`: crc32 of the key; no key is hashed as an empty one.
        Consistent = "consistent",
        /// librdkafka's `murmur2`: murmur2 of the key; no key is hashed as an empty one.
        Murmur2 = "murmur2",
        /// librdkafka's `fnv1a_random`, and Sarama's default: FNV-1a of the key; without a key, sticky.
        Fnv1aRandom = "fnv1a_random",
        /// librdkafka's `fnv1a`: FNV-1a of the key; no key is hashed as an empty one.
        Fnv1a = "fnv1a",
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
            (Self::Default | Self::Fnv1aRandom, None) | (Self::UniformSticky, _) => Choice::Sticky,
            (Self::ConsistentRandom, Some(key)) if !key.is_empty() => Choice::Fixed(crc32::crc32(key) % count),
            (Self::ConsistentRandom, _) => Choice::Sticky,
            (Self::Consistent | Self::Murmur2 | Self::Fnv1a, None) if ignore_keys => Choice::Sticky,
            (Self::Consistent, key) => Choice::Fixed(crc32::crc32(key.unwrap_or_default()) % count),
            (Self::Murmur2, key) => Choice::Fixed(positive(murmur2(key.unwrap_or_default())) % count),
            (Self::Fnv1a | Self::Fnv1aRandom, key) => Choice::Fixed(fnv1a::fnv1a(key.unwrap_or_default()) % count),
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

    /// What librdkafka 2.12 and Java 4.3.1 (`BuiltInPartitioner.partitionForKey`) did with these keys and 17 partitions.
    #[test]
    fn every_hash_is_the_others_hash() {
        let every_byte = (0..=255).collect::<Vec<u8>>();
        let keys: [&[u8]; 11] = [
            b"",
            b"a",
            b"ab",
            b"abc",
            b"foobar",
            b"customer-7",
            b"123456789",
            &every_byte,
            "ключ".as_bytes(),
            b"\xff\xfe\xfd",
            &[b'x'; 1000],
        ];
        let murmur2 = [11, 0, 8, 16, 9, 3, 16, 6, 5, 6, 11];
        let crc32 = [0, 9, 11, 8, 6, 12, 15, 12, 6, 16, 11];
        let fnv1a = [0, 16, 15, 1, 15, 0, 2, 3, 14, 2, 4];
        for (partitioner, partitions) in [
            (Partitioner::Default, murmur2),
            (Partitioner::Murmur2, murmur2),
            (Partitioner::Consistent, crc32),
            (Partitioner::Fnv1a, fnv1a),
            (Partitioner::Fnv1aRandom, fnv1a),
        ] {
            for (key, partition) in keys.into_iter().zip(partitions) {
                assert_eq!(
                    partitioner.choose(Some(key), false, 17),
                    Choice::Fixed(partition),
                    "{partitioner} of {key:?}"
                );
            }
        }
        for (key, partition) in keys.into_iter().zip(crc32).skip(1) {
            assert_eq!(Partitioner::ConsistentRandom.choose(Some(key), false, 17), Choice::Fixed(partition));
        }
        for (partitioner, partition) in
            [(Partitioner::Murmur2, 11), (Partitioner::Consistent, 0), (Partitioner::Fnv1a, 0)]
        {
            assert_eq!(partitioner.choose(None, false, 17), Choice::Fixed(partition), "{partitioner} without a key");
        }
        for partitioner in [Partitioner::Default, Partitioner::ConsistentRandom, Partitioner::Fnv1aRandom] {
            assert_eq!(partitioner.choose(None, false, 17), Choice::Sticky, "{partitioner} without a key");
        }
        assert_eq!(Partitioner::UniformSticky.choose(Some(b"k"), false, 17), Choice::Sticky);
    }

    #[test]
    fn names_of_both_worlds_are_read() {
        for (name, expected) in [
            ("murmur2_random", Partitioner::Default),
            ("consistent_random", Partitioner::ConsistentRandom),
            ("fnv1a", Partitioner::Fnv1a),
            ("org.apache.kafka.clients.producer.internals.DefaultPartitioner", Partitioner::Default),
            ("org.apache.kafka.clients.producer.UniformStickyPartitioner", Partitioner::UniformSticky),
            ("org.apache.kafka.clients.producer.RoundRobinPartitioner", Partitioner::RoundRobin),
        ] {
            assert_eq!(name.parse(), Ok(expected));
        }
    }
}
