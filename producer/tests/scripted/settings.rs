//! What each setting of a producer does, as it is seen on the wire. `Shows:` names the settings in docs/config.md.

use std::collections::BTreeSet;
use std::time::Duration;

use rkafka_producer::{
    Acks, CompressionType, Partitioner, Producer, ProducerConfig, ProducerError, Record, TrySendError, murmur2,
};
use rkafka_protocol::ApiKey;
use rkafka_protocol::records::Compression;

use crate::broker::{Act, now};
use crate::net::Net;

type Change = fn(ProducerConfig) -> ProducerConfig;

/// Sends values to partition 0 and waits for them.
async fn send(producer: &Producer, values: impl IntoIterator<Item = String>) {
    for value in values {
        drop(producer.send(Record::to("t").partition(0).value(&value)).await.unwrap());
    }
    producer.flush().await;
}

// Shows: acks.
#[tokio::test(start_paused = true)]
async fn acks_are_asked_for() {
    for (acks, code) in [(Acks::None, 0), (Acks::Leader, 1), (Acks::All, -1)] {
        let net = Net::new(1, 1);
        let producer = net.producer(net.config().acks(acks)).await;
        let written = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
        assert_eq!(written.offset, if acks == Acks::None { -1 } else { 0 }, "nobody tells of an offset with acks=0");
        producer.close(Duration::from_secs(1)).await.unwrap();
        tokio::task::yield_now().await;
        let state = net.cluster.state();
        assert_eq!(state.produced.iter().map(|one| one.acks).collect::<Vec<_>>(), [code]);
        assert_eq!(state.values(0), ["x"]);
    }
}

// Shows: acks.
#[tokio::test(start_paused = true)]
async fn with_acks_0_nothing_is_waited_for() {
    let net = Net::new(1, 1);
    net.cluster.on_produce(|_| Act::DoAndSilence);
    let producer = net.producer(net.config().acks(Acks::None)).await;
    let before = now();
    for number in 0..20 {
        let delivery = producer.send(Record::to("t").value(&number.to_string())).await.unwrap();
        delivery.await.unwrap();
    }
    assert!(now() - before < Duration::from_secs(1));
}

// Shows: enable.idempotence.
#[tokio::test(start_paused = true)]
async fn batches_carry_sequence_numbers_where_the_settings_allow_it() {
    let numbered: [(&str, Change, bool); 4] = [
        ("unset", |config| config, true),
        ("asked for", |config| config.enable_idempotence(true), true),
        ("unset, with acks=1", |config| config.acks(Acks::Leader), false),
        ("not wanted", |config| config.enable_idempotence(false), false),
    ];
    for (what, change, expected) in numbered {
        let net = Net::new(1, 1);
        let producer = net.producer(change(net.config())).await;
        for number in 0..3 {
            send(&producer, [number.to_string()]).await;
        }
        let state = net.cluster.state();
        let sequences = state.produced.iter().map(|one| one.batches[0].1.base_sequence).collect::<Vec<_>>();
        let is_known = state.produced.iter().all(|one| one.batches[0].1.producer_id >= 0);
        assert_eq!(
            (sequences, is_known),
            if expected { (vec![0, 1, 2], true) } else { (vec![-1; 3], false) },
            "{what}"
        );
        assert_eq!(state.calls_of(ApiKey::InitProducerId).is_empty(), !expected, "{what}");
    }
    let net = Net::new(1, 1);
    let config = net.config().enable_idempotence(true).acks(Acks::Leader);
    let error = Producer::with_options(config, net.options()).await.unwrap_err().to_string();
    assert!(error.contains("`acks`") && error.contains("`enable.idempotence`"), "{error}");
}

