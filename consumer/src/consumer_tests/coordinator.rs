//! The side of the scripted broker that keeps a group's offsets.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicI16;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use rkafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use rkafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use rkafka_protocol::wire::{Message, Reader};
use uuid::Uuid;

use super::broker::{read_header, write};

/// The offsets that were committed, and how.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// The highest version of OffsetCommit and OffsetFetch; 0 where there is no coordinator.
    pub(super) version: AtomicI16,
    /// Each request: its version, and each topic with its name and its id.
    pub(super) requests: Mutex<Vec<(i16, String, Uuid)>>,
    pub(super) committed: Mutex<BTreeMap<i32, i64>>,
    /// The ids that are known no more.
    pub(super) gone: Mutex<Vec<Uuid>>,
}

/// It is this broker.
pub(super) fn found(reader: &mut Reader, version: i16) -> Vec<u8> {
    let header = read_header::<FindCoordinatorRequest>(reader, version);
    let mut response = FindCoordinatorResponse::default();
    (response.node_id, response.host, response.port) = (1, "broker".to_owned(), 9092);
    write::<FindCoordinatorRequest>(&header, &response, version)
}

impl Offsets {
    fn code(&self, id: Uuid) -> i16 {
        if self.gone.lock().unwrap().contains(&id) { ErrorCode::UnknownTopicId.code() } else { 0 }
    }

    pub(super) fn commit(&self, reader: &mut Reader, version: i16) -> Vec<u8> {
        let header = read_header::<OffsetCommitRequest>(reader, version);
        let request = OffsetCommitRequest::decode(reader, version).unwrap();
        let mut response = OffsetCommitResponse::default();
        for topic in request.topics {
            self.requests.lock().unwrap().push((version, topic.name.clone(), topic.topic_id));
            let error_code = self.code(topic.topic_id);
            let partitions = topic.partitions.iter().map(|one| {
                if error_code == 0 {
                    self.committed.lock().unwrap().insert(one.partition_index, one.committed_offset);
                }
                let partition_index = one.partition_index;
                OffsetCommitResponsePartition { partition_index, error_code, ..Default::default() }
            });
            response.topics.push(OffsetCommitResponseTopic {
                partitions: partitions.collect(),
                name: topic.name,
                topic_id: topic.topic_id,
                ..Default::default()
            });
        }
        write::<OffsetCommitRequest>(&header, &response, version)
    }

    pub(super) fn fetch(&self, reader: &mut Reader, version: i16) -> Vec<u8> {
        let header = read_header::<OffsetFetchRequest>(reader, version);
        let request = OffsetFetchRequest::decode(reader, version).unwrap();
        let mut response = OffsetFetchResponse::default();
        for group in request.groups {
            let mut answer = OffsetFetchResponseGroup { group_id: group.group_id, ..Default::default() };
            for topic in group.topics.unwrap_or_default() {
                self.requests.lock().unwrap().push((version, topic.name.clone(), topic.topic_id));
                let partitions = topic.partition_indexes.iter().map(|partition| OffsetFetchResponsePartitions {
                    partition_index: *partition,
                    committed_offset: self.committed.lock().unwrap().get(partition).copied().unwrap_or(-1),
                    committed_leader_epoch: -1,
                    error_code: self.code(topic.topic_id),
                    ..Default::default()
                });
                answer.topics.push(OffsetFetchResponseTopics {
                    partitions: partitions.collect(),
                    name: topic.name,
                    topic_id: topic.topic_id,
                    ..Default::default()
                });
            }
            response.groups.push(answer);
        }
        write::<OffsetFetchRequest>(&header, &response, version)
    }
}
