//! Decisions about which brokers hold a partition: reassignments are begun, taken back, and listed (KIP-455).
//! They are completed by the change of the in-sync replicas that makes them complete (`partition_change`).

use std::collections::BTreeSet;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::alter_partition_reassignments_request::ReassignableTopic;
use rkafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use rkafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use rkafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use rkafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, PartitionChangeRecord,
};

use super::image::{MetadataImage, PartitionImage, TopicImage};
use super::partition_change::{Election, PartitionChanger};
use super::topics::check_replicas;
use super::view::View;
use super::{Decision, MetadataRecord, Refusal};

fn refuse<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { error, message: message.into() })
}

/// Decides about the partitions of one AlterPartitionReassignments request, each for itself.
pub(crate) fn alter_reassignments(
    view: &View<'_>,
    request: &AlterPartitionReassignmentsRequest,
) -> Decision<AlterPartitionReassignmentsResponse> {
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let index = asked.partition_index;
            let decided = if seen.insert((topic.name.as_str(), index)) {
                alter_one(view, topic, index, asked.replicas.as_deref(), request.allow_replication_factor_change)
            } else {
                refuse(ErrorCode::InvalidRequest, "The partition is in the request more than once.")
            };
            let refused = match decided {
                Ok(record) => {
                    records.extend(record.map(MetadataRecord::PartitionChange));
                    None
                }
                Err(refusal) => Some(refusal),
            };
            partitions.push(ReassignablePartitionResponse {
                partition_index: index,
                error_code: refused.as_ref().map_or(0, |refusal| refusal.error.code()),
                error_message: refused.map(|refusal| refusal.message),
                ..Default::default()
            });
        }
        responses.push(ReassignableTopicResponse { name: topic.name.clone(), partitions, ..Default::default() });
    }
    let reply = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        // The schema's default is an empty message; Kafka answers null.
        error_message: None,
        responses,
        ..Default::default()
    };
    Decision { records, reply }
}

fn alter_one(
    view: &View<'_>,
    asked: &ReassignableTopic,
    index: i32,
    target: Option<&[i32]>,
    may_change_factor: bool,
) -> Result<Option<PartitionChangeRecord>, Refusal> {
    let name = &asked.name;
    let Some(topic) = view.image.topic(name) else {
        return refuse(ErrorCode::UnknownTopicOrPartition, format!("Unable to find a topic named {name}."));
    };
    let Some(partition) = topic.partition(index) else {
        return refuse(ErrorCode::UnknownTopicOrPartition, format!("Unable to find partition {name}:{index}."));
    };
    match target {
        Some(target) => reassign(view, topic, index, partition, target, may_change_factor),
        None => cancel(view, topic, index, partition),
    }
}

fn reassign(
    view: &View<'_>,
    topic: &TopicImage,
    index: i32,
    partition: &PartitionImage,
    target: &[i32],
    may_change_factor: bool,
) -> Result<Option<PartitionChangeRecord>, Refusal> {
    check_replicas(view.image, target)?;
    let stay = partition.replicas.iter().filter(|replica| !partition.removing_replicas.contains(replica)).count();
    if !may_change_factor && target.len() != stay {
        let message = format!("The replication factor is changed from {stay} to {}", target.len());
        return refuse(ErrorCode::InvalidReplicationFactor, message);
    }
    let without = |of: &[i32], these: &[i32]| -> Vec<i32> {
        let left: BTreeSet<i32> = of.iter().filter(|replica| !these.contains(replica)).copied().collect();
        left.into_iter().collect()
    };
    let removing = without(&partition.replicas, target);
    let adding = without(target, &partition.replicas);
    let mut changer = PartitionChanger::new(view, topic, index, partition);
    changer.election = Election::Online;
    changer.replicas = target.iter().chain(&removing).copied().collect();
    // What an earlier reassignment began to add or remove goes on, unless this one says otherwise.
    if !removing.is_empty() {
        changer.removing = removing;
    }
    if !adding.is_empty() {
        changer.adding = adding;
    }
    Ok(changer.build())
}

fn cancel(
    view: &View<'_>,
    topic: &TopicImage,
    index: i32,
    partition: &PartitionImage,
) -> Result<Option<PartitionChangeRecord>, Refusal> {
    if !partition.is_reassigning() {
        let error = ErrorCode::NoReassignmentInProgress;
        return refuse(error, error.message());
    }
    let was_there = |replica: &&i32| !partition.adding_replicas.contains(replica);
    let replicas: Vec<i32> = partition.replicas.iter().filter(was_there).copied().collect();
    let mut isr: Vec<i32> = partition.isr.iter().filter(was_there).copied().collect();
    let rules = view.rules(topic);
    let Some(first) = replicas.first() else {
        let message = "Invalid replica assignment: addingReplicas contains all replicas.";
        return refuse(ErrorCode::InvalidReplicaAssignment, message);
    };
    let (mut election, mut recovering) = (Election::Online, partition.recovering);
    // With none left of those that have everything, going back loses what only the new ones have.
    if isr.is_empty() && !partition.elr.iter().any(|replica| was_there(&replica)) {
        if !rules.unclean {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "Unable to revert partition assignment for {}:{index} because it would require an unclean leader \
                     election.",
                    topic.name
                ),
            );
        }
        // One that can lead at once, where there is one.
        let chosen = replicas.iter().find(|replica| view.is_active(**replica)).unwrap_or(first);
        isr.push(*chosen);
        (election, recovering) = (Election::Unclean, true);
    }
    let mut changer = PartitionChanger::with_rules(view, rules, topic, index, partition);
    changer.election = election;
    changer.recovering = recovering;
    changer.replicas = replicas;
    changer.isr = isr;
    changer.adding.clear();
    changer.removing.clear();
    Ok(changer.build())
}

/// The reassignments that are under way: those of these partitions, or all.
pub(crate) fn reassignments(
    image: &MetadataImage,
    asked: Option<&[ListPartitionReassignmentsTopics]>,
) -> Vec<OngoingTopicReassignment> {
    let of = |topic: &TopicImage, indexes: &mut dyn Iterator<Item = i32>| {
        let ongoing = indexes.filter_map(|partition_index| {
            let partition = topic.partition(partition_index).filter(|partition| partition.is_reassigning())?;
            Some(OngoingPartitionReassignment {
                partition_index,
                replicas: partition.replicas.clone(),
                adding_replicas: partition.adding_replicas.clone(),
                removing_replicas: partition.removing_replicas.clone(),
                ..Default::default()
            })
        });
        let partitions: Vec<_> = ongoing.collect();
        let name = topic.name.to_string();
        (!partitions.is_empty()).then(|| OngoingTopicReassignment { name, partitions, ..Default::default() })
    };
    match asked {
        None => image.topics().filter_map(|topic| of(topic, &mut (0..).take(topic.partitions.len()))).collect(),
        Some(asked) => asked
            .iter()
            .filter_map(|asked| of(image.topic(&asked.name)?, &mut asked.partition_indexes.iter().copied()))
            .collect(),
    }
}
