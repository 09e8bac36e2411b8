//! Every way to hand records to a producer: each keeps the order of each partition, says what became of each record, and
//! loses nothing at its end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _, stream};
use rkafka::producer::{
    Delivery, OwnedRecord, Producer, ProducerError, Record, TrySendError, TypedProducer, TypedRecord, blocking,
};
use rkafka_testkit::{TestCluster, on_both, pause};

use crate::support::{LIMIT, in_time, producer, producer_config, read_all};

const RECORDS: u32 = 3_000;
const PARTITIONS: i32 = 3;

/// Everything is there, once, and in its order in each partition.
async fn all_in_order(bootstrap: &str, topic: &str, count: u32) {
    let mut seen = 0;
    let mut last = vec![None; PARTITIONS as usize];
    for record in read_all(bootstrap, topic, PARTITIONS).await {
        let value = String::from_utf8(record.value.expect("a value")).expect("text");
        let number: u32 = value.parse().expect("a number");
        let before = last[record.partition as usize].replace(number);
        assert!(before < Some(number), "{number} comes behind {before:?} in partition {}", record.partition);
        seen += 1;
    }
    assert_eq!(seen, count);
}

async fn all_written(deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        in_time("the acknowledgement", delivery).await.expect("written");
    }
}

/// Small batches, and few of them: every way has to wait for memory again and again.
fn narrow(bootstrap: &str) -> rkafka::producer::ProducerConfig {
    producer_config(bootstrap).batch_size(1024_usize).buffer_memory(8192_usize)
}

on_both! {
    async fn send_many_keeps_the_order_and_gives_each_delivery(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("many", PARTITIONS, &[]).await);
        for config in [producer_config(&bootstrap), narrow(&bootstrap)] {
            let topic = if config.buffer_memory < 10_000 { cluster.topic("many", PARTITIONS, &[]).await } else { topic.clone() };
            let producer = Producer::new(config).await.expect("a producer");
            let values = (0..RECORDS).map(|number| number.to_string()).collect::<Vec<_>>();
            // Runs of the same partition, keys that change each time, and none.
            let records = values.iter().enumerate().map(|(number, value)| {
                let record = Record::to(&topic).value(value);
                match number / 1000 {
                    0 => record.partition((number / 17 % 3) as i32),
                    1 => record.key(&value[2..]),
                    _ => record,
                }
            });
            let mut deliveries = Vec::new();
            let sent = in_time("all accepted", producer.send_many(records, &mut deliveries)).await.expect("accepted");
            assert_eq!((sent, deliveries.len()), (RECORDS as usize, RECORDS as usize));
            assert!(deliveries.iter().take(1000).enumerate().all(|(number, one)| one.partition() == (number / 17 % 3) as i32));
            all_written(deliveries).await;
            producer.close(LIMIT).await.expect("closed");
            all_in_order(&bootstrap, &topic, RECORDS).await;
        }
    }
}

on_both! {
    async fn a_sink_waits_for_memory_and_flushes_to_the_last_record(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("sink", PARTITIONS, &[]).await);
        let producer = Producer::new(narrow(&bootstrap)).await.expect("a producer");
        let name: Arc<str> = topic.as_str().into();
        let records = stream::iter(0..RECORDS).map(|number| {
            Ok(OwnedRecord::to(name.clone()).partition((number % 3) as i32).value(number.to_string()).header("n", "1"))
        });
        // Ends with `poll_close`, by when all are acknowledged: no `flush` of the producer is needed.
        in_time("all forwarded", records.forward(producer.sink())).await.expect("delivered");
        all_in_order(&bootstrap, &topic, RECORDS).await;

        // A record that is refused at once ends `feed`; one that the broker refuses, the flush; and the sink lives on.
        let small = cluster.topic("small", 1, &[("max.message.bytes", "600")]).await;
        let mut sink = producer.sink();
        let error = sink.feed(OwnedRecord::to(small.clone()).partition(7).value("x")).await;
        let error = match error { Ok(()) => in_time("the flush", sink.flush()).await, other => other };
        assert!(matches!(error, Err(ProducerError::UnknownPartition { partition: 7, .. })), "{error:?}");
        sink.feed(OwnedRecord::to(small.clone()).value(vec![0; 900])).await.expect("accepted");
        let error = in_time("the flush", sink.flush()).await.expect_err("too large for the topic");
        assert!(matches!(error, ProducerError::Refused { .. }), "{error:?}");
        sink.feed(OwnedRecord::to(small.clone()).value("0")).await.expect("accepted");
        in_time("the close", sink.close()).await.expect("delivered");
        assert_eq!(read_all(&bootstrap, &small, 1).await.len(), 1);
        producer.close(LIMIT).await.expect("closed");
    }
}

