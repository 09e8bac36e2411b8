//! Answers that are wrong, late or unwelcome, and leaders that move.

use std::time::Duration;

use rkafka_producer::{ClientSettings as _, ProducerError, Record};
use rkafka_protocol::{ApiKey, ErrorCode};

use crate::broker::{Act, now};
use crate::net::Net;

const COUNT: usize = 12;

fn numbers() -> Vec<String> {
    (0..COUNT).map(|number| number.to_string()).collect()
}

/// Sends records in batches of their own; each must be delivered, at its place, and nothing twice.
async fn all_arrive(net: &std::sync::Arc<Net>, what: &str) {
    let producer = net.producer(net.config().batch_size(0_usize).request_timeout(Duration::from_secs(5))).await;
    let mut deliveries = Vec::new();
    for value in numbers() {
        deliveries.push(producer.send(Record::to("t").partition(0).value(&value)).await.unwrap());
    }
    for (at, delivery) in (0..).zip(deliveries) {
        let written = delivery.await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(written.offset == at || written.offset == -1, "{what}: {at} at {}", written.offset);
    }
    assert_eq!(net.cluster.state().values(0), numbers(), "{what}");
}

fn twice(answer: Vec<u8>) -> Vec<u8> {
    answer.repeat(2)
}

fn with_another_id(mut answer: Vec<u8>) -> Vec<u8> {
    answer[7] ^= 0x40;
    answer
}

fn nonsense(mut answer: Vec<u8>) -> Vec<u8> {
    answer[9..].fill(0xff);
    answer
}

