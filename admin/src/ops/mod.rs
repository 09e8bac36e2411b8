//! One file per operation.

mod cluster;
mod configs;
mod create_topics;
mod delete_topics;
mod describe_topics;
mod list_topics;

pub use cluster::{BrokerDescription, ClusterDescription};
pub use configs::{ConfigEntry, ConfigSource};
pub use create_topics::{CreateTopicsOptions, CreatedTopic, NewTopic};
pub use describe_topics::{PartitionDescription, TopicDescription};
pub use list_topics::TopicListing;

use std::collections::BTreeMap;

use rkafka_client_core::Result;

/// What became of each item that was asked for, by its name. One that failed does not fail the others.
pub type PerItem<T> = BTreeMap<String, Result<T>>;
