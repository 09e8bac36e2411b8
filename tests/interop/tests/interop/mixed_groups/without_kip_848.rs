//! Brokers that do not offer the protocol of KIP-848: who asks for it is told what to do, and the classic one works.

use rkafka::consumer::{Consumer, GroupProtocol};
use rkafka_testkit::{RealKafka, TestCluster, create_topic, skipped};

use crate::support::{consumer_config, has_java, in_time, send_values, try_tool};

const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";

async fn is_told_what_to_do(bootstrap: &str, on: &str) {
    let downgrade = ["--bootstrap-server", bootstrap, "downgrade", "--feature", "group.version=0"];
    let (done, stdout, stderr) = try_tool(FEATURES, &downgrade, b"").await;
    assert!(done, "on {on}: {stdout}{stderr}");
    let at = bootstrap.to_owned();
    tokio::task::spawn_blocking(move || create_topic(&at, "old", 2, &[])).await.expect("created");
    send_values(bootstrap, "old", 2, (0..10).map(|number| number.to_string())).await;

    let config = || consumer_config(bootstrap).group_id("old");
    let mut refused = Consumer::connect(config().group_protocol(GroupProtocol::Consumer)).await.expect("a consumer");
    refused.subscribe(["old"]).expect("subscribed");
    let error = in_time("the error", refused.recv()).await.expect_err("not offered");
    let said = error.to_string();
    assert!(error.is_fatal(), "on {on}: {said}");
    assert!(said.contains("UNSUPPORTED_VERSION") && said.contains("set group.protocol=classic"), "on {on}: {said}");
    in_time("the close", refused.close()).await.expect("closed");

    let mut taken = Consumer::connect(config()).await.expect("a consumer");
    taken.subscribe(["old"]).expect("subscribed");
    for _ in 0..10 {
        in_time("a record", taken.recv()).await.expect("a record");
    }
    in_time("the close", taken.close()).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours() {
    if has_java("mixed_groups::without_kip_848::ours").await {
        let cluster = TestCluster::start().await;
        is_told_what_to_do(&cluster.bootstrap(), "the embedded broker").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkas() {
    // One of its own: what is finalized concerns everybody.
    match tokio::task::spawn_blocking(|| RealKafka::start(1)).await.expect("no panic") {
        Ok(kafka) => is_told_what_to_do(&kafka.bootstrap(), "Apache Kafka").await,
        Err(why) => skipped("mixed_groups::without_kip_848::kafkas", &why),
    }
}
