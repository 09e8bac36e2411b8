//! Subscriptions and assignments as they travel inside JoinGroup and SyncGroup: a version in 16 bits, and the message.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rkafka_protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use rkafka_protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use rkafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use rkafka_protocol::wire::{DecodeError, Message, Reader, Writer};

use crate::subscription::TopicPartition;

/// Writes a message with its newest version before it. Messages of this crate's making always fit.
fn write<M: Message>(message: &M) -> Bytes {
    let version = M::VERSIONS.max;
    let mut writer = Writer::new();
    writer.i16(version);
    match message.encode(&mut writer, version) {
        Ok(()) => Bytes::from(writer.into_vec()),
        Err(error) => {
            tracing::error!(%error, "a subscription or an assignment cannot be written");
            Bytes::new()
        }
    }
}

/// Reads a message after its version. One that is newer than this crate knows is read as the newest it does know, for
/// new fields come at the end, as in Java; so what is left over is passed over.
fn read<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    if version < M::VERSIONS.min {
        return Err(DecodeError::UnsupportedVersion { message: M::NAME, version });
    }
    M::decode(&mut reader, version.min(M::VERSIONS.max))
}

/// What this member wants, and what it has. Eager members own nothing while they join.
pub(crate) fn subscription(
    topics: &[String],
    owned: &[TopicPartition],
    generation_id: i32,
    rack_id: Option<String>,
    user_data: Option<Vec<u8>>,
) -> Bytes {
    let mut topics = topics.to_vec();
    topics.sort();
    topics.dedup();
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for place in owned {
        by_topic.entry(&place.topic).or_default().push(place.partition);
    }
    let owned_partitions =
        by_topic.into_iter().map(|(topic, partitions)| OwnedTopic { topic: topic.to_owned(), partitions }).collect();
    let user_data = user_data.map(Bytes::from);
    write(&ConsumerProtocolSubscription { topics, user_data, owned_partitions, generation_id, rack_id })
}

/// What a member wants.
pub(crate) fn read_subscription(bytes: Bytes) -> Result<ConsumerProtocolSubscription, DecodeError> {
    read(bytes)
}

/// What a member gets.
pub(crate) fn assignment(partitions: &[(String, i32)]) -> Bytes {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    let assigned_partitions =
        topics.into_iter().map(|(topic, partitions)| AssignedTopic { topic: topic.to_owned(), partitions }).collect();
    write(&ConsumerProtocolAssignment { assigned_partitions, user_data: None })
}

/// What this member gets; nothing at all is an empty assignment, as in Java.
pub(crate) fn read_assignment(bytes: Bytes) -> Result<Vec<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let assignment: ConsumerProtocolAssignment = read(bytes)?;
    let mut all: Vec<TopicPartition> = assignment
        .assigned_partitions
        .into_iter()
        .flat_map(|topic| {
            let name: Arc<str> = topic.topic.into();
            topic.partitions.into_iter().map(move |partition| TopicPartition { topic: Arc::clone(&name), partition })
        })
        .collect();
    all.sort();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let read = {
            let owned = [TopicPartition::new("a", 1), TopicPartition::new("a", 0)];
            let topics = ["b".to_owned(), "a".to_owned(), "b".to_owned()];
            read_subscription(subscription(&topics, &owned, 3, None, Some(vec![7]))).unwrap()
        };
        assert_eq!(read.topics, ["a", "b"]);
        assert_eq!((read.generation_id, read.user_data.as_deref()), (3, Some(&[7][..])));
        assert_eq!((read.owned_partitions[0].topic.as_str(), &read.owned_partitions[0].partitions), ("a", &vec![1, 0]));
        let places = [("t".to_owned(), 1), ("s".to_owned(), 0), ("t".to_owned(), 0)];
        let read = read_assignment(assignment(&places)).unwrap();
        assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), ["s-0", "t-0", "t-1"]);
        assert!(read_assignment(Bytes::new()).unwrap().is_empty());
    }

    #[test]
    fn old_new_and_hostile_bytes() {
        // Version 0 as an old member writes it: one topic, no user data.
        let old = [&[0, 0, 0, 0, 0, 1, 0, 1][..], b"t", &[0xff; 4]].concat();
        assert_eq!(read_subscription(Bytes::from(old.clone())).unwrap().topics, ["t"]);
        // A version of the future, with more behind.
        let mut new = subscription(&["t".to_owned()], &[], -1, Some("rack".into()), None).to_vec();
        new[1] = 9;
        new.extend_from_slice(b"more");
        assert_eq!(read_subscription(Bytes::from(new)).unwrap().rack_id.as_deref(), Some("rack"));
        assert!(read_subscription(Bytes::from_static(&[0xff, 0xff])).is_err());
        assert!(read_assignment(Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff])).is_err());
        assert!(read_assignment(Bytes::from_static(&[0])).is_err());
    }
}
