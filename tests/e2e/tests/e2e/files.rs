//! A log file goes through in every codec and comes out byte for byte.
//!
//! A million lines where the tests are built with optimization, and a twentieth of that else;
//! `RKAFKA_TEST_LINES` says another number.

use rkafka::consumer::Start;
use rkafka::producer::{CompressionType, Producer, Record};
use rkafka_testkit::{log_lines, on_both};

use crate::support::{in_time, producer_config, reader};

fn lines() -> usize {
    match std::env::var("RKAFKA_TEST_LINES") {
        Ok(lines) => lines.parse().expect("RKAFKA_TEST_LINES is a number"),
        Err(_) if cfg!(debug_assertions) => 50_000,
        Err(_) => 1_000_000,
    }
}

on_both! {
    async fn a_log_file_unchanged_in_every_codec(cluster: &Cluster) {
        let log = log_lines(lines());
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let topic = cluster.topic(codec, 1, &[]).await;
            let mut config = producer_config(&cluster.bootstrap());
            config.set("compression.type", codec).expect("a codec");
            assert!(codec == "none" || config.compression_type != CompressionType::None);
            let producer = Producer::new(config).await.expect("a producer");
            let mut last = None;
            for line in log.split_inclusive(|byte| *byte == b'\n') {
                let value = line.strip_suffix(b"\n").unwrap_or(line);
                last = Some(in_time("room", producer.send(Record::to(&topic).value(value))).await.expect("accepted"));
            }
            let last = in_time("an acknowledgement", last.expect("a line")).await.expect("written");
            assert_eq!(last.offset + 1, lines() as i64, "{codec} on {}", cluster.name());

            let mut consumer = reader(&cluster.bootstrap(), &topic, 1, Start::Beginning).await;
            let mut rest = log.as_slice();
            while let Some(batch) = in_time("a batch", consumer.next_batch_until_end()).await.expect("a batch") {
                for record in batch.records() {
                    let record = record.expect("a record");
                    let value = record.value.expect("a value");
                    assert!(
                        rest.starts_with(value) && rest.get(value.len()) == Some(&b'\n'),
                        "{codec} on {}: line {} came out otherwise", cluster.name(), record.offset + 1
                    );
                    rest = &rest[value.len() + 1..];
                }
            }
            assert!(rest.is_empty(), "{codec} on {}: {} bytes are missing", cluster.name(), rest.len());
        }
    }
}
