//! API: WriteTxnMarkers (27)
//! Versions: 1-2
//! Behaviour: ends transactions in partitions that this broker leads, as a transaction coordinator or
//! `kafka-transactions.sh abort` asks for it, and answers once the markers are committed. A marker that is older than what a partition knows of its producer or of the coordinator is refused there, and the
//! other partitions are not harmed by that.
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
    let mut markers = Vec::with_capacity(request.markers.len());
    for asked in request.markers {
        let marker = TransactionMarker {
            producer_id: asked.producer_id,
            producer_epoch: asked.producer_epoch,
            coordinator_epoch: asked.coordinator_epoch,
            commit: asked.transaction_result,
            transaction_version: i16::from(asked.transaction_version),
        };
        let mut to = Vec::new();
        for topic in &asked.topics {
            to.extend(topic.partition_indexes.iter().map(|index| (topic.name.clone(), *index)));
        }
        let mut topics: Vec<WritableTxnMarkerTopicResult> = Vec::with_capacity(asked.topics.len());
        for (name, partition_index, written) in broker.write_markers_here(&marker, to).await {
            let error_code = written.err().unwrap_or(ErrorCode::None).code();
            let result = WritableTxnMarkerPartitionResult { partition_index, error_code, ..Default::default() };
            match topics.last_mut().filter(|topic| topic.name == name) {
                Some(topic) => topic.partitions.push(result),
                None => {
                    topics.push(WritableTxnMarkerTopicResult { name, partitions: vec![result], ..Default::default() })
                }
            }
        }
        markers.push(WritableTxnMarkerResult { producer_id: asked.producer_id, topics, ..Default::default() });
    }
    Ok(WriteTxnMarkersResponse { markers, ..Default::default() })
}
