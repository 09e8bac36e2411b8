//! Connections that break at each byte of a request and of its answer.

use std::time::Duration;

use rkafka_producer::{
    ClientSettings as _, CommittedOffset, GroupMetadata, ProducerConfig, ProducerError, Record, TopicPartition,
};
use rkafka_protocol::ApiKey;

use crate::broker::Act;
use crate::net::Net;

/// Sends five records, each in a batch of its own, all under way at once where that is allowed; gives the offsets.
async fn send_five(net: &std::sync::Arc<Net>, config: ProducerConfig) -> Vec<i64> {
    let producer = net.producer(config.batch_size(0_usize)).await;
    let mut deliveries = Vec::new();
    for number in 0..5 {
        deliveries.push(producer.send(Record::to("t").value(&number.to_string())).await.unwrap());
    }
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.await.unwrap().offset);
    }
    offsets
}

const FIVE: [&str; 5] = ["0", "1", "2", "3", "4"];

#[tokio::test(start_paused = true)]
async fn of_a_request() {
    let net = Net::new(1, 1);
    send_five(&net, net.config()).await;
    let length = net.cluster.state().produced[1].size;
    assert!((100..300).contains(&length), "{length}");
    for skipped in [0, 1, 3] {
        for cut in 0..=length {
            let net = Net::new(1, 1);
            net.cut_request(ApiKey::Produce, skipped, cut);
            let offsets = send_five(&net, net.config()).await;
            assert_eq!(offsets, [0, 1, 2, 3, 4], "request {skipped}, byte {cut}");
            assert_eq!(net.cluster.state().values(0), FIVE, "request {skipped}, byte {cut}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_an_answer() {
    // The longest answer has no more bytes than this; what is beyond its end is a whole one, and then the end.
    for answer in [0, 2] {
        for cut in 0..120 {
            let net = Net::new(1, 1);
            net.cluster.on_produce(move |nth| if nth == answer { Act::Cut(cut) } else { Act::Do });
            let offsets = send_five(&net, net.config()).await;
            assert_eq!(offsets, [0, 1, 2, 3, 4], "answer {answer}, byte {cut}");
            assert_eq!(net.cluster.state().values(0), FIVE, "answer {answer}, byte {cut}");
        }
    }
}

/// Without retries the sender is told whether the record may be in the log, and that is so.
#[tokio::test(start_paused = true)]
async fn of_a_request_that_is_not_tried_again() {
    let net = Net::new(1, 1);
    send_five(&net, net.config().enable_idempotence(false)).await;
    let length = net.cluster.state().produced[0].size;
    for cut in 0..=length {
        let net = Net::new(1, 1);
        let producer = net.producer(net.config().enable_idempotence(false).retries(0_u32)).await;
        net.cut_request(ApiKey::Produce, 0, cut);
        let error = producer.send(Record::to("t").value("0")).await.unwrap().await.unwrap_err();
        assert!(matches!(error, ProducerError::Disconnected { .. }), "{error}");
        assert_eq!(error.maybe_written(), cut > 0, "byte {cut} of {length}");
        assert_eq!(net.cluster.state().values(0).len(), usize::from(cut == length), "byte {cut} of {length}");
        // The producer goes on.
        producer.send(Record::to("t").value("1")).await.unwrap().await.unwrap();
    }
}

/// A transaction of two records and an offset, and another one behind it, over trouble with the first.
async fn transact(net: &std::sync::Arc<Net>, version: i16, commit: bool, what: &str) {
    net.cluster.state().transaction_version = version;
    let mut producer = net.transactional(net.config().request_timeout(Duration::from_secs(5))).await;
    let transaction = producer.begin().await.unwrap();
    drop(transaction.send(Record::to("t").partition(0).value("a")).await.unwrap());
    drop(transaction.send(Record::to("t").partition(1).value("b")).await.unwrap());
    let offsets = [(TopicPartition::new("in", 0), CommittedOffset::new(7))];
    transaction.send_offsets(offsets, GroupMetadata::new("g")).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let ended = if commit { transaction.commit().await } else { transaction.abort().await };
    ended.unwrap_or_else(|error| panic!("{what}: {error}"));
    let transaction = producer.begin().await.unwrap();
    drop(transaction.send(Record::to("t").partition(0).value("c")).await.unwrap());
    transaction.commit().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let state = net.cluster.state();
    let committed = [0, 1].map(|partition| state.model.logs[partition].committed());
    let offset = state.model.offsets.get(&("g".to_owned(), 0)).copied();
    let (first, second): (&[&str], &[&str]) = if commit { (&["a", "c"], &["b"]) } else { (&["c"], &[]) };
    assert_eq!(
        (&*committed[0], &*committed[1]),
        (
            &first.iter().map(|x| x.to_string()).collect::<Vec<_>>()[..],
            &second.iter().map(|x| x.to_string()).collect::<Vec<_>>()[..]
        ),
        "{what}"
    );
    assert_eq!(offset, commit.then_some(7), "{what}");
}

#[tokio::test(start_paused = true)]
async fn of_the_end_of_a_transaction() {
    for version in [1, 2] {
        for commit in [true, false] {
            // EndTxn has less than this; beyond its end the request comes whole, and only its answer is lost.
            for cut in 0..60 {
                let net = Net::new(2, 2);
                net.cut_request(ApiKey::EndTxn, 0, cut);
                transact(&net, version, commit, &format!("version {version}, {commit}, byte {cut} of the request"))
                    .await;
                let net = Net::new(2, 2);
                net.cluster.script(move |call| match (call.key, call.nth) {
                    (ApiKey::EndTxn, 0) => Act::Cut(cut),
                    _ => Act::Do,
                });
                transact(&net, version, commit, &format!("version {version}, {commit}, byte {cut} of the answer"))
                    .await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_every_request_of_a_transaction() {
    let keys = [
        ApiKey::InitProducerId,
        ApiKey::FindCoordinator,
        ApiKey::AddPartitionsToTxn,
        ApiKey::AddOffsetsToTxn,
        ApiKey::TxnOffsetCommit,
        ApiKey::Produce,
    ];
    for version in [1, 2] {
        for key in keys {
            for cut in (0..200).step_by(7) {
                let net = Net::new(2, 2);
                net.cut_request(key, 0, cut);
                transact(&net, version, true, &format!("version {version}, byte {cut} of {key:?}")).await;
            }
        }
    }
}
