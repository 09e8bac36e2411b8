//! Records and settings at the edges: what a broker takes arrives once and in order, what it does not take is told.

use std::time::Duration;

use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::producer::{
    ClientSettings as _, CompressionType, Producer, ProducerConfig, ProducerError, Record, TransactionalProducer,
};
use rkafka_testkit::on_both;

use crate::support::{LIMIT, in_time, producer, producer_config, read_all};

/// Values of 200 bytes: repeated ones first, then noise, which no codec makes smaller.
fn values(count: u64) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    let fill = |number: u64, noise: &mut dyn FnMut() -> [u8; 8]| {
        let body: Vec<u8> =
            if number % (count / 2) < count / 4 { vec![b'x'; 192] } else { (0..24).flat_map(|_| noise()).collect() };
        [&number.to_be_bytes()[..], &body].concat()
    };
    (0..count).map(|number| fill(number, &mut noise)).collect()
}

async fn all_once_and_in_order(bootstrap: &str, topic: &str, sent: &[Vec<u8>]) {
    let seen = read_all(bootstrap, topic, 1).await;
    let seen = seen.into_iter().map(|record| record.value.expect("a value")).collect::<Vec<_>>();
    assert!(seen == sent, "{} records of {}", seen.len(), sent.len());
}

on_both! {
    /// What was learnt of the first records is wrong for those behind them: batches come out larger than the topic takes.
    async fn a_guess_of_the_compression_that_was_wrong_loses_nothing(cluster: &Cluster) {
        let bootstrap = cluster.bootstrap();
        let sent = values(2000);
        for codec in [CompressionType::Gzip, CompressionType::Zstd, CompressionType::Lz4, CompressionType::Snappy] {
            let config = || {
                producer_config(&bootstrap)
                    .compression_type(codec)
                    .batch_size(16_000_usize)
                    .linger(Duration::from_millis(20))
            };
            for (idempotent, transactional) in [(true, false), (false, false), (true, true)] {
                let topic = cluster.topic("guess", 1, &[("max.message.bytes", "20000")]).await;
                let mut deliveries = Vec::new();
                let records = sent.iter().map(|value| Record::to(&topic).value(value));
                if transactional {
                    let config = config().transactional_id(cluster.unique("guess"));
                    let mut producer = TransactionalProducer::new(config).await.expect("a producer");
                    let transaction = producer.begin().await.expect("begun");
                    transaction.send_many(records, &mut deliveries).await.expect("accepted");
                    in_time("the commit", transaction.commit()).await.expect("committed");
                } else {
                    let mut config = config().enable_idempotence(idempotent);
                    if !idempotent {
                        config = config.max_in_flight(1_u32);
                    }
                    let producer = Producer::new(config).await.expect("a producer");
                    producer.send_many(records, &mut deliveries).await.expect("accepted");
                    in_time("the end", producer.close(LIMIT)).await.expect("closed");
                }
                for (number, delivery) in deliveries.iter().enumerate() {
                    let told = delivery.try_result().expect("told").expect("written");
                    assert_eq!(told.offset, number as i64);
                }
                all_once_and_in_order(&bootstrap, &topic, &sent).await;
            }
        }
    }
}

