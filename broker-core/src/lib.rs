//! The embedded Kafka broker.
//!
//! A [`Broker`] is one node that is its own controller: it needs no format step, keeps Kafka's own files, and is ready
//! in milliseconds. Machines decide and drivers move bytes: `controller` decides about metadata, `coordinator` about
//! groups, `log` keeps records, `replication` orders appends and reads of a partition; `server` moves frames, and
//! `handlers` has one file per API key between them.

mod assignments;
mod broker;
mod clock;
mod cluster;
pub mod config;
mod controller;
pub mod coordinator;
mod data_dirs;
mod disk_work;
mod fetch;
pub mod format;
mod forwarding;
pub mod handlers;
mod inspect;
mod internal_log;
mod isr_changes;
mod kafka_settings;
mod locks;
pub mod log;
mod metadata;
pub mod peer;
pub mod planted;
mod properties_file;
pub mod raft;
mod registration;
mod replication;
mod server;
pub mod share;
mod state;
pub mod storage;
mod telemetry;

pub use broker::{Broker, BrokerBuilder, BrokerError, BrokerHandle};
pub use clock::Clock;
pub use cluster::{Cluster, ClusterBuilder};
pub use config::BrokerConfig;
pub use controller::{
    BrokerImage, ConfigResource, ControllerImage, DIRECTORY_LOST, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED,
    EndpointImage, FeatureRange, ImageDelta, MetadataImage, NO_LEADER, PartitionChange, PartitionImage, TopicChange,
    TopicImage,
};
pub use data_dirs::DataDirError;
pub use inspect::Replica;
pub use internal_log::{
    CommittedFuture, InternalLog, InternalRecord, InternalTopicFuture, LogPoint, OFFSETS_TOPIC, ReplayedEntry,
    ReplayedRecord, TRANSACTIONS_TOPIC, TransactionalProducer,
};
pub use properties_file::LoadedConfig;
pub use server::ListenerError;
pub use state::BrokerState;
pub use telemetry::PushedTelemetry;