// Shows: enable.idempotence.
#[tokio::test(start_paused = true)]
async fn what_a_retry_sends_twice_is_written_once() {
    for (idempotent, expected) in [(true, vec!["x"]), (false, vec!["x", "x"])] {
        let net = Net::new(1, 1);
        net.cluster.on_produce(|nth| if nth == 0 { Act::DoAndHangUp } else { Act::Do });
        let producer = net.producer(net.config().enable_idempotence(idempotent)).await;
        let offset = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap().offset;
        assert_eq!(
            (net.cluster.state().values(0), offset),
            (expected.iter().map(|x| x.to_string()).collect(), expected.len() as i64 - 1)
        );
    }
}

// Shows: transactional.id, transaction.timeout.ms.
#[tokio::test(start_paused = true)]
async fn a_transactional_producer_says_who_it_is_and_how_long_it_may_take() {
    let net = Net::new(1, 1);
    let config = net.config().transactional_id("payments-1").transaction_timeout(Duration::from_millis(12_345));
    let mut producer = net.transactional(config).await;
    let transaction = producer.begin().await.unwrap();
    drop(transaction.send(Record::to("t").value("x")).await.unwrap());
    transaction.commit().await.unwrap();
    let state = net.cluster.state();
    let asked = &state.initialized[0];
    assert_eq!((asked.transactional_id.as_deref(), asked.transaction_timeout_ms), (Some("payments-1"), 12_345));
    let header = state.produced[0].batches[0].1;
    assert!(
        header.attributes.is_transactional() && header.producer_id == state.model.transactions["payments-1"].producer
    );
    assert_eq!(state.model.logs[0].committed(), ["x"]);
}

// Shows: batch.size.
#[tokio::test(start_paused = true)]
async fn a_batch_grows_to_its_size_and_no_further() {
    let net = Net::new(1, 1);
    let config = net.config().linger(Duration::from_secs(5)).batch_size(1_000_usize);
    let producer = net.producer(config).await;
    let before = now();
    send(&producer, (0..50).map(|number| format!("{number:0100}"))).await;
    // Larger than a batch: it goes alone.
    send(&producer, ["y".repeat(3_000)]).await;
    assert!(now() - before < Duration::from_secs(5), "what is full does not linger, nor does what is flushed");
    let state = net.cluster.state();
    let batches =
        state.produced.iter().map(|one| (one.batches[0].1.record_count, one.batches[0].2)).collect::<Vec<_>>();
    let (alone, full) = batches.split_last().unwrap();
    assert_eq!(alone.0, 1);
    assert!(alone.1 > 3_000);
    assert!(full.iter().all(|(_, size)| *size <= 1_000), "{full:?}");
    assert!(full[..full.len() - 1].iter().all(|(count, size)| *count > 5 && *size > 800), "{full:?}");
}

// Shows: buffer.memory, max.block.ms.
#[tokio::test(start_paused = true)]
async fn a_full_buffer_holds_senders_back_and_loses_nothing() {
    let net = Net::new(1, 1);
    net.cluster.on_produce(|_| Act::AnswerAfter(Duration::from_secs(10)));
    let config = net.config().buffer_memory(4096_usize).batch_size(1024_usize).max_block(Duration::from_secs(3));
    let producer = net.producer(config).await;
    let topic = producer.topic("t").await.unwrap();
    let value = [b'x'; 500];
    let mut accepted = Vec::new();
    let full = loop {
        match topic.try_send(&topic.record().value(&value)) {
            Ok(delivery) => accepted.push(delivery),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, TrySendError::Full) && (3..=8).contains(&accepted.len()), "{}: {full}", accepted.len());
    let before = now();
    let error = producer.send(Record::to("t").value(&value)).await.unwrap_err();
    assert!(matches!(error, ProducerError::BufferFull { limit: 4096, .. }) && !error.maybe_written(), "{error}");
    let waited = now() - before;
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_millis(3_100), "{waited:?}");
    // With the first answer there is room again, for one that waits long enough.
    let patient = loop {
        match producer.send(Record::to("t").value(&value)).await {
            Ok(delivery) => break delivery,
            Err(error) => assert!(matches!(error, ProducerError::BufferFull { .. }), "{error}"),
        }
    };
    let count = accepted.len();
    for (offset, delivery) in (0..).zip(accepted) {
        assert_eq!(delivery.await.unwrap().offset, offset);
    }
    assert_eq!(patient.await.unwrap().offset, count as i64);
    assert_eq!(net.cluster.state().values(0).len(), count + 1);
}