#[tokio::test(start_paused = true)]
async fn answers_that_answer_nothing_lose_nothing() {
    let acts = [
        ("twice", Act::Tamper(twice)),
        ("another's", Act::Tamper(with_another_id)),
        ("nonsense", Act::Tamper(nonsense)),
        ("behind the next", Act::AnswerLast),
        ("too late", Act::AnswerAfter(Duration::from_secs(6))),
        ("never", Act::DoAndSilence),
        ("never, and not done", Act::Silence),
        ("in place of an answer, the end", Act::DoAndHangUp),
        ("done when nobody waits any more", Act::DoAfter(Duration::from_secs(8))),
    ];
    for (what, act) in acts {
        for wrong in [0, 1, 4, COUNT - 1] {
            let net = Net::new(1, 1);
            net.cluster.on_produce(move |nth| if nth == wrong { act } else { Act::Do });
            all_arrive(&net, &format!("{what}, answer {wrong}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_asks_for_silence_gets_it() {
    let net = Net::new(1, 1);
    let silence = Duration::from_secs(3);
    net.cluster.on_produce(move |nth| if nth == 1 { Act::Throttle(silence) } else { Act::Do });
    let producer = net.producer(net.config().max_in_flight(1_u32).batch_size(0_usize)).await;
    for value in numbers() {
        drop(producer.send(Record::to("t").value(&value)).await.unwrap());
    }
    producer.flush().await;
    let state = net.cluster.state();
    let moments = state.produced.iter().map(|one| one.call.at).collect::<Vec<_>>();
    let pauses = moments.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    assert!(pauses[1] >= silence && pauses[1] < silence + Duration::from_millis(50), "{pauses:?}");
    assert!(pauses.iter().enumerate().all(|(at, pause)| at == 1 || *pause < Duration::from_millis(50)), "{pauses:?}");
    assert_eq!(state.values(0), numbers());
}

#[tokio::test(start_paused = true)]
async fn refusals_that_pass_lose_nothing() {
    let codes = [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::LeaderNotAvailable,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::UnknownTopicId,
        ErrorCode::KafkaStorageError,
        ErrorCode::NotEnoughReplicas,
        ErrorCode::CorruptMessage,
        ErrorCode::NetworkException,
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::UnknownProducerId,
        ErrorCode::OutOfOrderSequenceNumber,
        ErrorCode::InvalidProducerEpoch,
    ];
    for code in codes {
        for refused in [0, 1, 4, COUNT - 1] {
            for times in [1, 3] {
                let net = Net::new(1, 1);
                let again = move |nth: usize| (refused..refused + times).contains(&nth);
                net.cluster.on_produce(move |nth| if again(nth) { Act::Refuse(code) } else { Act::Do });
                all_arrive(&net, &format!("{code} for request {refused}, {times} times")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_of_what_was_written_write_nothing_twice() {
    let codes = [
        ErrorCode::NotEnoughReplicasAfterAppend,
        ErrorCode::RequestTimedOut,
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::KafkaStorageError,
        ErrorCode::DuplicateSequenceNumber,
    ];
    for code in codes {
        for refused in [0, 1, 4, COUNT - 1] {
            let net = Net::new(1, 1);
            net.cluster.on_produce(move |nth| if nth == refused { Act::DoAndRefuse(code) } else { Act::Do });
            all_arrive(&net, &format!("{code} for request {refused}")).await;
        }
    }
}

/// What cannot be retried fails, says so, and takes nothing along.
#[tokio::test(start_paused = true)]
async fn refusals_that_stay_fail_one_batch_and_no_other() {
    let codes = [
        (ErrorCode::TopicAuthorizationFailed, false),
        (ErrorCode::InvalidRecord, false),
        (ErrorCode::MessageTooLarge, false),
        (ErrorCode::InvalidTimestamp, false),
        // KAFKA-14034: it says nothing of what was done.
        (ErrorCode::UnknownServerError, true),
    ];
    for (code, maybe) in codes {
        for refused in [0, 1, 4] {
            let net = Net::new(1, 1);
            net.cluster.on_produce(move |nth| if nth == refused { Act::Refuse(code) } else { Act::Do });
            let producer = net.producer(net.config().batch_size(0_usize)).await;
            let mut deliveries = Vec::new();
            for value in numbers() {
                deliveries.push(producer.send(Record::to("t").value(&value)).await.unwrap());
            }
            let mut expected = numbers();
            let failed = deliveries.remove(refused).await.unwrap_err();
            expected.remove(refused);
            let fits = matches!(&failed, ProducerError::Refused { code: told, .. } if *told == code);
            assert!(fits && failed.maybe_written() == maybe, "{code}: {failed}");
            for delivery in deliveries {
                delivery.await.unwrap_or_else(|error| panic!("{code} for request {refused}: {error}"));
            }
            assert_eq!(net.cluster.state().values(0), expected, "{code} for request {refused}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_is_split_until_it_fits() {
    for idempotent in [true, false] {
        let net = Net::new(1, 1);
        net.cluster.state().records_max = 3;
        let config = net.config().linger(Duration::from_millis(100)).enable_idempotence(idempotent);
        let producer = net.producer(config.max_in_flight(1_u32)).await;
        let mut deliveries = Vec::new();
        for number in 0..50 {
            deliveries.push(producer.send(Record::to("t").value(&number.to_string())).await.unwrap());
        }
        for (offset, delivery) in (0..).zip(deliveries) {
            assert_eq!(delivery.await.unwrap().offset, offset);
        }
        let state = net.cluster.state();
        assert_eq!(state.values(0), (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(state.produced[0].batches[0].1.record_count, 50);
    }
    let net = Net::new(1, 1);
    net.cluster.state().records_max = 0;
    let producer = net.producer(net.config()).await;
    let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
    let fits = matches!(error, ProducerError::Refused { code: ErrorCode::MessageTooLarge, maybe_written: false, .. });
    assert!(fits, "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_halves_of_a_batch_share_its_sequence_numbers() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config().linger(Duration::from_millis(5))).await;
    let send = async |count: usize| {
        for _ in 0..count {
            drop(producer.send(Record::to("t").value("x")).await.unwrap());
        }
        tokio::time::advance(Duration::from_millis(6)).await;
    };
    send(1).await;
    producer.flush().await;
    net.cluster.state().records_max = 4;
    net.cluster.on_produce(|_| Act::AnswerAfter(Duration::from_millis(50)));
    // Two are under way behind the one that is too large, when that is known.
    for count in [8, 2, 3] {
        send(count).await;
    }
    producer.flush().await;
    send(1).await;
    producer.flush().await;
    let state = net.cluster.state();
    let stamps = state.produced.iter().flat_map(|one| &one.batches).map(|(_, header, _)| {
        assert_eq!(header.producer_epoch, 0, "nothing is missing that another epoch were needed for");
        (header.base_sequence, header.record_count)
    });
    assert_eq!(
        stamps.collect::<Vec<_>>(),
        [(0, 1), (1, 8), (9, 2), (11, 3), (1, 4), (5, 4), (9, 2), (11, 3), (14, 1)],
        "each once more, in its order"
    );
    assert_eq!(state.values(0).len(), 15);
}

#[tokio::test(start_paused = true)]
async fn records_follow_their_leader() {
    for hints in [false, true] {
        let net = Net::new(3, 1);
        net.cluster.state().leader_hints = hints;
        let producer = net.producer(net.config().batch_size(0_usize)).await;
        let mut deliveries = Vec::new();
        for (number, value) in numbers().into_iter().enumerate() {
            if number % 3 == 2 {
                net.cluster.state().move_leader(0, Some(number % 3 + usize::from(number % 2 == 0) - 1));
            }
            deliveries.push(producer.send(Record::to("t").value(&value)).await.unwrap());
            if number % 4 == 3 {
                producer.flush().await;
            }
        }
        for (offset, delivery) in (0..).zip(deliveries) {
            assert_eq!(delivery.await.unwrap().offset, offset);
        }
        assert_eq!(net.cluster.state().values(0), numbers());
    }
}

/// KIP-951: the refusal names the leader, so that nobody waits for metadata, which may be old for a while.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_named_is_gone_to_at_once() {
    let net = Net::new(3, 1);
    let producer = net
        .producer(net.config().retry_backoff(Duration::from_secs(1)).retry_backoff_max(Duration::from_secs(1)))
        .await;
    producer.send(Record::to("t").value("a")).await.unwrap().await.unwrap();
    {
        let mut state = net.cluster.state();
        state.leader_hints = true;
        state.said = Some(state.leaders.clone());
        state.move_leader(0, Some(2));
    }
    let (before, asked) = (now(), net.cluster.state().calls_of(ApiKey::Metadata).len());
    assert_eq!(producer.send(Record::to("t").value("b")).await.unwrap().await.unwrap().offset, 1);
    assert!(now() - before < Duration::from_millis(100), "{:?}", now() - before);
    assert_eq!(net.cluster.state().calls_of(ApiKey::Metadata).len(), asked);
    assert_eq!(net.cluster.state().produced.last().unwrap().call.node, 2);
}

#[tokio::test(start_paused = true)]
async fn a_partition_without_a_leader_is_waited_for() {
    let net = Net::new(2, 1);
    let producer = net.producer(net.config()).await;
    producer.send(Record::to("t").value("a")).await.unwrap().await.unwrap();
    net.cluster.state().move_leader(0, None);
    let delivery = producer.send(Record::to("t").value("b")).await.unwrap();
    crate::net::pause(Duration::from_secs(20)).await;
    net.cluster.state().move_leader(0, Some(1));
    assert_eq!(delivery.await.unwrap().offset, 1);
    assert_eq!(net.cluster.state().values(0), ["a", "b"]);
}
