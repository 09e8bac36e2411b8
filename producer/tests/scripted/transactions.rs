//! Coordinators that go away, move or refuse, at each step of a transaction and by both of its versions.

use std::sync::Arc;
use std::time::Duration;

use rkafka_producer::{ClientSettings as _, CommittedOffset, GroupMetadata, Record, TopicPartition, TransactionError};
use rkafka_protocol::{ApiKey, ErrorCode};

use crate::broker::Act;
use crate::net::Net;

/// The requests of a transaction, in their order; by version 2 brokers add partitions and groups by themselves.
fn steps(version: i16) -> Vec<ApiKey> {
    let mut steps = vec![ApiKey::InitProducerId, ApiKey::TxnOffsetCommit, ApiKey::EndTxn, ApiKey::Produce];
    if version == 1 {
        steps.extend([ApiKey::AddPartitionsToTxn, ApiKey::AddOffsetsToTxn]);
    }
    steps
}

/// Two records, an offset, and the end.
async fn transact(net: &Arc<Net>, commit: bool) -> Result<(), TransactionError> {
    let config = net.config().request_timeout(Duration::from_secs(5)).max_block(Duration::from_secs(200));
    let mut producer = net.transactional(config).await;
    let transaction = producer.begin().await?;
    let mut sent = transaction.send(Record::to("t").partition(0).value("a")).await.map(drop);
    sent = sent.and(transaction.send(Record::to("t").partition(1).value("b")).await.map(drop));
    let offsets = [(TopicPartition::new("in", 0), CommittedOffset::new(7))];
    let taken = transaction.send_offsets(offsets, GroupMetadata::new("g")).await;
    let ended = if commit { transaction.commit().await } else { transaction.abort().await };
    // Whatever came of it, the producer goes on, where it is not lost.
    if ended.as_ref().is_err_and(TransactionError::is_fatal) {
        return ended;
    }
    let again = producer.begin().await?;
    drop(again.send(Record::to("t").partition(0).value("c")).await.map_err(TransactionError::Record)?);
    again.commit().await?;
    sent.map_err(TransactionError::Record).and(taken).and(ended)
}

/// What is committed in both partitions, and the group's offset.
fn outcome(net: &Net) -> (Vec<String>, Vec<String>, Option<i64>) {
    let state = net.cluster.state();
    let offset = state.model.offsets.get(&("g".to_owned(), 0)).copied();
    (state.model.logs[0].committed(), state.model.logs[1].committed(), offset)
}

fn expected(commit: bool) -> (Vec<String>, Vec<String>, Option<i64>) {
    let text = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    if commit { (text(&["a", "c"]), text(&["b"]), Some(7)) } else { (text(&["c"]), text(&[]), None) }
}