// Shows: max.block.ms.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_there_is_waited_for_and_no_longer() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config().max_block(Duration::from_millis(2_500))).await;
    let before = now();
    let error = producer.send(Record::to("nowhere").value("x")).await.unwrap_err();
    assert!(matches!(error, ProducerError::UnknownTopic { .. }), "{error}");
    let waited = now() - before;
    assert!(waited >= Duration::from_millis(2_500) && waited < Duration::from_millis(2_600), "{waited:?}");
}

// Shows: max.request.size.
#[tokio::test(start_paused = true)]
async fn no_request_is_larger_than_its_limit_and_no_record_either() {
    let net = Net::new(1, 8);
    let config = net.config().linger(Duration::from_millis(50)).max_request_size(2_000_usize);
    let producer = net.producer(config).await;
    for partition in (0..8).cycle().take(24) {
        drop(producer.send(Record::to("t").partition(partition).value(&[b'x'; 200])).await.unwrap());
    }
    producer.flush().await;
    let error = producer.send(Record::to("t").value(&[b'x'; 2_000])).await.unwrap_err();
    assert!(
        matches!(error, ProducerError::RecordTooLarge { limit: 2_000, setting: "max.request.size", .. }),
        "{error}"
    );
    let state = net.cluster.state();
    assert!(state.produced.iter().all(|one| one.size <= 2_000), "{:?}", state.produced);
    assert!(state.produced.iter().any(|one| one.batches.len() > 1), "batches go together as far as they fit");
    assert_eq!((0..8).map(|partition| state.values(partition).len()).sum::<usize>(), 24);
}

