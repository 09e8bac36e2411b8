//! Decisions about leaders that somebody asks for, or that have waited: ElectLeaders, the preferred ones, unclean ones.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::elect_leaders_request::TopicPartitions;
use rkafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};

use super::partition_change::{Election, PartitionChanger};
use super::view::View;
use super::{Decision, MetadataRecord, Refusal};

/// What an administrator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The preferred leader leads.
    Preferred,
    /// Somebody leads what nobody does, be it one that lacks what was committed.
    Unclean,
}

/// Decides about the leaders of these partitions, or of all.
///
/// Where all were asked for, those are left out of the answer that need no election.
pub(crate) fn elect_leaders(
    view: &View<'_>,
    asked: Asked,
    partitions: Option<&[TopicPartitions]>,
) -> Decision<Vec<ReplicaElectionResult>> {
    let mut records = Vec::new();
    let mut results = Vec::new();
    match partitions {
        None => {
            for topic in view.image.topics() {
                let indexes = (0..).take(topic.partitions.len());
                let partition_result = indexes
                    .map(|index| result(index, elect(view, &topic.name, index, asked, &mut records)))
                    .filter(|result| result.error_code != ErrorCode::ElectionNotNeeded.code())
                    .collect();
                results.push(ReplicaElectionResult {
                    topic: topic.name.to_string(),
                    partition_result,
                    ..Default::default()
                });
            }
        }
        Some(topics) => {
            for topic in topics {
                let mut seen = std::collections::BTreeSet::new();
                let partition_result = topic
                    .partitions
                    .iter()
                    .map(|&index| {
                        // The second election of a partition finds the leader of the first.
                        let elected = if seen.insert(index) {
                            elect(view, &topic.topic, index, asked, &mut records)
                        } else {
                            let error = ErrorCode::ElectionNotNeeded;
                            Err(Refusal { error, message: error.message().to_owned() })
                        };
                        result(index, elected)
                    })
                    .collect();
                results.push(ReplicaElectionResult {
                    topic: topic.topic.clone(),
                    partition_result,
                    ..Default::default()
                });
            }
        }
    }
    Decision { records, reply: results }
}

fn result(partition_id: i32, elected: Result<(), Refusal>) -> PartitionResult {
    let (error, message) = match elected {
        Ok(()) => (ErrorCode::None, None),
        Err(refusal) => (refusal.error, Some(refusal.message)),
    };
    PartitionResult { partition_id, error_code: error.code(), error_message: message, ..Default::default() }
}

fn elect(
    view: &View<'_>,
    name: &str,
    index: i32,
    asked: Asked,
    records: &mut Vec<MetadataRecord>,
) -> Result<(), Refusal> {
    let refuse = |error, message| Err(Refusal { error, message });
    let Some(topic) = view.image.topic(name) else {
        return refuse(ErrorCode::UnknownTopicOrPartition, format!("No such topic as {name}"));
    };
    let Some(partition) = topic.partition(index) else {
        return refuse(ErrorCode::UnknownTopicOrPartition, format!("No such partition as {name}-{index}"));
    };
    let needed = match asked {
        Asked::Preferred => partition.leader != partition.preferred_leader(),
        Asked::Unclean => !partition.has_leader(),
    };
    if !needed {
        return refuse(ErrorCode::ElectionNotNeeded, ErrorCode::ElectionNotNeeded.message().to_owned());
    }
    let mut changer = PartitionChanger::new(view, topic, index, partition);
    changer.election = match asked {
        Asked::Preferred => Election::Preferred,
        Asked::Unclean => Election::Unclean,
    };
    match changer.build() {
        Some(record) => {
            records.push(MetadataRecord::PartitionChange(record));
            Ok(())
        }
        None => {
            let error = match asked {
                Asked::Preferred => ErrorCode::PreferredLeaderNotAvailable,
                Asked::Unclean => ErrorCode::EligibleLeadersNotAvailable,
            };
            refuse(error, error.message().to_owned())
        }
    }
}

/// Gives at most `most` partitions to their preferred leaders (`auto.leader.rebalance.enable`). Answers whether there may
/// be more.
pub(crate) fn rebalance(view: &View<'_>, most: usize) -> Decision<bool> {
    let mut records = Vec::new();
    for (topic, index, partition) in view.partitions() {
        if records.len() >= most {
            break;
        }
        let preferred = partition.preferred_leader();
        if partition.leader != preferred && view.is_active(preferred) {
            let mut changer = PartitionChanger::new(view, topic, index, partition);
            changer.election = Election::Preferred;
            records.extend(changer.build().map(MetadataRecord::PartitionChange));
        }
    }
    let more = records.len() >= most;
    Decision { records, reply: more }
}

/// Gives at most `most` partitions that have no leader one that may lack what was committed, of topics with
/// `unclean.leader.election.enable`. Answers whether there may be more.
pub(crate) fn elect_uncleanly(view: &View<'_>, most: usize) -> Decision<bool> {
    let mut records = Vec::new();
    for (topic, index, partition) in view.partitions().filter(|(_, _, partition)| !partition.has_leader()) {
        if records.len() >= most {
            break;
        }
        let rules = view.rules(topic);
        if rules.unclean {
            let changer = PartitionChanger::with_rules(view, rules, topic, index, partition);
            records.extend(changer.build().map(MetadataRecord::PartitionChange));
        }
    }
    let more = records.len() >= most;
    Decision { records, reply: more }
}
