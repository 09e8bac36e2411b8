//! One file per operation, or small family of them.

mod acls;
mod alter_configs;
mod alter_replica_log_dirs;
mod api_versions;
mod create_partitions;
mod create_topics;
mod delegation_tokens;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_classic_groups;
mod describe_cluster;
mod describe_configs;
mod describe_consumer_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_share_groups;
mod describe_streams_groups;
mod describe_topics;
mod elect_leaders;
mod end_transactions;
mod features;
mod group_offsets;
mod hanging_transactions;
mod leader_epoch_offsets;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_topics;
mod quorum;
mod quotas;
mod reassignments;
mod remove_members;
mod scram;
mod share_group_offsets;
mod transactions;
mod unregister_broker;

pub use acls::*;
pub use alter_configs::*;
pub use alter_replica_log_dirs::*;
pub use api_versions::*;
pub use create_partitions::*;
pub use create_topics::*;
pub use delegation_tokens::*;
pub use delete_groups::*;
pub use delete_records::*;
pub use delete_topics::*;
pub use describe_classic_groups::*;
pub use describe_cluster::*;
pub use describe_configs::*;
pub use describe_consumer_groups::*;
pub use describe_log_dirs::*;
pub use describe_producers::*;
pub use describe_share_groups::*;
pub use describe_streams_groups::*;
pub use describe_topics::*;
pub use elect_leaders::*;
pub use end_transactions::*;
pub use features::*;
pub use group_offsets::*;
pub use hanging_transactions::*;
pub use leader_epoch_offsets::*;
pub use list_config_resources::*;
pub use list_groups::*;
pub use list_offsets::*;
pub use list_topics::*;
pub use quorum::*;
pub use quotas::*;
pub use reassignments::*;
pub use remove_members::*;
pub use scram::*;
pub use share_group_offsets::*;
pub use transactions::*;
pub use unregister_broker::*;

use std::collections::BTreeMap;
use std::fmt;

use rkafka_client_core::{Error, ErrorKind, Result, TopicPartition};

/// What became of each item that was asked for. One that failed does not fail the others.
pub type PerItem<T, K = String> = BTreeMap<K, Result<T>>;

fn strings(items: impl IntoIterator<Item: AsRef<str>>) -> Vec<String> {
    items.into_iter().map(|item| item.as_ref().to_owned()).collect()
}

/// Partitions as requests name them.
fn by_topic<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic.to_string()).or_default().push(partition.partition);
    }
    topics
}

fn with_partition(partition: &TopicPartition, error: Error) -> Error {
    error.with_partition(&*partition.topic, partition.partition)
}

/// An item that was asked for and that the answer does not mention.
fn silent(item: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("the broker's answer says nothing of {item}"))
}
