//! What a producer says of itself and of its connections, and what interceptors see, compared with what is in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rkafka::client::ClientSettings as _;
use rkafka::producer::{Acknowledgement, InterceptedRecord, Producer, ProducerInterceptor, ProducerOptions, Record};
use rkafka_testkit::on_both;

use crate::support::{in_time, producer_config, read_all};

const PRODUCER: &str = "producer-metrics";
const RECORDS: u32 = 500;

/// Numbers the records in a header, and counts what became of them.
#[derive(Default)]
struct Numbering {
    seen: AtomicU32,
    written: Arc<AtomicU32>,
}

impl ProducerInterceptor for Numbering {
    fn on_send(&self, record: &mut InterceptedRecord<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let number = self.seen.fetch_add(1, Ordering::Relaxed);
        record.headers.add("number", number.to_be_bytes().to_vec());
        Ok(())
    }

    fn on_acknowledgement(&self, acknowledgement: &Acknowledgement<'_>) {
        if acknowledgement.result.is_ok() {
            self.written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

on_both! {
    async fn a_producer_measures_what_it_sends(cluster: &Cluster) {
        let topic = cluster.topic("measured", 3, &[]).await;
        let numbering = Numbering::default();
        let written = numbering.written.clone();
        let options = ProducerOptions::default().interceptor(numbering);
        let config = producer_config(&cluster.bootstrap()).client_id("measured");
        let producer = Producer::with_options(config, options).await.expect("a producer");
        for number in 0..RECORDS {
            let key = number.to_string();
            drop(producer.send(Record::to(&topic).key(&key).value(&[7; 100])).await.expect("taken"));
        }
        in_time("the flush", producer.flush()).await;
        let metrics = producer.metrics();
        let value = |name: &str| metrics.value(name, PRODUCER).unwrap_or_else(|| panic!("no {name}"));
        let of_topic = |name: &str| metrics.value_of(name, "producer-topic-metrics", "topic", &topic).expect("measured");
        let total = f64::from(RECORDS);
        assert_eq!((value("record-send-total"), of_topic("record-send-total")), (total, total));
        assert_eq!((value("record-error-total"), value("record-retry-total")), (0.0, 0.0));
        assert_eq!((value("requests-in-flight"), value("waiting-threads")), (0.0, 0.0));
        assert_eq!(value("buffer-available-bytes"), value("buffer-total-bytes"));
        assert!(of_topic("byte-total") > total * 100.0 && of_topic("byte-total") < value("outgoing-byte-total"));
        assert!(value("batch-size-max") >= value("batch-size-avg") && value("connection-count") >= 1.0);
        assert!(value("request-latency-avg") > 0.0 && value("request-latency-max") >= value("request-latency-avg"));
        // The stages are what they are parts of.
        let parts = value("batch-linger-time-avg") + value("batch-turn-time-avg");
        assert!((parts - value("record-queue-time-avg")).abs() < 0.001, "{parts}");
        let parts = value("request-outbuf-time-avg") + value("request-round-trip-time-avg");
        assert!((parts - value("request-latency-avg")).abs() < 0.1, "{parts}");
        assert_eq!(value("response-total"), value("request-total"));
        let text = metrics.prometheus_text();
        let line = format!("kafka_producer_producer_metrics_record_send_total{{client_id=\"measured\"}} {RECORDS}\n");
        assert!(text.contains(&line), "{text}");
        assert_eq!(written.load(Ordering::Relaxed), RECORDS);
        let mut numbers: Vec<u32> = Vec::new();
        for record in read_all(&cluster.bootstrap(), &topic, 3).await {
            let (_, number) = record.headers.into_iter().next().expect("a header");
            numbers.push(u32::from_be_bytes(number.expect("a value").try_into().expect("four bytes")));
        }
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..RECORDS));
    }
}