// Shows: max.in.flight.requests.per.connection.
#[tokio::test(start_paused = true)]
async fn never_are_more_requests_on_the_wire_than_allowed() {
    for (limit, idempotent) in [(1_u32, true), (3, true), (5, true), (8, false)] {
        let net = Net::new(1, 1);
        net.cluster.on_produce(|_| Act::AnswerAfter(Duration::from_millis(20)));
        let config = net.config().enable_idempotence(idempotent).max_in_flight(limit).batch_size(0_usize);
        let producer = net.producer(config).await;
        send(&producer, (0..60).map(|number| number.to_string())).await;
        assert_eq!(net.in_flight_max(), limit as usize);
        assert_eq!(net.cluster.state().values(0), (0..60).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

// Shows: compression.type.
#[tokio::test(start_paused = true)]
async fn batches_are_compressed_as_said() {
    let text = "the quick brown fox jumps over the lazy dog ".repeat(20);
    let codecs = [
        (CompressionType::None, Compression::None),
        (CompressionType::Gzip, Compression::Gzip),
        (CompressionType::Snappy, Compression::Snappy),
        (CompressionType::Lz4, Compression::Lz4),
        (CompressionType::Zstd, Compression::Zstd),
    ];
    for (setting, codec) in codecs {
        let net = Net::new(1, 1);
        let producer = net.producer(net.config().compression_type(setting)).await;
        send(&producer, [text.clone()]).await;
        let state = net.cluster.state();
        let (_, header, size) = state.produced[0].batches[0];
        assert_eq!(header.attributes.compression(), Ok(codec));
        assert_eq!(size > text.len(), codec == Compression::None, "{codec:?}: {size} bytes");
        assert_eq!(state.values(0), [&*text]);
    }
}

// Shows: compression.gzip.level, compression.zstd.level.
#[tokio::test(start_paused = true)]
async fn a_higher_level_makes_smaller_batches() {
    // Words in an order that repeats nothing for long.
    let words = ["offset", "leader", "epoch", "batch", "record", "header", "broker", "topic"];
    let mut random = 1_u32;
    let text = (0..4_000).map(|_| {
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        words[(random >> 16) as usize % words.len()]
    });
    let text = text.collect::<Vec<_>>().join(" ");
    type AtLevel = fn(ProducerConfig, i32) -> ProducerConfig;
    let levels: [(AtLevel, i32, i32); 2] = [
        (|config, level| config.compression_type(CompressionType::Gzip).compression_gzip_level(level), 1, 9),
        (|config, level| config.compression_type(CompressionType::Zstd).compression_zstd_level(level), -50, 19),
    ];
    for (change, low, high) in levels {
        let mut sizes = Vec::new();
        for level in [low, high] {
            let net = Net::new(1, 1);
            let producer = net.producer(change(net.config(), level)).await;
            send(&producer, [text.clone()]).await;
            let state = net.cluster.state();
            assert_eq!(state.values(0), [&*text]);
            sizes.push(state.produced[0].batches[0].2);
        }
        assert!(sizes[1] * 10 < sizes[0] * 9, "{sizes:?}");
    }
}

// Shows: compression.lz4.level.
#[tokio::test(start_paused = true)]
async fn a_level_of_lz4_that_cannot_be_done_is_refused() {
    let net = Net::new(1, 1);
    for level in [1, 17] {
        let config = net.config().compression_type(CompressionType::Lz4).compression_lz4_level(level);
        let text = Producer::with_options(config, net.options()).await.unwrap_err().to_string();
        assert!(text.contains("`compression.lz4.level`") && text.contains("zstd"), "{text}");
    }
    let producer = net.producer(net.config().compression_type(CompressionType::Lz4).compression_lz4_level(9)).await;
    send(&producer, ["x".to_owned()]).await;
    assert_eq!(net.cluster.state().values(0), ["x"]);
}

/// The partitions that records with these keys go to.
async fn places(change: impl Fn(ProducerConfig) -> ProducerConfig, keys: &[&str]) -> Vec<i32> {
    let net = Net::new(1, 6);
    let producer = net.producer(change(net.config())).await;
    let mut places = Vec::new();
    for key in keys {
        places.push(producer.send(Record::to("t").key(*key).value("x")).await.unwrap().partition());
    }
    places
}

// Shows: partitioner.
#[tokio::test(start_paused = true)]
async fn keys_go_where_the_partitioner_says() {
    let keys = ["alice", "bob", "carol", "dave"];
    // As Java's `BuiltInPartitioner.partitionForKey` has it, and the CRC of zlib.
    let by_default = places(|config| config, &keys).await;
    let crc32 = places(|config| config.partitioner(Partitioner::Consistent), &keys).await;
    assert_eq!(by_default, keys.map(|key| (murmur2(key.as_bytes()) & i32::MAX) % 6));
    assert_eq!(crc32, [5, 2, 5, 2]);
    let turns = places(|config| config.partitioner(Partitioner::RoundRobin), &["alice"; 6]).await;
    assert_eq!(turns.iter().collect::<BTreeSet<_>>().len(), 6, "each in its turn: {turns:?}");
}

// Shows: partitioner.ignore.keys.
#[tokio::test(start_paused = true)]
async fn keys_can_be_passed_over() {
    let many = ["alice"; 40];
    let by_key = places(|config| config, &many).await;
    assert_eq!(by_key.iter().collect::<BTreeSet<_>>().len(), 1);
    let change = |config: ProducerConfig| config.partitioner_ignore_keys(true).batch_size(50_usize);
    let spread = places(change, &many).await;
    assert!(spread.iter().collect::<BTreeSet<_>>().len() > 1, "{spread:?}");
}
