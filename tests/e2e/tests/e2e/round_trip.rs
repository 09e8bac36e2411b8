//! What goes in comes out, whatever a record is made of.

use rkafka::producer::{Acks, CompressionType, Producer, Record};
use rkafka::protocol::records::TimestampType;
use rkafka_testkit::{log_lines, on_both};

use crate::support::{Seen, in_time, next, producer, producer_config, read_all, reader};

const CODECS: [CompressionType; 5] = [
    CompressionType::None,
    CompressionType::Gzip,
    CompressionType::Snappy,
    CompressionType::Lz4,
    CompressionType::Zstd,
];

/// Records of every shape. Timestamps as brokers take them: not far in the future.
fn shapes() -> Vec<Seen> {
    let noise: Vec<u8> =
        (0_u64..900_000).map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let bare = Seen { partition: 0, offset: 0, timestamp: 1_700_000_000_000, key: None, value: None, headers: vec![] };
    let headers = vec![
        ("twice".to_owned(), text("first")),
        ("twice".to_owned(), text("second")),
        ("null".to_owned(), None),
        ("empty".to_owned(), text("")),
        (String::new(), text("a header without a name")),
        ("größe".to_owned(), Some(vec![0, 255, 128])),
        ("twice".to_owned(), text("third")),
    ];
    let all_bytes: Vec<u8> = (0..=255).collect();
    let mut shapes = vec![
        bare.clone(),
        Seen { key: text(""), value: text(""), ..bare.clone() },
        Seen { key: text("key"), value: None, ..bare.clone() },
        Seen { key: None, value: text("value"), ..bare.clone() },
        Seen { key: Some(all_bytes.clone()), value: Some(all_bytes), ..bare.clone() },
        Seen { value: text("headers"), headers, ..bare.clone() },
        Seen { value: Some(noise), ..bare.clone() },
        Seen { value: Some(vec![b'x'; 1_000_000]), ..bare.clone() },
        Seen { value: text("long ago"), timestamp: 0, ..bare.clone() },
        Seen { value: text("before the one before"), timestamp: 1_600_000_000_123, ..bare.clone() },
    ];
    shapes.extend(log_lines(500).split(|byte| *byte == b'\n').enumerate().map(|(index, line)| Seen {
        key: (index % 3 > 0).then(|| index.to_string().into_bytes()),
        value: Some(line.to_vec()),
        timestamp: bare.timestamp + index as i64,
        ..bare.clone()
    }));
    for (offset, shape) in (0..).zip(&mut shapes) {
        shape.offset = offset;
    }
    shapes
}

async fn send_all(producer: &Producer, topic: &str, records: &[Seen]) {
    let mut deliveries = Vec::new();
    for seen in records {
        let mut record = Record::to(topic).partition(seen.partition).timestamp(seen.timestamp);
        record.key = seen.key.as_deref();
        record.value = seen.value.as_deref();
        let headers: Vec<_> = seen.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        deliveries.push(producer.send(record.headers(&headers)).await.expect("the record is accepted"));
    }
    for (seen, delivery) in records.iter().zip(deliveries) {
        let written = in_time("an acknowledgement", delivery).await.expect("the record is written");
        assert_eq!((written.partition, written.offset), (seen.partition, seen.offset));
        assert_eq!(written.timestamp, seen.timestamp);
    }
}

on_both! {
    async fn records_of_every_shape_in_every_codec(cluster: &Cluster) {
        let shapes = shapes();
        for codec in CODECS {
            let topic = cluster.topic("shapes", 1, &[("max.message.bytes", "2000000"), ("retention.ms", "-1")]).await;
            let config = producer_config(&cluster.bootstrap()).compression_type(codec).max_request_size(2_000_000_usize);
            let producer = Producer::new(config).await.expect("a producer");
            send_all(&producer, &topic, &shapes).await;
            let seen = read_all(&cluster.bootstrap(), &topic, 1).await;
            assert_eq!(seen.len(), shapes.len(), "{codec:?} on {}", cluster.name());
            for (seen, sent) in seen.iter().zip(&shapes) {
                assert!(seen == sent, "{codec:?} on {}: offset {} came out otherwise", cluster.name(), sent.offset);
            }
        }
    }
}

