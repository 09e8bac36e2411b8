//! Logs that get shorter at their beginning, on all replicas.

use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::DeleteRecordsRequest;
use rkafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use rkafka_protocol::records::{BatchOptions, encode_batch};

use crate::common::produce_request;
use crate::support::{Three, eventually, values};

fn delete_request(offset: i64, timeout_ms: i32) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() };
    let topic = DeleteRecordsTopic { name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
    DeleteRecordsRequest { topics: vec![topic], timeout_ms, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_are_gone_on_all_replicas_when_the_answer_comes() {
    let three = Three::start(|config| config).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..10)).await;
    let answer = three.client(1).await.call(&delete_request(4, 30_000), 2).await;
    let answer = &answer.topics[0].partitions[0];
    assert_eq!((answer.error_code, answer.low_watermark), (0, 4));
    for node in 1..=3 {
        assert_eq!(three.log_start(node, "t", 0).await, 4, "on {node}");
    }
    let refused = three.client(2).await.call(&delete_request(5, 30_000), 2).await;
    assert_eq!(refused.topics[0].partitions[0].error_code, ErrorCode::NotLeaderOrFollower.code());
    three.isolate_follower(3);
    let late = three.client(1).await.call(&delete_request(6, 700), 2).await;
    assert_eq!(late.topics[0].partitions[0].error_code, ErrorCode::RequestTimedOut.code());
    three.heal();
    eventually("the last replica follows", async || match three.log_start(3, "t", 0).await {
        6 => Ok(()),
        other => Err(other),
    })
    .await;
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_does_not_wait_for_a_broker_that_dies_meanwhile() {
    let mut three = Three::start(|config| config).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..10)).await;
    three.isolate_follower(3);
    let mut client = three.client(1).await;
    client.send(&delete_request(4, 30_000), 2).await;
    three.kill(3);
    let answer = client.receive::<DeleteRecordsRequest>(2, client.last_correlation_id()).await;
    let answer = &answer.topics[0].partitions[0];
    assert_eq!((answer.error_code, answer.low_watermark), (0, 4));
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_segments_go_on_leaders_and_followers() {
    let short = |config: rkafka_broker_core::BrokerConfig| {
        config.log_retention_check_interval(Duration::from_millis(300)).log_segment_delete_delay(Duration::ZERO)
    };
    let three = Three::on_disk(short).await;
    let configs = [("segment.bytes", "1048576"), ("retention.bytes", "1048576")];
    three.create("t", &[&[1, 2, 3]], &configs).await;
    let value = "x".repeat(300_000);
    for _ in 0..12 {
        three.produce(1, "t", 0, [value.clone()]).await;
    }
    for node in 1..=3 {
        eventually("old segments go", async || {
            let start = three.log_start(node, "t", 0).await;
            if start > 0 { Ok(()) } else { Err((node, start)) }
        })
        .await;
        assert_eq!(three.log_end(node, "t", 0).await, 12);
    }
    // They go on following.
    assert_eq!(three.produce(1, "t", 0, ["last".to_owned()]).await, 12);
    three.until_isr("t", 0, &[1, 2, 3]).await;
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_is_compacted_and_has_the_last_value_of_each_key() {
    let eager = |config: rkafka_broker_core::BrokerConfig| {
        config.log_cleaner_backoff(Duration::from_millis(200)).log_segment_delete_delay(Duration::ZERO)
    };
    let mut three = Three::start(eager).await;
    let configs = [("cleanup.policy", "compact"), ("segment.ms", "200"), ("min.cleanable.dirty.ratio", "0.01")];
    three.create("t", &[&[1, 2, 3]], &configs).await;
    let clock = std::cell::Cell::new(1_700_000_000_000_i64);
    let send = async |three: &Three, node: i32, key: &str, value: &str| {
        let records = [(Some(key.as_bytes()), Some(value.as_bytes()))];
        let batch = encode_batch(Vec::new(), BatchOptions::default(), clock.get(), records).unwrap();
        // Segments roll by the records' time.
        clock.set(clock.get() + 1_000);
        let mut request = produce_request("t", 0, batch.into_bytes(), -1);
        request.timeout_ms = 30_000;
        let answer = three.client(node).await.call(&request, 9).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    };
    for number in 0..30 {
        send(&three, 1, ["a", "b", "c"][number % 3], &format!("{number}")).await;
    }
    // A new segment begins with a record when the one before is old enough.
    let cleaned = async |three: &Three, node: i32| {
        eventually("it is compacted", async || {
            send(three, 1, "d", "d").await;
            let values = three.client(node).await.values("t", 0, 0).await;
            let kept: Vec<&str> = values.iter().map(String::as_str).filter(|value| *value != "d").collect();
            if kept == ["27", "28", "29"] { Ok(()) } else { Err((node, values)) }
        })
        .await;
    };
    for node in 1..=3 {
        cleaned(&three, node).await;
    }
    // One that comes back empty gets what is left, with its holes.
    three.kill(3);
    three.until_isr("t", 0, &[1, 2]).await;
    three.start_again(3).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    cleaned(&three, 3).await;
    three.shutdown().await;
}
