//! Interceptors: what they may change, what they are told, and that one which fails harms nobody.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_producer::{
    Acknowledgement, InterceptedRecord, OwnedRecord, Producer, ProducerConfig, ProducerInterceptor, ProducerOptions,
    Record, TransactionalProducer, TrySendError,
};
use rkafka_protocol::ErrorCode;

use crate::broker::Act;
use crate::net::Net;

type Log = Arc<Mutex<Vec<String>>>;

/// Puts its name behind the value, notes what it is told, and does so much wrong as it is told to.
struct Note {
    name: &'static str,
    log: Log,
    trouble: fn(&mut InterceptedRecord<'_>) -> Result<(), Box<dyn Error + Send + Sync>>,
}

fn none(_: &mut InterceptedRecord<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
    Ok(())
}

impl Note {
    fn new(name: &'static str, log: &Log) -> Self {
        Self { name, log: log.clone(), trouble: none }
    }

    fn note(&self, text: &str) {
        self.log.lock().unwrap().push(format!("{} {text}", self.name));
    }
}

impl ProducerInterceptor for Note {
    fn on_send(&self, record: &mut InterceptedRecord<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let value = record.value.as_deref().unwrap_or_default();
        self.note(&format!("sees {}", String::from_utf8_lossy(value)));
        record.value = Some([value, self.name.as_bytes()].concat().into());
        record.headers.add("by", self.name.as_bytes());
        (self.trouble)(record)
    }

    fn on_acknowledgement(&self, acknowledgement: &Acknowledgement<'_>) {
        let Acknowledgement { topic, partition, headers, result, .. } = acknowledgement;
        let partition = partition.map_or("?".to_owned(), |partition| partition.to_string());
        let result = result.map_or("failed".to_owned(), |written| format!("at {}", written.offset));
        self.note(&format!("{topic}-{partition} {result} with {} headers", headers.len()));
        if self.name == "c" {
            panic!("on purpose");
        }
    }

