//! One file per API key, and the table that says which of them this broker offers in which versions.
//!
//! A handler takes a decoded request and answers with a response of the same version. It never sees a frame.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rkafka_protocol::ApiKey;
use rkafka_protocol::wire::{DecodeError, EncodeError, Message, Reader, Request, VersionRange, Writer};
use thiserror::Error;

use crate::BrokerState;
use crate::forwarding::forward;
use crate::telemetry::ClientInfo;

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod allocate_producer_ids;
pub mod alter_configs;
pub mod alter_partition;
pub mod alter_partition_reassignments;
pub mod alter_share_group_offsets;
pub mod api_versions;
pub mod assign_replicas_to_dirs;
pub mod begin_quorum_epoch;
pub mod broker_heartbeat;
pub mod broker_registration;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod controller_registration;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_share_group_offsets;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_share_group_offsets;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod elect_leaders;
pub mod end_quorum_epoch;
pub mod end_txn;
pub mod envelope;
pub mod fetch;
pub mod fetch_metadata;
pub mod fetch_snapshot;
pub mod find_coordinator;
pub mod get_telemetry_subscriptions;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
mod leader_hints;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
mod produce_admission;
pub mod push_telemetry;
pub mod share_acknowledge;
pub mod share_fetch;
pub mod share_group_describe;
pub mod share_group_heartbeat;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod unregister_broker;
pub mod update_features;
pub mod vote;
pub mod write_txn_markers;

/// Who sent a request, and by which way.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The `client.id` of the request, empty where the client sent none.
    pub client_id: String,
    /// The client's address, without its port, as Kafka shows it in group descriptions (`/127.0.0.1`).
    pub client_host: String,
    /// A number that no other connection of this broker has.
    pub connection_id: u64,
    /// The name of the listener that took the connection; answers name the endpoints of this listener.
    pub listener: Arc<str>,
    /// Whether that is a listener for controllers, where other APIs are offered.
    pub is_for_controllers: bool,
    /// The client's port, 0 where it has none.
    pub client_port: u16,
    /// Name and version of the client's software, once it has told them (KIP-511).
    pub client_software: Arc<OnceLock<(String, String)>>,
}

impl RequestContext {
    /// What subscriptions to metrics are matched by.
    pub(crate) fn client_info(&self) -> ClientInfo {
        let (software_name, software_version) = self.client_software.get().cloned().unwrap_or_default();
        ClientInfo {
            client_id: self.client_id.clone(),
            software_name,
            software_version,
            source_address: self.client_host.trim_start_matches('/').to_owned(),
            source_port: self.client_port,
        }
    }
}

/// Why there is no response.
#[derive(Debug, Error)]
pub enum HandlerError {
    /// None is due, as with `acks=0`; the connection goes on.
    #[error("no response is due")]
    NoResponse,
    /// The connection is closed without a response.
    #[error("{0}")]
    Close(String),
}

/// What a request cannot be answered for; the connection is closed.
#[derive(Debug, Error)]
pub(crate) enum DispatchError {
    /// The frame does not begin with a request header.
    #[error("the frame has no request header: {0}")]
    Header(DecodeError),
    /// This broker does not offer the API or the version.
    #[error("API key {key} version {version} is not offered here")]
    NotOffered {
        /// The key as sent.
        key: i16,
        /// The version as sent.
        version: i16,
    },
    /// The request cannot be read.
    #[error("cannot read {message} version {version}: {source}")]
    Decode {
        /// The name of the request.
        message: &'static str,
        /// The version.
        version: i16,
        /// What is wrong.
        source: DecodeError,
    },
    /// The response cannot be written, which is a fault of this broker.
    #[error("cannot write the response of {message} version {version}: {source}")]
    Encode {
        /// The name of the request.
        message: &'static str,
        /// The version.
        version: i16,
        /// What is wrong.
        source: EncodeError,
    },
    /// The handler closes the connection.
    #[error("{0}")]
    Handler(String),
}

/// A request whose header has been read.
pub(crate) struct Incoming {
    pub key: i16,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
    /// The whole frame, for whoever hands it on.
    frame: Bytes,
    rest: Reader,
}

impl Incoming {
    /// Reads the part of a request header that all of its versions have. The tagged fields of a flexible header stand
    /// after it, and are read once the API is known.
    pub fn read(frame: Bytes) -> Result<Self, DispatchError> {
        let mut reader = Reader::new(frame.clone());
        let mut read =
            || Ok::<_, DecodeError>((reader.i16()?, reader.i16()?, reader.i32()?, reader.nullable_string(false)?));
        let (key, version, correlation_id, client_id) = read().map_err(DispatchError::Header)?;
        Ok(Self { key, version, correlation_id, client_id, frame, rest: reader })
    }
}

