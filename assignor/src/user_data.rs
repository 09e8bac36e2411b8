//! What `sticky` and `cooperative-sticky` send of the past in a subscription's user data, in Java's bytes.
//!
//! `sticky` (version 1): an array of topics, each a string and an array of partition numbers, then the generation in 32
//! bits. Version 0 is the same without the generation. `cooperative-sticky`: the generation alone.

use std::collections::BTreeMap;

use crate::{Remembered, TopicPartition};

/// What Java sends where there is no generation.
const NO_GENERATION: i32 = -1;

/// Writes what a `sticky` member remembers.
pub(crate) fn write_sticky(remembered: &Remembered) -> Vec<u8> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &remembered.partitions {
        // A name that a string of the protocol cannot hold is no topic's.
        if i16::try_from(topic.len()).is_ok() {
            topics.entry(topic).or_default().push(*partition);
        }
    }
    let mut bytes = Vec::new();
    let length = |count: usize| i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes();
    bytes.extend(length(topics.len()));
    for (topic, mut partitions) in topics {
        partitions.sort_unstable();
        partitions.dedup();
        bytes.extend(i16::try_from(topic.len()).unwrap_or(i16::MAX).to_be_bytes());
        bytes.extend(topic.as_bytes());
        bytes.extend(length(partitions.len()));
        partitions.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
    }
    bytes.extend(remembered.generation.to_be_bytes());
    bytes
}

/// Reads what a `sticky` member remembers, with the generation where it is told; `None` for bytes that are no such thing,
/// which are passed over as in Java.
pub(crate) fn read_sticky(bytes: &[u8]) -> Option<(Vec<TopicPartition>, Option<i32>)> {
    let mut rest = bytes;
    let mut partitions = Vec::new();
    // Counts are the sender's: nothing is reserved by them, and each element must be there in bytes.
    for _ in 0..u32::try_from(read_i32(&mut rest)?).ok()? {
        let length = usize::try_from(i16::from_be_bytes(*take::<2>(&mut rest)?)).ok()?;
        let (name, behind) = rest.split_at_checked(length)?;
        rest = behind;
        let name = str::from_utf8(name).ok()?;
        for _ in 0..u32::try_from(read_i32(&mut rest)?).ok()? {
            partitions.push((name.to_owned(), read_i32(&mut rest)?));
        }
    }
    let generation = read_i32(&mut rest).filter(|generation| *generation != NO_GENERATION);
    Some((partitions, generation))
}

/// Writes what a `cooperative-sticky` member remembers.
pub(crate) fn write_cooperative(remembered: Option<&Remembered>) -> Vec<u8> {
    remembered.map_or(NO_GENERATION, |remembered| remembered.generation).to_be_bytes().to_vec()
}

/// Reads the generation of a `cooperative-sticky` member.
pub(crate) fn read_cooperative(mut bytes: &[u8]) -> Option<i32> {
    read_i32(&mut bytes).filter(|generation| *generation != NO_GENERATION)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (front, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(front)
}

fn read_i32(rest: &mut &[u8]) -> Option<i32> {
    take::<4>(rest).map(|bytes| i32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> Remembered {
        let partitions = vec![("b".to_owned(), 2), ("a".to_owned(), 1), ("a".to_owned(), 0)];
        Remembered { generation: 7, partitions }
    }

    #[test]
    fn the_bytes_are_those_of_java() {
        // As StickyAssignor.serializeTopicPartitionAssignment of Kafka 4.3.1 writes {a: [0, 1], b: [2]}, generation 7.
        let expected: &[u8] = &[
            0, 0, 0, 2, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b'b', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 7,
        ];
        assert_eq!(write_sticky(&remembered()), expected);
        let all = vec![("a".to_owned(), 0), ("a".to_owned(), 1), ("b".to_owned(), 2)];
        assert_eq!(read_sticky(expected), Some((all.clone(), Some(7))));
        assert_eq!(read_sticky(&expected[..expected.len() - 4]), Some((all, None)), "version 0");
        assert_eq!(write_cooperative(Some(&remembered())), [0, 0, 0, 7]);
        assert_eq!(write_cooperative(None), [0xff; 4]);
        assert_eq!((read_cooperative(&[0, 0, 0, 7]), read_cooperative(&[0xff; 4])), (Some(7), None));
    }

    #[test]
    fn bytes_of_strangers_are_passed_over() {
        let good = write_sticky(&remembered());
        for end in 0..good.len() - 4 {
            assert_eq!(read_sticky(&good[..end]), None, "cut at {end}");
        }
        assert_eq!(read_sticky(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
        assert_eq!(read_sticky(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(read_sticky(&[0, 0, 0, 1, 0xff, 0xff]), None);
        assert_eq!(read_cooperative(&[1, 2]), None);
    }
}
