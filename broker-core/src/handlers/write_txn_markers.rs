//! API: WriteTxnMarkers (27)
//! Versions: 1-2
//! Behaviour: ends transactions in partitions, as a transaction coordinator or `kafka-transactions.sh abort` asks for
//! it. A marker that is older than what a partition knows of its producer or of the coordinator is refused there, and the
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
    let markers = request.markers.into_iter().map(|asked| {
        let marker = TransactionMarker {
            producer_id: asked.producer_id,
            producer_epoch: asked.producer_epoch,
            coordinator_epoch: asked.coordinator_epoch,
            commit: asked.transaction_result,
            transaction_version: i16::from(asked.transaction_version),
        };
        let topics = asked.topics.into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let written = broker.write_transaction_marker(&topic.name, *index, &marker);
                WritableTxnMarkerPartitionResult {
                    partition_index: *index,
                    error_code: written.err().unwrap_or(ErrorCode::None).code(),
                    ..Default::default()
                }
            });
            let partitions = partitions.collect();
            WritableTxnMarkerTopicResult { name: topic.name, partitions, ..Default::default() }
        });
        let topics = topics.collect();
        WritableTxnMarkerResult { producer_id: asked.producer_id, topics, ..Default::default() }
    });
    Ok(WriteTxnMarkersResponse { markers: markers.collect(), ..Default::default() })
}
