//! The controller: what exists in the cluster, decided by one log.
//!
//! A change is decided on the present image (`topics`, `configs`: pure functions that answer with records), written to
//! the metadata log, and only then replayed into the image; readers see the next image all at once. The same replay
//! builds the image when the broker starts, so the image is always what the log says.

mod active;
mod alter_partition;
pub(crate) mod broker_config;
mod brokers;
pub(crate) mod client_metrics_config;
mod configs;
mod directories;
mod driver;
mod elections;
mod features;
pub(crate) mod group_config;
mod image;
mod nodes;
mod partition_change;
mod placement;
mod quorum_driver;
mod reassignments;
mod records;
mod report;
mod sessions;
pub(crate) mod topic_config;
mod topic_name;
mod topics;
mod view;

use rkafka_protocol::ErrorCode;

pub(crate) use alter_partition::alter_partition;
pub(crate) use brokers::{registration_record, unregister as unregister_broker};
pub(crate) use configs::{alter as alter_configs, check_resource};
pub(crate) use directories::assign_directories;
pub(crate) use driver::{Committed, Controller, ControllerError, DIRECTORY as METADATA_DIRECTORY, snapshot_records};
pub(crate) use elections::{Asked as AskedElection, elect_leaders};
pub(crate) use features::{one_min_isr, update as update_features};
pub use image::{
    BrokerImage, ConfigResource, ControllerImage, DIRECTORY_LOST, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED,
    EndpointImage, FeatureRange, ImageDelta, MetadataImage, NO_LEADER, PartitionChange, PartitionImage, TopicChange,
    TopicImage, is_internal,
};
pub(crate) use nodes::{allocate_producer_ids, controller_record, register_controller};
pub(crate) use quorum_driver::run_quorum;
pub(crate) use reassignments::{alter_reassignments, reassignments};
pub(crate) use records::MetadataRecord;
pub(crate) use report::Reports;
pub(crate) use topic_name::invalid_reason as invalid_topic_name_reason;
pub(crate) use topics::{
    CreatedTopic, DeletedTopic, create as create_topics, create_partitions, delete as delete_topics,
};
pub(crate) use view::{ELR_FEATURE, View};

/// The feature whose level says which records there are, and in which versions.
pub(crate) const METADATA_VERSION_FEATURE: &str = "metadata.version";

/// What a request makes of the metadata: the records to write, and the answer once they are written.
#[derive(Debug)]
pub(crate) struct Decision<R> {
    pub records: Vec<MetadataRecord>,
    pub reply: R,
}

/// Why a request was refused, as the client gets to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub error: ErrorCode,
    pub message: String,
}

#[cfg(test)]
mod tests;