#[tokio::test(start_paused = true)]
async fn requests_are_of_the_versions_that_the_cluster_is_at() {
    for version in [1, 2] {
        let net = Net::new(2, 2);
        net.cluster.state().transaction_version = version;
        transact(&net, true).await.unwrap();
        let state = net.cluster.state();
        let versions = |key| state.calls_of(key).into_iter().map(|call| call.version).collect::<Vec<_>>();
        // By version 2 brokers add what is written to, and every end brings the next epoch (KIP-890).
        let (produced, ended) = (versions(ApiKey::Produce), versions(ApiKey::EndTxn));
        assert!(produced.iter().all(|produce| (*produce >= 12) == (version == 2)), "{produced:?}");
        assert!(ended.iter().all(|end| *end == if version == 2 { 5 } else { 4 }), "{ended:?}");
        assert_eq!(versions(ApiKey::AddPartitionsToTxn).is_empty(), version == 2);
        assert_eq!(versions(ApiKey::AddOffsetsToTxn).is_empty(), version == 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_goes_away_tears_nothing() {
    let acts = [
        Act::HangUp,
        Act::DoAndHangUp,
        Act::Silence,
        Act::DoAndSilence,
        Act::AnswerAfter(Duration::from_secs(7)),
        Act::DoAfter(Duration::from_millis(4_900)),
        Act::Refuse(ErrorCode::CoordinatorNotAvailable),
        Act::Refuse(ErrorCode::CoordinatorLoadInProgress),
        Act::Refuse(ErrorCode::NotCoordinator),
        Act::Refuse(ErrorCode::ConcurrentTransactions),
    ];
    for version in [1, 2] {
        for key in steps(version) {
            for act in acts {
                if key == ApiKey::Produce
                    && matches!(act, Act::Refuse(code) if code != ErrorCode::ConcurrentTransactions)
                {
                    continue;
                }
                for (times, commit) in [(1, true), (3, true), (1, false), (3, false)] {
                    let net = Net::new(2, 2);
                    net.cluster.state().transaction_version = version;
                    net.cluster.script(move |call| if call.key == key && call.nth < times { act } else { Act::Do });
                    let what = format!("version {version}, {key:?} {times} times: {act:?}, commit: {commit}");
                    transact(&net, commit).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(outcome(&net), expected(commit), "{what}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_moved_is_found() {
    for version in [1, 2] {
        for key in steps(version).into_iter().filter(|key| *key != ApiKey::Produce) {
            let net = Net::new(2, 2);
            net.cluster.state().transaction_version = version;
            let cluster = net.cluster.clone();
            net.cluster.state().coordinator = 0;
            net.cluster.script(move |call| match call.node {
                0 if call.key == key => Act::Refuse(ErrorCode::NotCoordinator),
                _ => Act::Do,
            });
            let moved = crate::net::spawn(async move {
                crate::net::pause(Duration::from_secs(3)).await;
                cluster.state().coordinator = 1;
            });
            transact(&net, true).await.unwrap_or_else(|error| panic!("version {version}, {key:?}: {error}"));
            moved.await.unwrap();
            assert_eq!(outcome(&net), expected(true), "version {version}, {key:?}");
            let last = net.cluster.state().calls_of(key).pop().unwrap();
            assert_eq!(last.node, 1, "version {version}, {key:?}");
        }
    }
}

/// What ends a transaction says so, nothing of it is seen, and the next one is whole.
#[tokio::test(start_paused = true)]
async fn a_transaction_that_failed_is_aborted_and_the_next_is_not() {
    let refusals = [
        (ApiKey::Produce, ErrorCode::OutOfOrderSequenceNumber),
        (ApiKey::Produce, ErrorCode::UnknownProducerId),
        (ApiKey::Produce, ErrorCode::InvalidProducerEpoch),
        (ApiKey::Produce, ErrorCode::InvalidRecord),
        (ApiKey::Produce, ErrorCode::TopicAuthorizationFailed),
        (ApiKey::Produce, ErrorCode::TransactionAbortable),
        (ApiKey::Produce, ErrorCode::InvalidTxnState),
        (ApiKey::TxnOffsetCommit, ErrorCode::IllegalGeneration),
        (ApiKey::TxnOffsetCommit, ErrorCode::FencedInstanceId),
        (ApiKey::TxnOffsetCommit, ErrorCode::GroupAuthorizationFailed),
        (ApiKey::EndTxn, ErrorCode::TransactionAbortable),
        (ApiKey::EndTxn, ErrorCode::InvalidProducerIdMapping),
        (ApiKey::EndTxn, ErrorCode::UnknownProducerId),
    ];
    for version in [1, 2] {
        for (key, code) in refusals {
            let net = Net::new(2, 2);
            net.cluster.state().transaction_version = version;
            net.cluster.script(move |call| match call.nth {
                0 if call.key == key => Act::Refuse(code),
                _ => Act::Do,
            });
            let what = format!("version {version}, {code} to {key:?}");
            let error = transact(&net, true).await.expect_err(&what);
            assert!(!error.is_fatal() && !error.may_have_been_written(), "{what}: {error}");
            assert_eq!(outcome(&net), expected(false), "{what}: {error}");
        }
    }
}

/// Whoever was fenced knows it, and nothing of what it did is seen.
#[tokio::test(start_paused = true)]
async fn who_is_fenced_is_told() {
    for version in [1, 2] {
        let net = Net::new(2, 2);
        net.cluster.state().transaction_version = version;
        let mut first = net.transactional(net.config()).await;
        let transaction = first.begin().await.unwrap();
        transaction.send(Record::to("t").partition(0).value("old")).await.unwrap().await.unwrap();
        let mut second = net.transactional(net.config()).await;
        let error = transaction.commit().await.unwrap_err();
        assert!(error.is_fenced() && error.is_fatal() && !error.may_have_been_written(), "{error}");
        let transaction = second.begin().await.unwrap();
        drop(transaction.send(Record::to("t").partition(0).value("new")).await.unwrap());
        transaction.commit().await.unwrap();
        assert_eq!(net.cluster.state().model.logs[0].committed(), ["new"]);
        assert!(first.begin().await.unwrap_err().is_fatal());
    }
}

/// A commit whose answer never comes is in doubt until it is certain.
#[tokio::test(start_paused = true)]
async fn a_commit_without_an_answer_is_in_doubt_and_then_certain() {
    for (version, done) in [(1, true), (1, false), (2, true), (2, false)] {
        let net = Net::new(2, 2);
        net.cluster.state().transaction_version = version;
        net.cluster.script(move |call| match (call.key, done) {
            (ApiKey::EndTxn, true) => Act::DoAndSilence,
            (ApiKey::EndTxn, false) => Act::Silence,
            _ => Act::Do,
        });
        let config = net.config().max_block(Duration::from_secs(7)).request_timeout(Duration::from_secs(5));
        let mut producer = net.transactional(config).await;
        let transaction = producer.begin().await.unwrap();
        drop(transaction.send(Record::to("t").partition(0).value("a")).await.unwrap());
        let error = transaction.commit().await.unwrap_err();
        assert!(error.may_have_been_written() && !error.is_fatal(), "{error}");
        let unknown = producer.last_was_committed().await.unwrap_err();
        assert!(matches!(unknown, TransactionError::Timeout { may_have_been_written: true, .. }), "{unknown}");
        net.cluster.script(|_| Act::Do);
        assert!(producer.last_was_committed().await.unwrap());
        assert_eq!(net.cluster.state().model.logs[0].committed(), ["a"]);
    }
}