async fn serve<R, H, F>(incoming: Incoming, handle: H) -> Result<Option<Writer>, DispatchError>
where
    R: Request,
    H: FnOnce(R) -> F,
    F: Future<Output = Result<R::Response, HandlerError>>,
{
    let Incoming { version, correlation_id, mut rest, .. } = incoming;
    let mut decode = || {
        if R::header_version(version) >= 2 {
            rest.tagged_fields(|_, _| Ok(false))?;
        }
        // What stands behind a request is not looked at, as in Kafka: librdkafka leaves a few bytes there when it asks for
        // all topics, or for all offsets of a group, because it reserves the widest form of a count that it then writes
        // in a byte.
        R::decode(&mut rest, version)
    };
    let request = decode().map_err(|source| DispatchError::Decode { message: R::NAME, version, source })?;
    drop(rest);
    match handle(request).await {
        Ok(response) => encode_response::<R>(&response, version, correlation_id).map(Some),
        Err(HandlerError::NoResponse) => Ok(None),
        Err(HandlerError::Close(reason)) => Err(DispatchError::Handler(reason)),
    }
}

fn encode_response<R: Request>(
    response: &R::Response,
    version: i16,
    correlation_id: i32,
) -> Result<Writer, DispatchError> {
    let mut writer = Writer::new().cutting_strings();
    writer.begin_frame();
    writer.i32(correlation_id);
    if R::response_header_version(version) >= 1 {
        writer.unsigned_varint(0);
    }
    response
        .encode(&mut writer, version)
        .and_then(|()| writer.end_frame())
        .map_err(|source| DispatchError::Encode { message: R::NAME, version, source })?;
    Ok(writer)
}

