//! Markers of transactions as a coordinator, or an operator who ends a hanging transaction, writes them.

mod common;

use common::{Client, idempotent_batch, start_in_memory};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_producers_request::TopicRequest;
use rkafka_protocol::messages::describe_producers_response::ProducerState;
use rkafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use rkafka_protocol::messages::{DescribeProducersRequest, WriteTxnMarkersRequest};

fn marker(producer_id: i64, producer_epoch: i16, coordinator_epoch: i32, version: i8) -> WritableTxnMarker {
    let topic = |name: &str, partition_indexes| WritableTxnMarkerTopic {
        name: name.to_owned(),
        partition_indexes,
        ..Default::default()
    };
    WritableTxnMarker {
        producer_id,
        producer_epoch,
        transaction_result: true,
        topics: vec![topic("t", vec![0, 9]), topic("nowhere", vec![0])],
        coordinator_epoch,
        transaction_version: version,
        ..Default::default()
    }
}

/// The error codes of the marker's partitions: the one that exists, and the two that do not.
async fn write(client: &mut Client, markers: Vec<WritableTxnMarker>, version: i16) -> Vec<Vec<i16>> {
    let response = client.call(&WriteTxnMarkersRequest { markers, ..Default::default() }, version).await;
    let codes = response.markers.iter().map(|marker| {
        let partitions = marker.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| partition.error_code).collect()
    });
    codes.collect()
}

async fn producers(client: &mut Client) -> Vec<ProducerState> {
    let topics = vec![TopicRequest { name: "t".to_owned(), partition_indexes: vec![0], ..Default::default() }];
    let response = client.call(&DescribeProducersRequest { topics, ..Default::default() }, 0).await;
    response.topics[0].partitions[0].active_producers.clone()
}

#[tokio::test]
async fn markers_are_judged_partition_by_partition() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(client.produce("t", 0, idempotent_batch(7, 3, 0, "v")).await.error_code, 0);
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    for version in 1..=2 {
        let results = write(&mut client, vec![marker(7, 3, 5, 0), marker(8, 0, 1, 0)], version).await;
        assert_eq!(results, [[0, unknown, unknown], [0, unknown, unknown]]);
    }
    let late = ErrorCode::InvalidProducerEpoch.code();
    let fenced = ErrorCode::TransactionCoordinatorFenced.code();
    let results = write(&mut client, vec![marker(7, 2, 5, 0), marker(7, 3, 4, 0), marker(7, 4, 6, 2)], 2).await;
    assert_eq!(results, [[late, unknown, unknown], [fenced, unknown, unknown], [0, unknown, unknown]]);
    let mut known = producers(&mut client).await;
    known.sort_by_key(|producer| producer.producer_id);
    let seen: Vec<_> = known
        .iter()
        .map(|producer| {
            let transaction = (producer.coordinator_epoch, producer.current_txn_start_offset);
            (producer.producer_id, producer.producer_epoch, producer.last_sequence, transaction)
        })
        .collect();
    assert_eq!(seen, [(7, 4, -1, (6, -1)), (8, 0, -1, (1, -1))]);
    // The record, two markers in each version, and one more; the epoch in the last one fences.
    let data = client.fetch("t", 0, 0).await;
    assert_eq!((data.high_watermark, data.last_stable_offset, data.aborted_transactions), (6, 6, None));
    assert_eq!(client.produce("t", 0, idempotent_batch(7, 3, 1, "late")).await.error_code, late);
    assert_eq!(write(&mut client, vec![marker(-1, 0, 0, 0)], 1).await[0][0], ErrorCode::InvalidRecord.code());
}