on_both! {
    async fn a_sink_that_is_dropped_loses_nothing(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("dropped", PARTITIONS, &[]).await);
        let producer = Producer::new(narrow(&bootstrap)).await.expect("a producer");
        let mut sink = producer.sink();
        let mut count = 0;
        // Until one is put in that has to wait: then it is dropped with it.
        while !format!("{sink:?}").contains("is_waiting: true") {
            let record = OwnedRecord::to(topic.clone()).partition(0).value(count.to_string()).header("p", vec![0; 400]);
            in_time("room", sink.feed(record)).await.expect("accepted");
            count += 1;
        }
        drop(sink);
        drop(producer);
        for _ in 0..600 {
            if read_all(&bootstrap, &topic, PARTITIONS).await.len() == count {
                break;
            }
            pause(Duration::from_millis(100)).await;
        }
        all_in_order(&bootstrap, &topic, count as u32).await;
    }
}

on_both! {
    async fn callbacks_come_once_each_and_in_order(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("callbacks", PARTITIONS, &[]).await);
        let producer = Producer::new(narrow(&bootstrap)).await.expect("a producer");
        let offsets = Arc::new(Mutex::new(vec![Vec::new(); PARTITIONS as usize]));
        for number in 0..RECORDS {
            let (value, offsets) = (number.to_string(), offsets.clone());
            let record = Record::to(&topic).partition((number % 3) as i32).value(&value);
            let told = move |result: rkafka::producer::DeliveryResult| {
                let written = result.expect("written");
                offsets.lock().expect("not poisoned")[written.partition as usize].push(written.offset);
            };
            in_time("room", producer.send_with(record, told)).await.expect("accepted");
        }
        in_time("the flush", producer.flush()).await;
        let offsets = std::mem::take(&mut *offsets.lock().expect("not poisoned"));
        for of_one in &offsets {
            assert_eq!(of_one.len(), RECORDS as usize / 3);
            assert!(of_one.is_sorted());
        }
        all_in_order(&bootstrap, &topic, RECORDS).await;
    }
}

on_both! {
    async fn a_blocking_producer_needs_no_runtime_and_minds_none(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("blocking", PARTITIONS, &[]).await);
        let (config, name) = (narrow(&bootstrap), topic.clone());
        // A thread that knows no runtime.
        let thread = std::thread::spawn(move || {
            let producer = blocking::Producer::new(config).expect("a producer");
            let told = Arc::new(AtomicU32::new(0));
            for number in 0..1000_u32 {
                let value = number.to_string();
                let record = Record::to(&name).partition((number % 3) as i32).value(&value);
                match number % 250 {
                    0 => assert_eq!(producer.send_and_wait(record).expect("written").partition, (number % 3) as i32),
                    1 => {
                        let (told, again, name) = (told.clone(), producer.clone(), name.clone());
                        let callback = move |result: rkafka::producer::DeliveryResult| {
                            result.expect("written");
                            // Nothing may wait here, and says so instead of waiting for ever.
                            assert!(matches!(again.flush(), Err(ProducerError::InCallback)));
                            assert!(matches!(again.close(LIMIT), Err(ProducerError::InCallback)));
                            let other = again.try_send(&Record::to(&name).partition(9).value("x"));
                            assert!(matches!(other, Err(TrySendError::Refused(_))), "{other:?}");
                            told.fetch_add(1, Ordering::Relaxed);
                        };
                        producer.send_with(record, callback).expect("accepted");
                    }
                    _ => drop(producer.send(record).expect("accepted")),
                }
            }
            producer.flush().expect("flushed");
            assert_eq!(told.load(Ordering::Relaxed), 4);
            // Not closed: the drop waits for the records behind the flush.
            let values = (1000..RECORDS).map(|number| number.to_string()).collect::<Vec<_>>();
            let records = values.iter().map(|value| Record::to(&name).partition(1).value(value));
            assert_eq!(producer.send_many(records, &mut Vec::new()).expect("accepted"), values.len());
        });
        in_time("the thread", tokio::task::spawn_blocking(move || thread.join())).await.expect("run").expect("no panic");
        all_in_order(&bootstrap, &topic, RECORDS).await;

        // Here, within a runtime: made, used, closed, used again and dropped.
        let producer = blocking::Producer::new(producer_config(&bootstrap)).expect("a producer");
        producer.send_and_wait(Record::to(&topic).partition(2).value(&RECORDS.to_string())).expect("written");
        producer.close(LIMIT).expect("closed");
        let late = producer.send(Record::to(&topic).value("late"));
        assert!(matches!(late, Err(ProducerError::Closed { maybe_written: false })), "{late:?}");
        producer.close(LIMIT).expect("closed is closed");
        drop(producer);
        all_in_order(&bootstrap, &topic, RECORDS + 1).await;
    }
}