on_both! {
    async fn each_acknowledgement_is_what_was_asked_for(cluster: &Cluster) {
        for (acks, told) in [(Acks::None, false), (Acks::Leader, true), (Acks::All, true)] {
            let topic = cluster.topic("acks", 1, &[]).await;
            let config = producer_config(&cluster.bootstrap()).acks(acks);
            let producer = Producer::new(config).await.expect("a producer");
            let mut deliveries = Vec::new();
            for number in 0..1000 {
                deliveries.push(producer.send(Record::to(&topic).value(&format!("{number}"))).await.expect("accepted"));
            }
            for (number, delivery) in (0..).zip(deliveries) {
                let written = in_time("an acknowledgement", delivery).await.expect("written");
                assert_eq!(written.offset, if told { number } else { -1 }, "{acks:?} on {}", cluster.name());
            }
            let mut consumer = reader(&cluster.bootstrap(), &topic, 1, rkafka::consumer::Start::Beginning).await;
            for number in 0..1000 {
                assert_eq!(next(&mut consumer).await.value(), Some(number.to_string().as_bytes()));
            }
        }
    }
}

on_both! {
    async fn the_brokers_time_where_the_topic_says_so(cluster: &Cluster) {
        let topic = cluster.topic("append-time", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
        let producer = producer(&cluster.bootstrap()).await;
        let delivery = producer.send(Record::to(&topic).value("now").timestamp(1_000)).await.expect("accepted");
        let written = in_time("an acknowledgement", delivery).await.expect("written");
        assert!(written.timestamp > 1_600_000_000_000, "the broker's time is told: {}", written.timestamp);
        let mut consumer = reader(&cluster.bootstrap(), &topic, 1, rkafka::consumer::Start::Beginning).await;
        let record = next(&mut consumer).await;
        assert_eq!(record.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(record.timestamp(), written.timestamp);
    }
}

on_both! {
    async fn order_within_each_partition_and_key(cluster: &Cluster) {
        const TASKS: usize = 4;
        const EACH: usize = 2_500;
        let topic = cluster.topic("order", 4, &[]).await;
        let producer = producer(&cluster.bootstrap()).await;
        let mut senders = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let (producer, topic) = (producer.clone(), topic.clone());
            senders.spawn(async move {
                let mut deliveries = Vec::new();
                for number in 0..EACH {
                    let (key, value) = (format!("{task}-{}", number % 16), number.to_string());
                    let record = Record::to(&topic).key(&key).value(&value);
                    deliveries.push(producer.send(record).await.expect("accepted"));
                }
                for delivery in deliveries {
                    in_time("an acknowledgement", delivery).await.expect("written");
                }
            });
        }
        in_time("the senders", senders.join_all()).await;
        let seen = read_all(&cluster.bootstrap(), &topic, 4).await;
        assert_eq!(seen.len(), TASKS * EACH);
        let mut last = std::collections::HashMap::new();
        for record in seen {
            let number: usize = String::from_utf8(record.value.unwrap()).unwrap().parse().unwrap();
            let before = last.insert(record.key.clone(), (record.partition, number));
            let partitions = rkafka::producer::murmur2(record.key.as_deref().unwrap()) & 0x7fff_ffff;
            assert_eq!(record.partition, (partitions % 4) as i32, "keys go where Java's producer puts them");
            if let Some((partition, before)) = before {
                assert_eq!(partition, record.partition, "a key stays in its partition");
                assert_eq!(before + 16, number, "each key's records are complete and in order");
            }
        }
        assert!(last.values().all(|(_, number)| *number >= EACH - 16));
    }
}