on_both! {
    async fn records_at_the_edges_come_back_as_they_were(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("edges", 1, &[]).await);
        let producer = producer(&bootstrap).await;
        let huge = vec![b'k'; 900_000];
        let names = (0..3000).map(|number| format!("h{number}")).collect::<Vec<_>>();
        let headers = names.iter().map(|name| (name.as_str(), Some(name.as_bytes()))).collect::<Vec<_>>();
        let records = [
            Record::to(&topic),
            Record::to(&topic).key("").value("").header("", "").null_header(""),
            Record::to(&topic).key(&huge),
            Record::to(&topic).headers(&headers),
            Record::to(&topic).timestamp(0),
            Record::to(&topic).value("last"),
        ];
        let mut deliveries = Vec::new();
        producer.send_many(records.iter().cloned(), &mut deliveries).await.expect("accepted");
        for delivery in deliveries {
            in_time("the acknowledgement", delivery).await.expect("written");
        }
        let seen = read_all(&bootstrap, &topic, 1).await;
        assert_eq!(seen.len(), records.len());
        for (seen, sent) in seen.iter().zip(&records) {
            assert_eq!((seen.key.as_deref(), seen.value.as_deref()), (sent.key, sent.value));
            assert_eq!(seen.headers.len(), sent.headers.as_slice().len());
            assert!(sent.timestamp.is_none_or(|timestamp| timestamp == seen.timestamp));
        }
        let negative = producer.send(Record::to(&topic).timestamp(-2)).await;
        assert!(matches!(negative, Err(ProducerError::Encode { .. })), "{negative:?}");
        // Brokers refuse what lies an hour ahead (`message.timestamp.after.max.ms`).
        let future = producer.send(Record::to(&topic).timestamp(i64::MAX)).await.expect("accepted");
        let told = in_time("the refusal", future).await.expect_err("refused");
        assert!(told.to_string().contains("INVALID_TIMESTAMP") && !told.maybe_written(), "{told}");
        let after = producer.send(Record::to(&topic).value("after")).await.expect("accepted");
        assert_eq!(in_time("the acknowledgement", after).await.expect("written").offset, records.len() as i64);
    }
}

on_both! {
    async fn a_topic_may_be_deleted_and_made_anew_beneath_a_producer(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("anew", 1, &[]).await);
        let producer = producer(&bootstrap).await;
        for number in 0..3_i64 {
            let delivery = producer.send(Record::to(&topic).value("before")).await.expect("accepted");
            assert_eq!(in_time("the acknowledgement", delivery).await.expect("written").offset, number);
        }
        let admin = Admin::connect(AdminConfig::new().bootstrap_servers(bootstrap.as_str())).await.expect("an admin");
        in_time("the deletion", admin.delete_topics(&[&topic])).await.expect("deleted");
        let between = producer.send(Record::to(&topic).value("between")).await.expect("accepted");
        in_time("the creation", admin.create_topics(&[NewTopic::new(&topic).partitions(1)])).await.expect("created");
        in_time("the acknowledgement", between).await.expect("written");
        let delivery = producer.send(Record::to(&topic).value("after")).await.expect("accepted");
        in_time("the acknowledgement", delivery).await.expect("written");
        let seen = read_all(&bootstrap, &topic, 1).await;
        assert_eq!(seen.len(), 2);
    }
}

on_both! {
    async fn less_memory_than_a_batch_and_no_acknowledgements_lose_nothing(cluster: &Cluster) {
        let bootstrap = cluster.bootstrap();
        let sent = values(500);
        let small = || producer_config(&bootstrap).buffer_memory(3000_usize);
        let lingering = || small().linger(Duration::from_secs(30));
        let configs: [ProducerConfig; 3] =
            [small(), lingering(), lingering().acks(rkafka::producer::Acks::None).compression_type(CompressionType::Lz4)];
        for config in configs {
            let topic = cluster.topic("narrow", 1, &[]).await;
            let producer = Producer::new(config).await.expect("a producer");
            for value in &sent {
                drop(in_time("memory", producer.send(Record::to(&topic).value(value))).await.expect("accepted"));
            }
            in_time("the end", producer.close(LIMIT)).await.expect("closed");
            assert!(producer.metrics().group("producer-metrics").count() > 0, "metrics outlive the producer");
            // Without acknowledgements the broker may still be at it.
            let read = in_time("the records", async {
                loop {
                    let seen = read_all(&bootstrap, &topic, 1).await;
                    if seen.len() >= sent.len() {
                        break seen;
                    }
                }
            });
            assert_eq!(read.await.len(), sent.len());
            all_once_and_in_order(&bootstrap, &topic, &sent).await;
        }
    }
}
