//! The side of the scripted broker that keeps a group's offsets, and the group, which has one member.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI16, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use rkafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use rkafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse, join_group_response,
};
use rkafka_protocol::wire::{Message, Reader};
use uuid::Uuid;

use super::broker::{read_header, write};

/// What becomes of a commit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Refused(ErrorCode),
    /// The connection breaks before it is made.
    Dropped,
    /// It is never made nor answered.
    Ignored,
    /// It is made, or refused, so much later.
    Late(Duration, Option<ErrorCode>),
}

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
    /// What becomes of the next commits; of those after them nothing in particular.
    pub(super) fates: Mutex<VecDeque<Fate>>,
    /// Until then the coordinator loads, and refuses commits.
    pub(super) loads_until: Mutex<Option<Instant>>,
    /// The next heartbeats are refused by these.
    pub(super) beats: Mutex<VecDeque<ErrorCode>>,
    pub(super) generation: AtomicI32,
    /// SyncGroup is not answered.
    pub(super) never_syncs: AtomicBool,
    /// How often the member has told that it leaves.
    pub(super) leaves: AtomicU64,
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

    pub(super) fn fate(&self, now: Instant) -> Option<Fate> {
        if self.loads_until.lock().unwrap().is_some_and(|until| now < until) {
            return Some(Fate::Refused(ErrorCode::CoordinatorLoadInProgress));
        }
        self.fates.lock().unwrap().pop_front()
    }

    pub(super) fn join(&self, reader: &mut Reader, version: i16) -> Vec<u8> {
        let header = read_header::<JoinGroupRequest>(reader, version);
        let request = JoinGroupRequest::decode(reader, version).unwrap();
        let protocol = request.protocols.into_iter().next().unwrap();
        let generation_id = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        let mut member = join_group_response::JoinGroupResponseMember::default();
        (member.member_id, member.metadata) = ("m".to_owned(), protocol.metadata);
        let response = JoinGroupResponse {
            generation_id,
            protocol_name: Some(protocol.name),
            leader: "m".to_owned(),
            member_id: "m".to_owned(),
            members: vec![member],
            ..JoinGroupResponse::default()
        };
        write::<JoinGroupRequest>(&header, &response, version)
    }

    pub(super) fn sync(reader: &mut Reader, version: i16) -> Vec<u8> {
        let header = read_header::<SyncGroupRequest>(reader, version);
        let request = SyncGroupRequest::decode(reader, version).unwrap();
        let assignment = request.assignments.into_iter().next().unwrap().assignment;
        let response = SyncGroupResponse { assignment, ..SyncGroupResponse::default() };
        write::<SyncGroupRequest>(&header, &response, version)
    }

    pub(super) fn beat(&self, reader: &mut Reader, version: i16) -> Vec<u8> {
        let header = read_header::<HeartbeatRequest>(reader, version);
        let error_code = self.beats.lock().unwrap().pop_front().map_or(0, ErrorCode::code);
        let response = HeartbeatResponse { error_code, ..HeartbeatResponse::default() };
        write::<HeartbeatRequest>(&header, &response, version)
    }

    pub(super) fn leave(&self, reader: &mut Reader, version: i16) -> Vec<u8> {
        let header = read_header::<LeaveGroupRequest>(reader, version);
        self.leaves.fetch_add(1, Ordering::SeqCst);
        write::<LeaveGroupRequest>(&header, &LeaveGroupResponse::default(), version)
    }

    pub(super) fn commit(&self, reader: &mut Reader, version: i16, refused: Option<ErrorCode>) -> Vec<u8> {
        let header = read_header::<OffsetCommitRequest>(reader, version);
        let request = OffsetCommitRequest::decode(reader, version).unwrap();
        let mut response = OffsetCommitResponse::default();
        for topic in request.topics {
            self.requests.lock().unwrap().push((version, topic.name.clone(), topic.topic_id));
            let error_code = refused.map_or_else(|| self.code(topic.topic_id), ErrorCode::code);
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