/// Declares the APIs that are offered on a kind of listeners: the key, the versions, and the module whose `handle` answers.
macro_rules! apis {
    ($(#[$doc:meta])* $offered:ident, $call:ident, $($key:ident $min:literal..=$max:literal => $module:ident;)*) => {
        $(#[$doc])*
        pub const $offered: &[(ApiKey, VersionRange)] = &[$((ApiKey::$key, VersionRange::new($min, $max))),*];

        async fn $call(
            broker: &Arc<BrokerState>,
            context: &RequestContext,
            key: ApiKey,
            incoming: Incoming,
        ) -> Result<Option<Writer>, DispatchError> {
            let version = incoming.version;
            match key {
                $(ApiKey::$key => {
                    serve(incoming, |request| $module::handle(broker, context, request, version)).await
                })*
                _ => Err(DispatchError::NotOffered { key: key as i16, version }),
            }
        }
    };
}

apis! {
    /// The APIs that are offered to clients and brokers, with the versions of each, ascending by key.
    OFFERED, call,
    Produce 3..=13 => produce;
    Fetch 4..=18 => fetch;
    ListOffsets 1..=11 => list_offsets;
    Metadata 0..=13 => metadata;
    OffsetCommit 2..=10 => offset_commit;
    OffsetFetch 1..=10 => offset_fetch;
    FindCoordinator 0..=6 => find_coordinator;
    JoinGroup 0..=9 => join_group;
    Heartbeat 0..=4 => heartbeat;
    LeaveGroup 0..=5 => leave_group;
    SyncGroup 0..=5 => sync_group;
    DescribeGroups 0..=6 => describe_groups;
    ListGroups 0..=5 => list_groups;
    ApiVersions 0..=4 => api_versions;
    CreateTopics 2..=7 => create_topics;
    DeleteTopics 1..=6 => delete_topics;
    DeleteRecords 0..=2 => delete_records;
    InitProducerId 0..=5 => init_producer_id;
    OffsetForLeaderEpoch 2..=4 => offset_for_leader_epoch;
    AddPartitionsToTxn 0..=5 => add_partitions_to_txn;
    AddOffsetsToTxn 0..=4 => add_offsets_to_txn;
    EndTxn 0..=5 => end_txn;
    WriteTxnMarkers 1..=2 => write_txn_markers;
    TxnOffsetCommit 0..=5 => txn_offset_commit;
    DescribeAcls 1..=3 => describe_acls;
    CreateAcls 1..=3 => create_acls;
    DeleteAcls 1..=3 => delete_acls;
    DescribeConfigs 1..=4 => describe_configs;
    AlterConfigs 0..=2 => alter_configs;
    DescribeLogDirs 1..=5 => describe_log_dirs;
    CreatePartitions 0..=3 => create_partitions;
    DeleteGroups 0..=2 => delete_groups;
    ElectLeaders 0..=2 => elect_leaders;
    IncrementalAlterConfigs 0..=1 => incremental_alter_configs;
    AlterPartitionReassignments 0..=1 => alter_partition_reassignments;
    ListPartitionReassignments 0..=0 => list_partition_reassignments;
    OffsetDelete 0..=0 => offset_delete;
    DescribeQuorum 0..=2 => describe_quorum;
    UpdateFeatures 0..=2 => update_features;
    DescribeCluster 0..=2 => describe_cluster;
    DescribeProducers 0..=0 => describe_producers;
    UnregisterBroker 0..=0 => unregister_broker;
    DescribeTransactions 0..=0 => describe_transactions;
    ListTransactions 0..=2 => list_transactions;
    ConsumerGroupHeartbeat 0..=1 => consumer_group_heartbeat;
    ConsumerGroupDescribe 0..=1 => consumer_group_describe;
    GetTelemetrySubscriptions 0..=0 => get_telemetry_subscriptions;
    PushTelemetry 0..=0 => push_telemetry;
    ListConfigResources 0..=1 => list_config_resources;
    DescribeTopicPartitions 0..=0 => describe_topic_partitions;
    ShareGroupHeartbeat 1..=1 => share_group_heartbeat;
    ShareGroupDescribe 1..=1 => share_group_describe;
    ShareFetch 1..=2 => share_fetch;
    ShareAcknowledge 1..=2 => share_acknowledge;
    DescribeShareGroupOffsets 0..=1 => describe_share_group_offsets;
    AlterShareGroupOffsets 0..=0 => alter_share_group_offsets;
    DeleteShareGroupOffsets 0..=0 => delete_share_group_offsets;
}

apis! {
    /// The APIs that are offered on the listeners for controllers, with the versions of each, ascending by key.
    OFFERED_TO_CONTROLLERS, call_controller,
    Fetch 12..=18 => fetch_metadata;
    ApiVersions 0..=4 => api_versions;
    CreateTopics 2..=7 => create_topics;
    DeleteTopics 1..=6 => delete_topics;
    DescribeConfigs 1..=4 => describe_configs;
    AlterConfigs 0..=2 => alter_configs;
    CreatePartitions 0..=3 => create_partitions;
    ElectLeaders 0..=2 => elect_leaders;
    IncrementalAlterConfigs 0..=1 => incremental_alter_configs;
    AlterPartitionReassignments 0..=1 => alter_partition_reassignments;
    ListPartitionReassignments 0..=0 => list_partition_reassignments;
    Vote 0..=2 => vote;
    BeginQuorumEpoch 0..=1 => begin_quorum_epoch;
    EndQuorumEpoch 0..=1 => end_quorum_epoch;
    DescribeQuorum 0..=2 => describe_quorum;
    AlterPartition 2..=3 => alter_partition;
    UpdateFeatures 0..=2 => update_features;
    Envelope 0..=0 => envelope;
    FetchSnapshot 0..=1 => fetch_snapshot;
    DescribeCluster 0..=2 => describe_cluster;
    BrokerRegistration 0..=4 => broker_registration;
    BrokerHeartbeat 0..=2 => broker_heartbeat;
    UnregisterBroker 0..=0 => unregister_broker;
    AllocateProducerIds 0..=0 => allocate_producer_ids;
    ControllerRegistration 0..=0 => controller_registration;
    AssignReplicasToDirs 0..=0 => assign_replicas_to_dirs;
}

/// The requests of clients that only the active controller can answer, which other nodes hand on to it (KIP-590).
pub(crate) fn is_forwarded(key: i16) -> bool {
    const FORWARDED: &[ApiKey] = &[
        ApiKey::CreateTopics,
        ApiKey::DeleteTopics,
        ApiKey::AlterConfigs,
        ApiKey::CreatePartitions,
        ApiKey::ElectLeaders,
        ApiKey::IncrementalAlterConfigs,
        ApiKey::AlterPartitionReassignments,
        ApiKey::ListPartitionReassignments,
        ApiKey::DescribeQuorum,
        ApiKey::UpdateFeatures,
        ApiKey::UnregisterBroker,
    ];
    FORWARDED.iter().any(|forwarded| *forwarded as i16 == key)
}

/// The versions in which this broker offers `key`, `None` where it does not offer it.
pub fn offered(key: i16) -> Option<(ApiKey, VersionRange)> {
    OFFERED.iter().find(|(api, _)| *api as i16 == key).copied()
}

/// As [`offered`], on the listeners for controllers.
pub fn offered_to_controllers(key: i16) -> Option<(ApiKey, VersionRange)> {
    OFFERED_TO_CONTROLLERS.iter().find(|(api, _)| *api as i16 == key).copied()
}

/// Answers one request; `None` where no response is due.
pub(crate) async fn dispatch(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    incoming: Incoming,
) -> Result<Option<Writer>, DispatchError> {
    let (number, version) = (incoming.key, incoming.version);
    let found = if context.is_for_controllers { offered_to_controllers(number) } else { offered(number) };
    match found {
        Some((key, versions)) if versions.contains(version) => {
            if context.is_for_controllers {
                return call_controller(broker, context, key, incoming).await;
            }
            // Where no controller answers, the handler says so in the words of its API.
            if is_forwarded(number)
                && !broker.controller.is_active()
                && let Some(answer) = forward(broker, context, incoming.frame.clone()).await
            {
                return Ok(Some(answer));
            }
            call(broker, context, key, incoming).await
        }
        // KIP-511: a client that is newer than this broker learns the versions from an answer of version 0.
        Some((ApiKey::ApiVersions, _)) => {
            use rkafka_protocol::messages::ApiVersionsRequest;
            encode_response::<ApiVersionsRequest>(&api_versions::unsupported(context), 0, incoming.correlation_id)
                .map(Some)
        }
        _ => Err(DispatchError::NotOffered { key: number, version }),
    }
}