    fn close(&self) {
        self.note("closed");
    }
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

async fn producer(net: &Arc<Net>, log: &Log, config: ProducerConfig) -> Producer {
    let failing = Note { trouble: |_| Err("on purpose".into()), ..Note::new("b", log) };
    let panicking = Note { trouble: |_| panic!("on purpose"), ..Note::new("c", log) };
    let options = ProducerOptions::from(net.options())
        .interceptor(Note::new("a", log))
        .interceptor(failing)
        .interceptor(panicking)
        .interceptor(Note::new("d", log));
    Producer::with_options(config, options).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn they_run_in_order_and_what_fails_is_passed_over() {
    let (net, log) = (Net::new(1, 1), Log::default());
    let producer = producer(&net, &log, net.config()).await;
    let told = log.clone();
    let callback = move |result: rkafka_producer::DeliveryResult| {
        told.lock().unwrap().push(format!("callback at {}", result.unwrap().offset));
    };
    producer.send_with(Record::to("t").value("x").header("own", "1"), callback).await.unwrap();
    producer.flush().await;
    let expected = [
        "a sees x",
        "b sees xa",
        "c sees xa",
        "d sees xa",
        "a t-0 at 0 with 3 headers",
        "b t-0 at 0 with 3 headers",
        "c t-0 at 0 with 3 headers",
        "d t-0 at 0 with 3 headers",
        "callback at 0",
    ];
    assert_eq!(taken(&log), expected);
    assert_eq!(net.cluster.state().values(0), ["xad"]);
    producer.close(Duration::from_secs(1)).await.unwrap();
    producer.close(Duration::from_secs(1)).await.unwrap();
    drop(producer);
    assert_eq!(taken(&log), ["a closed", "b closed", "c closed", "d closed"], "once each");
}

#[tokio::test(start_paused = true)]
async fn they_learn_of_records_that_fail_before_and_after_they_are_accepted() {
    let (net, log) = (Net::new(1, 1), Log::default());
    let options = ProducerOptions::from(net.options()).interceptor(Note::new("a", &log));
    let config = net.config().max_block(Duration::from_millis(500)).retries(0_u32).enable_idempotence(false);
    let producer = Producer::with_options(config, options).await.unwrap();
    // No partition was chosen.
    let large = vec![b'x'; 2 << 20];
    producer.send(Record::to("t").value(&large)).await.unwrap_err();
    assert_eq!(taken(&log).last().unwrap(), "a t-? failed with 1 headers");
    producer.send(Record::to("t").partition(7).value("p")).await.unwrap_err();
    assert_eq!(taken(&log), ["a sees p", "a t-7 failed with 1 headers"]);
    producer.send(Record::to("nowhere").value("n")).await.unwrap_err();
    assert_eq!(taken(&log), ["a sees n", "a nowhere-? failed with 1 headers"]);
    // The broker refuses it.
    net.cluster.on_produce(|_| Act::Refuse(ErrorCode::InvalidRecord));
    producer.send(Record::to("t").value("r")).await.unwrap().await.unwrap_err();
    assert_eq!(taken(&log), ["a sees r", "a t-0 failed with 1 headers"]);
    // The producer is closed with the record under way.
    net.cluster.on_produce(|_| Act::Silence);
    let delivery = producer.send(Record::to("t").value("s")).await.unwrap();
    producer.close(Duration::from_millis(10)).await.unwrap_err();
    delivery.await.unwrap_err();
    assert_eq!(taken(&log), ["a sees s", "a t-0 failed with 1 headers", "a closed"]);
}

#[tokio::test(start_paused = true)]
async fn every_way_to_send_goes_past_them() {
    use futures_util::SinkExt as _;
    let (net, log) = (Net::new(1, 1), Log::default());
    let options = || ProducerOptions::from(net.options()).interceptor(Note::new("a", &log));
    let producer = Producer::with_options(net.config(), options()).await.unwrap();
    let record = Record::to("t").value("1");
    assert!(matches!(producer.try_send(&record), Err(TrySendError::NoMetadata)));
    assert_eq!(taken(&log), ["a sees 1"], "it was handed back, and nothing has become of it");
    let handle = producer.topic("t").await.unwrap();
    producer.try_send(&record).unwrap().await.unwrap();
    handle.send(handle.record().value("2")).await.unwrap().await.unwrap();
    handle.try_send(&handle.record().value("3")).unwrap().await.unwrap();
    let mut deliveries = Vec::new();
    producer.send_many(["4", "5"].iter().map(|value| Record::to("t").value(value)), &mut deliveries).await.unwrap();
    assert_eq!(deliveries.len(), 2);
    let mut sink = producer.sink();
    sink.send(OwnedRecord::to("t").value("6")).await.unwrap();
    let config = net.config().transactional_id("tx");
    let mut transactional = TransactionalProducer::with_options(config, options()).await.unwrap();
    let transaction = transactional.begin().await.unwrap();
    drop(transaction.send(Record::to("t").value("7")).await.unwrap());
    transaction.commit().await.unwrap();
    let notes = taken(&log);
    let count = |text: &str| notes.iter().filter(|note| note.contains(text)).count();
    assert_eq!((count("sees"), count("with 1 headers")), (7, 7), "{notes:?}");
    let values = net.cluster.state().values(0);
    assert_eq!(values.iter().filter(|value| value.ends_with('a')).count(), 7, "{values:?}");
}

#[tokio::test(start_paused = true)]
async fn typed_records_go_past_them_too() {
    use rkafka_producer::{Serializers, TypedRecord};
    let (net, log) = (Net::new(1, 1), Log::default());
    let options = || ProducerOptions::from(net.options()).interceptor(Note::new("a", &log));
    let serializers = Serializers::<str, str>::default();
    let producer = Producer::with_options(net.config(), options()).await.unwrap().typed(serializers.clone());
    let record = || TypedRecord::to("t").key("k").value("1");
    producer.send(record()).await.unwrap().await.unwrap();
    producer.try_send(&record()).unwrap().await.unwrap();
    producer.send_many([record(), record()], &mut Vec::new()).await.unwrap();
    producer.send_with(record(), drop).await.unwrap();
    producer.flush().await;
    // Over a client that is there already, in a transaction.
    let client = rkafka_client_core::Client::connect_with(net.config().client, net.options()).await.unwrap();
    let config = net.config().transactional_id("tx");
    let mut transactional = TransactionalProducer::over_with(client, config, options()).await.unwrap();
    let transaction = transactional.begin().await.unwrap();
    drop(transaction.typed(&serializers).send(record()).await.unwrap());
    drop(transaction.typed(&serializers).try_send(&record()).unwrap());
    transaction.commit().await.unwrap();
    let notes = taken(&log);
    let count = |text: &str| notes.iter().filter(|note| note.contains(text)).count();
    assert_eq!((count("sees 1"), count("with 1 headers")), (7, 7), "each once: {notes:?}");
    let values = net.cluster.state().values(0);
    assert_eq!(values.iter().filter(|value| *value == "1a").count(), 7, "{values:?}");
}

#[test]
fn blocking_producers_go_past_them_too() {
    use rkafka_producer::{Serializers, TypedRecord, blocking};
    let (broker, log) = (crate::net::Loopback::start(), Log::default());
    let options = ProducerOptions::default().interceptor(Note::new("a", &log));
    let producer = blocking::Producer::with_options(broker.config(), options).unwrap();
    producer.send_and_wait(Record::to("t").value("1")).unwrap();
    producer.try_send(&Record::to("t").value("1")).unwrap().blocking_wait().unwrap();
    producer.send_many([Record::to("t").value("1")], &mut Vec::new()).unwrap();
    let typed = producer.typed(Serializers::<str, str>::default());
    typed.send(TypedRecord::to("t").value("1")).unwrap().blocking_wait().unwrap();
    // From a callback, on the producer's own thread.
    let (again, (told, heard)) = (producer.clone(), std::sync::mpsc::channel());
    let callback = move |_| told.send(again.send(Record::to("t").value("1")).is_ok()).unwrap();
    producer.send_with(Record::to("t").value("1"), callback).unwrap();
    assert!(heard.recv().unwrap());
    producer.close(Duration::from_secs(20)).unwrap();
    assert_eq!(producer.metrics().value("record-send-total", "producer-metrics"), Some(6.0));
    let notes = taken(&log);
    let count = |text: &str| notes.iter().filter(|note| note.contains(text)).count();
    assert_eq!((count("sees 1"), count("with 1 headers"), count("closed")), (6, 6, 1), "each once: {notes:?}");
    assert_eq!(notes.last().map(String::as_str), Some("a closed"), "nothing is acknowledged afterwards");
}

// Shows: interceptor.classes.
#[test]
fn classes_of_java_are_refused() {
    let read =
        |classes| ProducerConfig::from_properties([("bootstrap.servers", "b:1"), ("interceptor.classes", classes)]);
    assert!(read("").is_ok());
    let error = read("com.example.Audit").unwrap_err().to_string();
    assert!(error.contains("interceptor.classes") && error.contains("ProducerOptions::interceptor"), "{error}");
}
