//! What the settings do that say how long, on a clock that shows it to the millisecond.

use std::time::Duration;

use rkafka_producer::{ClientSettings as _, ProducerError, Record};
use rkafka_protocol::{ApiKey, ErrorCode};
use tokio::time::Instant;

use crate::broker::{Act, now};
use crate::net::{Net, pause};

const MS: Duration = Duration::from_millis(1);

/// Whether a moment came when it was due, or the few milliseconds later that timers are rounded to.
#[track_caller]
fn on_time(since: Instant, at: Instant, due: Duration) {
    let passed = at - since;
    assert!(passed >= due && passed <= due + 5 * MS, "after {passed:?}, due after {due:?}");
}

// Shows: linger.ms.
#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_others_and_no_longer_than_it_may() {
    for linger in [0, 7, 1_000] {
        let net = Net::new(1, 1);
        let producer = net.producer(net.config().linger(linger * MS)).await;
        // The producer id is there, and the connection.
        producer.send(Record::to("t").value("first")).await.unwrap().await.unwrap();
        let before = now();
        let first = producer.send(Record::to("t").value("a")).await.unwrap();
        pause(linger / 2 * MS).await;
        let second = producer.send(Record::to("t").value("b")).await.unwrap();
        first.await.unwrap();
        second.await.unwrap();
        let state = net.cluster.state();
        let counts = state.produced.iter().skip(1).map(|one| one.batches[0].1.record_count).collect::<Vec<_>>();
        if linger > 0 {
            assert_eq!(counts, [2], "one batch, counted from its first record");
        }
        on_time(before, state.produced[1].call.at, linger * MS);
    }
}

// Shows: delivery.timeout.ms.
#[tokio::test(start_paused = true)]
async fn a_record_is_given_up_when_its_time_is_over() {
    let net = Net::new(1, 1);
    net.cluster.on_produce(|_| Act::Silence);
    let config = net.config().request_timeout(2_000 * MS).delivery_timeout(2_500 * MS);
    let producer = net.producer(config).await;
    let before = now();
    // The second attempt is under way when the time is over, and would be given up by the request timeout only.
    let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
    assert!(matches!(error, ProducerError::DeliveryTimeout { maybe_written: true, .. }), "{error}");
    on_time(before, now(), 2_500 * MS);
}

// Shows: delivery.timeout.ms.
#[tokio::test(start_paused = true)]
async fn a_record_that_was_never_sent_is_not_written_for_certain() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config().request_timeout(1_000 * MS).delivery_timeout(3_000 * MS)).await;
    drop(producer.topic("t").await.unwrap());
    net.kill(0);
    let before = now();
    let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
    assert!(matches!(error, ProducerError::DeliveryTimeout { maybe_written: false, .. }), "{error}");
    assert!((3_000 * MS..4_100 * MS).contains(&(now() - before)), "{:?}", now() - before);
}

// Shows: request.timeout.ms.
#[tokio::test(start_paused = true)]
async fn an_answer_is_waited_for_and_no_longer() {
    let net = Net::new(1, 1);
    net.cluster.on_produce(|nth| if nth == 0 { Act::DoAndSilence } else { Act::Do });
    let config = net.config().request_timeout(4_000 * MS).retry_backoff(10 * MS).retry_backoff_max(10 * MS);
    let producer = net.producer(config).await;
    assert_eq!(producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap().offset, 0);
    let state = net.cluster.state();
    let [first, second] = &*state.produced else { panic!("two attempts: {:?}", state.produced) };
    assert!(
        (4_000 * MS..4_100 * MS).contains(&(second.call.at - first.call.at)),
        "{:?}",
        second.call.at - first.call.at
    );
    assert_ne!(first.call.connection, second.call.connection, "what comes late must not be taken for another answer");
    assert_eq!(first.timeout_ms, 4_000, "the broker waits for its replicas no longer either");
}

// Shows: retries.
#[tokio::test(start_paused = true)]
async fn a_batch_is_tried_again_as_often_as_allowed() {
    for retries in [0_u32, 1, 4] {
        for lost in [false, true] {
            let net = Net::new(1, 1);
            let code = ErrorCode::NotEnoughReplicas;
            net.cluster.on_produce(move |_| if lost { Act::DoAndHangUp } else { Act::Refuse(code) });
            let producer = net.producer(net.config().enable_idempotence(false).retries(retries)).await;
            let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
            let fits = match &error {
                ProducerError::Refused { code: ErrorCode::NotEnoughReplicas, maybe_written: false, .. } => !lost,
                ProducerError::Disconnected { maybe_written: true, .. } => lost,
                _ => false,
            };
            assert!(fits, "{error}");
            assert_eq!(net.cluster.state().produced.len(), 1 + retries as usize);
        }
    }
}

/// The pauses between moments, each of which must be as long as the schedule says, give or take a fifth.
#[track_caller]
fn pauses_are(moments: &[Instant], schedule: &[u32]) {
    let pauses = moments.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    assert!(pauses.len() >= schedule.len(), "{pauses:?}");
    for (pause, due) in pauses.iter().zip(schedule) {
        let due = *due * MS;
        assert!(
            *pause >= due * 79 / 100 && *pause <= due * 121 / 100 + 10 * MS,
            "{pauses:?} where {schedule:?} are due"
        );
    }
}

// Shows: retry.backoff.ms, retry.backoff.max.ms.
#[tokio::test(start_paused = true)]
async fn retries_wait_longer_each_time_up_to_a_limit() {
    for lost in [false, true] {
        let net = Net::new(1, 1);
        net.cluster.on_produce(move |nth| match nth {
            8.. => Act::Do,
            _ if lost => Act::HangUp,
            _ => Act::Refuse(ErrorCode::NotEnoughReplicas),
        });
        let config =
            net.config().retry_backoff(100 * MS).retry_backoff_max(1_600 * MS).reconnect_backoff(Duration::ZERO);
        let producer = net.producer(config.reconnect_backoff_max(Duration::ZERO)).await;
        producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
        let state = net.cluster.state();
        let moments = state.produced.iter().map(|one| one.call.at).collect::<Vec<_>>();
        pauses_are(&moments, &[100, 200, 400, 800, 1_600, 1_600, 1_600]);
    }
}

// Shows: metadata.max.age.ms.
#[tokio::test(start_paused = true)]
async fn metadata_is_fetched_anew_when_it_is_old() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config().metadata_max_age(60_000 * MS)).await;
    drop(producer.topic("t").await.unwrap());
    net.cluster.state().add_partition();
    let before = now();
    let count = net.cluster.state().calls_of(ApiKey::Metadata).len();
    pause(59_000 * MS).await;
    assert_eq!(net.cluster.state().calls_of(ApiKey::Metadata).len(), count);
    pause(2_000 * MS).await;
    let state = net.cluster.state();
    let calls = state.calls_of(ApiKey::Metadata);
    assert_eq!(calls.len(), count + 1);
    assert!((59_500 * MS..60_500 * MS).contains(&(calls[count].at - before)), "{:?}", calls[count].at - before);
}
