//! The answers to everything but Produce.

use rkafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use rkafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};
use rkafka_protocol::messages::find_coordinator_response::Coordinator;
use rkafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use rkafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use rkafka_protocol::messages::*;
use rkafka_protocol::wire::{Message, Reader};
use rkafka_protocol::{ApiKey, ErrorCode};

use crate::broker::{State, TOPIC, TOPIC_ID, encoded};

impl State {
    pub(crate) fn answer_others(
        &mut self,
        key: ApiKey,
        version: i16,
        id: i32,
        reader: &mut Reader,
        done: bool,
        refusal: Option<ErrorCode>,
    ) -> Vec<u8> {
        let coded = |result: Result<(), ErrorCode>| match refusal {
            Some(code) => code.code(),
            None => result.err().map_or(0, ErrorCode::code),
        };
        match key {
            ApiKey::ApiVersions => encoded::<ApiVersionsRequest>(id, version, &self.api_versions()),
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(reader, version).expect("a request");
                encoded::<MetadataRequest>(id, version, &self.metadata(&request, refusal))
            }
            ApiKey::FindCoordinator => {
                let request = FindCoordinatorRequest::decode(reader, version).expect("a request");
                let (host, port) = self.addresses[self.coordinator].clone();
                let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
                    key,
                    node_id: self.coordinator as i32,
                    host: host.clone(),
                    port: port.into(),
                    error_code: coded(Ok(())),
                    ..Coordinator::default()
                });
                let coordinators = coordinators.collect();
                let response = FindCoordinatorResponse { coordinators, ..Default::default() };
                encoded::<FindCoordinatorRequest>(id, version, &response)
            }
            ApiKey::InitProducerId => {
                let request = InitProducerIdRequest::decode(reader, version).expect("a request");
                self.initialized.push(request.clone());
                let present = (request.producer_id >= 0).then_some((request.producer_id, request.producer_epoch));
                let result = match &request.transactional_id {
                    _ if !done => Ok((-1, -1)),
                    Some(id) => self.model.initialize(id, present),
                    None => {
                        let producer = self.model.fresh_producer();
                        self.model.plain.insert(producer);
                        Ok((producer, 0))
                    }
                };
                let (producer_id, producer_epoch) = result.unwrap_or((-1, -1));
                let error_code = coded(result.map(drop));
                let response = InitProducerIdResponse { error_code, producer_id, producer_epoch, ..Default::default() };
                encoded::<InitProducerIdRequest>(id, version, &response)
            }
            ApiKey::AddPartitionsToTxn => {
                let request = AddPartitionsToTxnRequest::decode(reader, version).expect("a request");
                let producer = (request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
                let mut results = Vec::new();
                for topic in &request.v3_and_below_topics {
                    let mut results_by_partition = Vec::new();
                    for partition in &topic.partitions {
                        let name = &request.v3_and_below_transactional_id;
                        let at = *partition as usize;
                        let result = if done { self.model.add_partition(name, producer, at) } else { Ok(()) };
                        results_by_partition.push(AddPartitionsToTxnPartitionResult {
                            partition_index: *partition,
                            partition_error_code: coded(result),
                            ..Default::default()
                        });
                    }
                    let name = topic.name.clone();
                    results.push(AddPartitionsToTxnTopicResult { name, results_by_partition, ..Default::default() });
                }
                let response =
                    AddPartitionsToTxnResponse { results_by_topic_v3_and_below: results, ..Default::default() };
                encoded::<AddPartitionsToTxnRequest>(id, version, &response)
            }
            ApiKey::AddOffsetsToTxn => {
                let request = AddOffsetsToTxnRequest::decode(reader, version).expect("a request");
                let producer = (request.producer_id, request.producer_epoch);
                let add =
                    |state: &mut Self| state.model.add_group(&request.transactional_id, producer, &request.group_id);
                let error_code = coded(if done { add(self) } else { Ok(()) });
                let response = AddOffsetsToTxnResponse { error_code, ..Default::default() };
                encoded::<AddOffsetsToTxnRequest>(id, version, &response)
            }
            ApiKey::TxnOffsetCommit => {
                let request = TxnOffsetCommitRequest::decode(reader, version).expect("a request");
                let producer = (request.producer_id, request.producer_epoch);
                let mut topics = Vec::new();
                for topic in &request.topics {
                    let mut partitions = Vec::new();
                    for partition in &topic.partitions {
                        let offset = (&*request.group_id, partition.partition_index, partition.committed_offset);
                        let name = &request.transactional_id;
                        let result = match done {
                            true => self.model.commit_offset(name, producer, offset, version >= 5),
                            false => Ok(()),
                        };
                        partitions.push(TxnOffsetCommitResponsePartition {
                            partition_index: partition.partition_index,
                            error_code: coded(result),
                            ..Default::default()
                        });
                    }
                    let name = topic.name.clone();
                    topics.push(TxnOffsetCommitResponseTopic { name, partitions, ..Default::default() });
                }
                let response = TxnOffsetCommitResponse { topics, ..Default::default() };
                encoded::<TxnOffsetCommitRequest>(id, version, &response)
            }
            ApiKey::EndTxn => {
                let request = EndTxnRequest::decode(reader, version).expect("a request");
                let producer = (request.producer_id, request.producer_epoch);
                let result = match done {
                    true => self.model.end(&request.transactional_id, producer, request.committed, version >= 5),
                    false => Ok((-1, -1)),
                };
                let (producer_id, producer_epoch) = result.unwrap_or((-1, -1));
                let error_code = coded(result.map(drop));
                let response = EndTxnResponse { error_code, producer_id, producer_epoch, ..Default::default() };
                encoded::<EndTxnRequest>(id, version, &response)
            }
            other => panic!("{other:?} is not offered"),
        }
    }

    fn api_versions(&self) -> ApiVersionsResponse {
        let api = |key: ApiKey, min_version, max_version| ApiVersion {
            api_key: key as i16,
            min_version,
            max_version,
            ..ApiVersion::default()
        };
        let two = self.transaction_version >= 2;
        let level = self.transaction_version;
        ApiVersionsResponse {
            api_keys: vec![
                api(ApiKey::Produce, 9, self.produce_version_max),
                api(ApiKey::Metadata, 9, 12),
                api(ApiKey::ApiVersions, 0, 3),
                api(ApiKey::FindCoordinator, 4, 4),
                api(ApiKey::InitProducerId, 2, 5),
                api(ApiKey::AddPartitionsToTxn, 3, 3),
                api(ApiKey::AddOffsetsToTxn, 3, 4),
                api(ApiKey::EndTxn, 3, if two { 5 } else { 4 }),
                api(ApiKey::TxnOffsetCommit, 3, if two { 5 } else { 4 }),
            ],
            finalized_features_epoch: 1,
            finalized_features: vec![FinalizedFeatureKey {
                name: "transaction.version".to_owned(),
                max_version_level: level,
                min_version_level: level,
                ..Default::default()
            }],
            ..ApiVersionsResponse::default()
        }
    }

    fn metadata(&self, request: &MetadataRequest, refusal: Option<ErrorCode>) -> MetadataResponse {
        let brokers = (0..).zip(&self.addresses).map(|(node_id, (host, port))| MetadataResponseBroker {
            node_id,
            host: host.clone(),
            port: (*port).into(),
            ..MetadataResponseBroker::default()
        });
        let topics = request.topics.iter().flatten().map(|topic| {
            let code = match refusal {
                Some(code) => code,
                None if topic.name.as_deref() == Some(TOPIC) => ErrorCode::None,
                None => ErrorCode::UnknownTopicOrPartition,
            };
            let leaders = self.said.as_ref().unwrap_or(&self.leaders);
            let partitions = (0..).zip(leaders).map(|(partition_index, (leader, leader_epoch))| {
                let error_code = if leader.is_some() { 0 } else { ErrorCode::LeaderNotAvailable.code() };
                MetadataResponsePartition {
                    partition_index,
                    leader_id: leader.map_or(-1, |leader| leader as i32),
                    leader_epoch: *leader_epoch,
                    error_code,
                    ..MetadataResponsePartition::default()
                }
            });
            MetadataResponseTopic {
                error_code: code.code(),
                name: topic.name.clone(),
                topic_id: TOPIC_ID,
                partitions: if code == ErrorCode::None { partitions.collect() } else { Vec::new() },
                ..MetadataResponseTopic::default()
            }
        });
        MetadataResponse {
            brokers: brokers.collect(),
            topics: topics.collect(),
            cluster_id: Some("scripted".to_owned()),
            controller_id: 0,
            ..MetadataResponse::default()
        }
    }
}
