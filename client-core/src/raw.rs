//! The door for requests of the `kafka-protocol` crate.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};

use crate::{Client, Error, ErrorKind, RequestOptions, Result, Target};

macro_rules! keys {
    ($($kind:ident),*) => {
        /// The key of a request.
        fn key_of(request: &RequestKind) -> Option<ApiKey> {
            match request {
                $(RequestKind::$kind(_) => Some(ApiKey::$kind),)*
                _ => None,
            }
        }
    };
}

keys!(
    Produce,
    Fetch,
    ListOffsets,
    Metadata,
    OffsetCommit,
    OffsetFetch,
    FindCoordinator,
    JoinGroup,
    Heartbeat,
    LeaveGroup,
    SyncGroup,
    DescribeGroups,
    ListGroups,
    SaslHandshake,
    ApiVersions,
    CreateTopics,
    DeleteTopics,
    DeleteRecords,
    InitProducerId,
    OffsetForLeaderEpoch,
    AddPartitionsToTxn,
    AddOffsetsToTxn,
    EndTxn,
    WriteTxnMarkers,
    TxnOffsetCommit,
    DescribeAcls,
    CreateAcls,
    DeleteAcls,
    DescribeConfigs,
    AlterConfigs,
    AlterReplicaLogDirs,
    DescribeLogDirs,
    SaslAuthenticate,
    CreatePartitions,
    CreateDelegationToken,
    RenewDelegationToken,
    ExpireDelegationToken,
    DescribeDelegationToken,
    DeleteGroups,
    ElectLeaders,
    IncrementalAlterConfigs,
    AlterPartitionReassignments,
    ListPartitionReassignments,
    OffsetDelete,
    DescribeClientQuotas,
    AlterClientQuotas,
    DescribeUserScramCredentials,
    AlterUserScramCredentials,
    Vote,
    BeginQuorumEpoch,
    EndQuorumEpoch,
    DescribeQuorum,
    AlterPartition,
    UpdateFeatures,
    Envelope,
    FetchSnapshot,
    DescribeCluster,
    DescribeProducers,
    BrokerRegistration,
    BrokerHeartbeat,
    UnregisterBroker,
    DescribeTransactions,
    ListTransactions,
    AllocateProducerIds,
    ConsumerGroupHeartbeat,
    ConsumerGroupDescribe,
    ControllerRegistration,
    GetTelemetrySubscriptions,
    PushTelemetry,
    AssignReplicasToDirs,
    ListConfigResources,
    DescribeTopicPartitions,
    ShareGroupHeartbeat,
    ShareGroupDescribe,
    ShareFetch,
    ShareAcknowledge,
    AddRaftVoter,
    RemoveRaftVoter,
    UpdateRaftVoter,
    InitializeShareGroupState,
    ReadShareGroupState,
    WriteShareGroupState,
    DeleteShareGroupState,
    ReadShareGroupStateSummary,
    DescribeShareGroupOffsets,
    AlterShareGroupOffsets,
    DeleteShareGroupOffsets
);

impl Client {
    /// Sends any request of the `kafka-protocol` crate in a version of the caller's choice, and gives the answer as that
    /// crate reads it. Feature `raw`. One attempt. Where this future is dropped, the request may have been sent.
    ///
    /// **Ask only brokers that you trust.** That crate (0.18) believes the lengths that an answer declares: five hostile
    /// bytes make it ask for hundreds of gigabytes, and the process aborts, which nothing can catch. It also loses all
    /// but the last of several record headers with one name. Nothing else in this workspace reads foreign bytes with it.
    ///
    /// # Errors
    /// The broker takes no such version, or as [`Client::request_with`].
    pub async fn request_raw(
        &self,
        target: Target,
        version: i16,
        request: RequestKind,
        options: RequestOptions,
    ) -> Result<ResponseKind> {
        let Some(key) = key_of(&request) else {
            return Err(Error::new(ErrorKind::Config, "this request of `kafka-protocol` is newer than this client"));
        };
        let connection = self.connection(&target, options.lane).await?;
        let range = connection.versions().range(key as i16);
        if !range.is_some_and(|range| range.contains(version)) {
            let takes = range.map_or("none".to_owned(), |range| format!("{} to {}", range.min, range.max));
            let message = format!("{key:?} version {version} is wanted, and the broker takes {takes}");
            return Err(Error::new(ErrorKind::UnsupportedVersion, message).with_broker(connection.endpoint()));
        }
        let mut encoded = BytesMut::new();
        request.encode(&mut encoded, version).map_err(|error| {
            Error::new(ErrorKind::Encode, format!("`kafka-protocol` cannot write {key:?} version {version}: {error}"))
        })?;
        let body: Bytes = encoded.freeze();
        let headers = (key.request_header_version(version), key.response_header_version(version));
        let enqueue = move |link: &mut crate::Link| {
            link.enqueue_with(key as i16, version, headers, true, |writer| {
                writer.raw(&body);
                Ok(())
            })
        };
        let timeout = options.timeout.unwrap_or(self.config().request_timeout);
        let response = connection.send(Box::new(enqueue), timeout).await?;
        let mut body = response.body;
        ResponseKind::decode(key, &mut body, version).map_err(|error| {
            Error::new(ErrorKind::Protocol, format!("`kafka-protocol` cannot read the answer to {key:?}: {error}"))
                .with_broker(connection.endpoint())
        })
    }
}