/// On a runtime of one thread, which the blocking calls take for themselves: the producer has its own.
#[tokio::test]
async fn a_blocking_producer_works_on_a_runtime_of_one_thread() {
    let cluster = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("one");
        let cluster = runtime.block_on(TestCluster::start());
        (runtime, cluster)
    });
    let (runtime, cluster) = cluster.join().expect("a cluster");
    let producer = blocking::Producer::new(producer_config(&cluster.bootstrap())).expect("a producer");
    assert_eq!(producer.send_and_wait(Record::to("made-by-sending").value("v")).expect("written").offset, 0);
    drop(producer);
    drop(cluster);
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_blocking_producer_without_a_cluster_says_so_and_ends() {
    let error = blocking::Producer::new(producer_config("127.0.0.1:1").max_block(Duration::from_millis(10)));
    assert!(error.expect_err("nobody is there").to_string().contains("127.0.0.1:1"));
    let plain = blocking::Producer::new(producer_config("127.0.0.1:1").transactional_id("tx")).expect_err("not for it");
    assert!(plain.to_string().contains("TransactionalProducer"), "{plain}");
    let config = producer_config("127.0.0.1:1");
    let error = blocking::TransactionalProducer::new(config).expect_err("no id");
    assert!(error.to_string().contains("transactional.id"), "{error}");
}

/// Where the futures are dropped, what was accepted is known, and nothing else was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_future_that_is_dropped_has_accepted_what_it_says() {
    let cluster =
        TestCluster::builder().topic("known", 1).broker(|config| config.auto_create_topics_enable(false)).start().await;
    let bootstrap = cluster.bootstrap();
    let producer = producer(&bootstrap).await;
    let typed = TypedProducer::<str, str>::new(producer_config(&bootstrap)).await.expect("a producer");
    let values = (0..100).map(|number| number.to_string()).collect::<Vec<_>>();
    // The 51st is for a topic that never comes.
    let records =
        values.iter().enumerate().map(|(at, value)| Record::to(if at == 50 { "never" } else { "known" }).value(value));
    let mut deliveries = Vec::new();
    let cancelled = tokio::time::timeout(Duration::from_secs(2), producer.send_many(records, &mut deliveries)).await;
    assert!(cancelled.is_err());
    assert_eq!(deliveries.len(), 50);
    all_written(deliveries).await;
    let never = Record::to("never").value("v");
    for _ in 0..2 {
        let wait = Duration::from_millis(50);
        assert!(tokio::time::timeout(wait, producer.send(never.clone())).await.is_err());
        assert!(tokio::time::timeout(wait, typed.send(TypedRecord::to("never").value("v"))).await.is_err());
        assert!(tokio::time::timeout(wait, producer.topic("never")).await.is_err());
    }
    // With an error in the place of the wait, the same is known.
    let mut deliveries = Vec::new();
    let records =
        values.iter().enumerate().map(|(at, value)| Record::to("known").partition(i32::from(at == 70)).value(value));
    let refused = in_time("the error", producer.send_many(records, &mut deliveries)).await;
    assert!(matches!(refused, Err(ProducerError::UnknownPartition { partition: 1, .. })), "{refused:?}");
    assert_eq!(deliveries.len(), 70);
    all_written(deliveries).await;
    producer.close(LIMIT).await.expect("closed");
    typed.close(LIMIT).await.expect("closed");
    assert_eq!(read_all(&bootstrap, "known", 1).await.len(), 120);
}
