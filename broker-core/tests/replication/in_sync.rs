//! Who is in sync, and what is refused for want of it.

use std::time::Duration;

use rkafka_protocol::ErrorCode;

use crate::support::{Three, values};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn laggards_go_out_of_sync_and_come_back_and_in_between_acks_all_is_refused() {
    let three = Three::start(|config| config.replica_lag_time_max(Duration::from_secs(2))).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..3)).await;
    three.isolate_follower(3);
    // With two in sync it goes on, once the third is out.
    three.produce(1, "t", 0, values(3..4)).await;
    three.until_isr("t", 0, &[1, 2]).await;
    three.isolate_follower(2);
    let appended = three.send(1, "t", 0, "v4", 1).await;
    assert_eq!((appended.error_code, appended.base_offset), (0, 4));
    three.until_isr("t", 0, &[1]).await;
    let refused = three.send(1, "t", 0, "refused", -1).await;
    assert_eq!(refused.error_code, ErrorCode::NotEnoughReplicas.code(), "{refused:?}");
    assert!(refused.error_message.as_deref().unwrap().contains("min.insync.replicas=2"), "{refused:?}");
    let appended = three.send(1, "t", 0, "v5", 1).await;
    assert_eq!((appended.error_code, appended.base_offset), (0, 5), "acks=1 asks for nobody else");
    assert_eq!(three.client(1).await.values("t", 0, 0).await, values(0..4), "one copy is not committed");
    three.heal();
    three.until_isr("t", 0, &[1, 2, 3]).await;
    assert_eq!(three.produce(1, "t", 0, values(6..8)).await, 6);
    for node in 1..=3 {
        three.until_values(node, "t", 0, &values(0..8)).await;
    }
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_waits_for_a_laggard_is_acknowledged_once_that_is_out_of_sync() {
    let three = Three::start(|config| config.replica_lag_time_max(Duration::from_secs(2))).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..1)).await;
    three.isolate_follower(3);
    // One request, which waits.
    let produced = three.send(1, "t", 0, "v1", -1).await;
    assert_eq!((produced.error_code, produced.base_offset), (0, 1), "{produced:?}");
    three.until_isr("t", 0, &[1, 2]).await;
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_dies_or_stops_holds_nothing_up_once_it_is_out_of_sync() {
    let mut three = Three::start(|config| config.replica_lag_time_max(Duration::from_secs(600))).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..1)).await;
    three.kill(3);
    three.until_isr("t", 0, &[1, 2]).await;
    // It had all that there was a moment ago, and could join at once if it were there.
    three.produce(1, "t", 0, values(1..3)).await;
    three.start_again(3).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    three.stop(3).await;
    three.produce(1, "t", 0, values(3..5)).await;
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_in_too_few_logs_times_out_and_is_committed_later_all_the_same() {
    let three = Three::start(|config| config.replica_lag_time_max(Duration::from_secs(2))).await;
    three.create("t", &[&[1, 2]], &[]).await;
    three.produce(1, "t", 0, values(0..1)).await;
    three.isolate_follower(2);
    let mut request = crate::common::produce_request("t", 0, crate::common::batch(&["v1"]), -1);
    request.timeout_ms = 1_000;
    let answer = three.client(1).await.call(&request, 9).await.responses[0].partition_responses[0].clone();
    assert_eq!(answer.error_code, ErrorCode::RequestTimedOut.code(), "{answer:?}");
    three.heal();
    three.until_values(2, "t", 0, &values(0..2)).await;
    three.shutdown().await;
}
