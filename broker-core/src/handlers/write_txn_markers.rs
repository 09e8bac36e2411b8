//! API: WriteTxnMarkers (27)
//! Versions: 1-2
//! Behaviour: ends transactions in partitions that this broker leads, as a transaction coordinator or
//! `kafka-transactions.sh abort` asks for it, and answers once all markers are committed. A marker that is older than what
//! a partition knows of its producer or of the coordinator is refused there, and the other partitions are not harmed by
//! that; the refusal is answered once what is there is committed, so that a coordinator may count on it.
//! Deviations: none known.
//! KIPs: 98, 664, 890, 1228

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use rkafka_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::transaction::MarkerTo;
use crate::log::TransactionMarker;

/// Writes the markers.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: WriteTxnMarkersRequest,
    _version: i16,
) -> Result<WriteTxnMarkersResponse, HandlerError> {
    let mut all = Vec::new();
    for asked in &request.markers {
        let marker = TransactionMarker {
            producer_id: asked.producer_id,
            producer_epoch: asked.producer_epoch,
            coordinator_epoch: asked.coordinator_epoch,
            commit: asked.transaction_result,
            transaction_version: i16::from(asked.transaction_version),
        };
        for topic in &asked.topics {
            let to = |partition: &i32| MarkerTo { marker, topic: topic.name.clone(), partition: *partition };
            all.extend(topic.partition_indexes.iter().map(to));
        }
    }
    // In the order of what was asked.
    let mut written = broker.write_markers_here(all).await.into_iter();
    let mut result = |partition_index: i32| {
        let error_code = written.next().and_then(Result::err).unwrap_or(ErrorCode::None).code();
        WritableTxnMarkerPartitionResult { partition_index, error_code, ..Default::default() }
    };
    let mut markers = Vec::with_capacity(request.markers.len());
    for asked in request.markers {
        let topics = asked.topics.into_iter().map(|topic| WritableTxnMarkerTopicResult {
            name: topic.name,
            partitions: topic.partition_indexes.into_iter().map(&mut result).collect(),
            ..Default::default()
        });
        let topics = topics.collect();
        markers.push(WritableTxnMarkerResult { producer_id: asked.producer_id, topics, ..Default::default() });
    }
    Ok(WriteTxnMarkersResponse { markers, ..Default::default() })
}
