//! Decisions about what leaders ask for: other in-sync replicas (AlterPartition).

use std::collections::BTreeSet;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData as Asked};
use rkafka_protocol::messages::alter_partition_response::{PartitionData, TopicData};
use rkafka_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use uuid::Uuid;

use super::image::{LEADER_STAYS, PartitionImage};
use super::partition_change::PartitionChanger;
use super::view::View;
use super::{Decision, MetadataRecord};

/// The in-sync replicas that a leader asks for, with the epochs of their brokers.
struct Proposed {
    isr: Vec<i32>,
    epochs: Vec<i64>,
    recovering: bool,
}

/// Decides about the partitions of one AlterPartition request, each for itself.
pub(crate) fn alter_partition(
    view: &View<'_>,
    request: &AlterPartitionRequest,
    version: i16,
) -> Decision<AlterPartitionResponse> {
    if let Err(refusal) = view.check_epoch(request.broker_id, request.broker_epoch) {
        let reply = AlterPartitionResponse { error_code: refusal.error.code(), ..Default::default() };
        return Decision { records: Vec::new(), reply };
    }
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    let topics = request.topics.iter().map(|topic| TopicData {
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|asked| {
                let index = asked.partition_index;
                // The second change of a partition would have to be of what the first one makes.
                let decided = if seen.insert((topic.topic_id, index)) {
                    alter_one(view, request.broker_id, topic.topic_id, asked, version)
                } else {
                    Err(ErrorCode::InvalidRequest)
                };
                match decided {
                    Ok((record, answer)) => {
                        records.extend(record);
                        answer
                    }
                    Err(error) => refused(index, error),
                }
            })
            .collect(),
        ..Default::default()
    });
    let topics = topics.collect();
    Decision { records, reply: AlterPartitionResponse { topics, ..Default::default() } }
}

fn refused(partition_index: i32, error: ErrorCode) -> PartitionData {
    PartitionData { partition_index, error_code: error.code(), ..Default::default() }
}

type Altered = (Option<MetadataRecord>, PartitionData);

fn alter_one(view: &View<'_>, broker: i32, topic_id: Uuid, asked: &Asked, version: i16) -> Result<Altered, ErrorCode> {
    let topic = view.image.topic_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    let index = asked.partition_index;
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let proposed = proposed(asked, version)?;
    if let Err(error) = check(view, broker, partition, asked, &proposed) {
        tracing::info!(
            topic = %topic.name,
            partition = index,
            broker,
            error = error.name(),
            proposed = ?proposed.isr,
            isr = ?partition.isr,
            "a change of the in-sync replicas is refused"
        );
        return Err(error);
    }
    let mut changer = PartitionChanger::new(view, topic, index, partition);
    changer.isr = proposed.isr;
    changer.recovering = proposed.recovering;
    let record = changer.build();
    let mut after = partition.clone();
    if let Some(record) = &record {
        after.change(record);
    }
    let led_by_another = record.as_ref().is_some_and(|record| record.leader != LEADER_STAYS && record.leader != broker);
    let answer = if led_by_another {
        refused(index, ErrorCode::NewLeaderElected)
    } else {
        PartitionData {
            partition_index: index,
            leader_id: after.leader,
            leader_epoch: after.leader_epoch,
            isr: after.isr,
            leader_recovery_state: i8::from(after.recovering),
            partition_epoch: after.partition_epoch,
            ..Default::default()
        }
    };
    Ok((record.map(MetadataRecord::PartitionChange), answer))
}

fn proposed(asked: &Asked, version: i16) -> Result<Proposed, ErrorCode> {
    let recovering = match asked.leader_recovery_state {
        0 => false,
        1 => true,
        _ => return Err(ErrorCode::InvalidRequest),
    };
    if version < 3 {
        let epochs = vec![-1; asked.new_isr.len()];
        return Ok(Proposed { isr: asked.new_isr.clone(), epochs, recovering });
    }
    let states = asked.new_isr_with_epochs.iter();
    let (isr, epochs) = states.map(|BrokerState { broker_id, broker_epoch, .. }| (*broker_id, *broker_epoch)).unzip();
    Ok(Proposed { isr, epochs, recovering })
}

fn check(
    view: &View<'_>,
    broker: i32,
    partition: &PartitionImage,
    asked: &Asked,
    proposed: &Proposed,
) -> Result<(), ErrorCode> {
    // A leader that knows more than this controller talks to one that is the active one no more.
    if asked.leader_epoch > partition.leader_epoch || asked.partition_epoch > partition.partition_epoch {
        return Err(ErrorCode::NotController);
    }
    if asked.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if broker != partition.leader {
        return Err(ErrorCode::InvalidRequest);
    }
    if asked.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let distinct: BTreeSet<i32> = proposed.isr.iter().copied().collect();
    let are_replicas = proposed.isr.iter().all(|replica| partition.replicas.contains(replica));
    if distinct.len() != proposed.isr.len() || !are_replicas || !distinct.contains(&partition.leader) {
        return Err(ErrorCode::InvalidRequest);
    }
    // While it recovers, a leader is alone; and only an unclean election makes it recover.
    if proposed.recovering && (proposed.isr.len() > 1 || !partition.recovering) {
        return Err(ErrorCode::InvalidRequest);
    }
    let eligible = proposed.isr.iter().zip(&proposed.epochs).all(|(id, epoch)| {
        let registered = view.image.broker(*id);
        registered.is_some_and(|it| it.is_active() && (*epoch == -1 || it.epoch == *epoch))
    });
    if eligible { Ok(()) } else { Err(ErrorCode::IneligibleReplica) }
}
