//! Decisions about the directories that replicas lie in (KIP-858).

use std::collections::BTreeSet;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::assign_replicas_to_dirs_response::{DirectoryData, PartitionData, TopicData};
use rkafka_protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
use uuid::Uuid;

use super::partition_change::{Election, PartitionChanger};
use super::view::{View, is_online};
use super::{Decision, MetadataRecord, brokers};

/// Notes in which of its directories a broker has its replicas. One that lies in a lost directory is in sync no more.
pub(crate) fn assign_directories(
    view: &View<'_>,
    request: &AssignReplicasToDirsRequest,
) -> Decision<AssignReplicasToDirsResponse> {
    let broker = match view.check_epoch(request.broker_id, request.broker_epoch) {
        Ok(broker) => broker,
        Err(refusal) => {
            let reply = AssignReplicasToDirsResponse { error_code: refusal.error.code(), ..Default::default() };
            return Decision { records: Vec::new(), reply };
        }
    };
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    let mut directories = Vec::with_capacity(request.directories.len());
    for directory in &request.directories {
        let online = is_online(broker, directory.id);
        let topics = directory.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let assigned = if seen.insert((topic.topic_id, index)) {
                    assign_one(view, request.broker_id, topic.topic_id, index, directory.id, online)
                } else {
                    Err(ErrorCode::InvalidRequest)
                };
                let error = match assigned {
                    Ok(record) => {
                        records.extend(record);
                        ErrorCode::None
                    }
                    Err(error) => error,
                };
                PartitionData { partition_index: index, error_code: error.code(), ..Default::default() }
            });
            TopicData { topic_id: topic.topic_id, partitions: partitions.collect(), ..Default::default() }
        });
        directories.push(DirectoryData { id: directory.id, topics: topics.collect(), ..Default::default() });
    }
    Decision { records, reply: AssignReplicasToDirsResponse { directories, ..Default::default() } }
}

fn assign_one(
    view: &View<'_>,
    broker: i32,
    topic_id: Uuid,
    index: i32,
    directory: Uuid,
    online: bool,
) -> Result<Option<MetadataRecord>, ErrorCode> {
    let topic = view.image.topic_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !partition.replicas.contains(&broker) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let mut changer = PartitionChanger::new(view, topic, index, partition);
    if online {
        changer.election = Election::Online;
    }
    brokers::assign(&mut changer, broker, directory, online);
    Ok(changer.build().map(MetadataRecord::PartitionChange))
}
