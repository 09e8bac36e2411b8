//! Consume, process, produce, exactly once: whatever is killed or fenced, each input is counted once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rkafka::consumer::serialization::{
    Deserializer, Payload, SerializationContext, SerializationError, StringDeserializer,
};
use rkafka::consumer::{Consumer, ConsumerRecord, Deserialize, IsolationLevel, Start};
use rkafka::producer::{ProducerError, Record, Transaction, TransactionalProducer};
use rkafka::protocol::records::HeadersView;
use rkafka::{ExactlyOnce, ExactlyOnceError, Processor};
use rkafka_testkit::{Cluster, on_both};
use tokio::sync::Notify;

use crate::support::{LIMIT, consumer_config, in_background, in_time, producer, producer_config, value_text};

const INPUTS: u32 = 300;

async fn fill(bootstrap: &str, topic: &str) {
    let producer = producer(bootstrap).await;
    for number in 0..INPUTS {
        let value = number.to_string();
        drop(producer.send(Record::to(topic).partition((number % 2) as i32).value(&value)).await.expect("accepted"));
    }
    in_time("the close", producer.close(LIMIT)).await.expect("all written");
}

async fn worker(bootstrap: &str, input: &str, group: &str, id: &str) -> ExactlyOnce {
    let config = consumer_config(bootstrap)
        .group_id(group.to_owned())
        .enable_auto_commit(false)
        .isolation_level(IsolationLevel::ReadCommitted)
        .max_poll_records(20_usize);
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.subscribe([input]).expect("subscribed");
    let config = producer_config(bootstrap).transactional_id(id.to_owned());
    let producer = in_time("a producer", TransactionalProducer::new(config)).await.expect("a producer");
    ExactlyOnce::new(consumer, producer).expect("settings that go together")
}

/// Reads the output as it is committed until every input is there, and asserts that none is there twice.
async fn each_input_once(bootstrap: &str, output: &str) {
    let config = consumer_config(bootstrap).isolation_level(IsolationLevel::ReadCommitted);
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.assign([(output, 0, Start::Beginning)]).expect("assigned");
    let mut counts = BTreeMap::new();
    while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("a record") {
        *counts.entry(value_text(&record)).or_insert(0) += 1;
    }
    let wrong: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(wrong.is_empty(), "more than once: {wrong:?}");
    assert_eq!(counts.len(), INPUTS as usize, "all are there");
}

/// Where both partitions of the input are done.
async fn is_done(cluster: &Cluster, input: &str, group: &str) -> bool {
    let reader = Consumer::connect(consumer_config(&cluster.bootstrap()).group_id(group.to_owned())).await;
    let reader = reader.expect("a consumer");
    let places = [(input, 0).into(), (input, 1).into()];
    let found = in_time("the offsets", reader.committed(&places)).await.expect("an answer");
    reader.close().await.expect("closed");
    found.iter().map(|(_, offset)| offset.as_ref().map_or(0, |offset| offset.offset)).sum::<i64>() >= i64::from(INPUTS)
}

on_both! {
    async fn each_input_is_counted_once_over_failures_of_the_application(cluster: &Cluster) {
        let (input, output) = (cluster.topic("in", 2, &[]).await, cluster.topic("out", 1, &[]).await);
        let group = cluster.unique("group");
        fill(&cluster.bootstrap(), &input).await;
        let mut worker = worker(&cluster.bootstrap(), &input, &group, &cluster.unique("tx")).await;
        let done = Notify::new();
        let (mut seen, mut calls) = (0_i64, 0);
        let mut failures = 0;
        loop {
            let run = worker.run_until(done.notified(), async |records, transaction| {
                calls += 1;
                for (index, record) in records.iter().enumerate() {
                    let value = record.value().unwrap_or_default();
                    drop(transaction.send(Record::to(&output).value(value)).await.map_err(|error| error.to_string())?);
                    if calls % 3 == 0 && index == records.len() / 2 {
                        // Some of it is written by now.
                        transaction.flush().await;
                        return Err("as if it crashed".to_owned());
                    }
                }
                seen += records.len() as i64;
                if seen >= i64::from(INPUTS) {
                    done.notify_one();
                }
                Ok(())
            });
            match in_time("the run", run).await {
                Ok(()) => break,
                Err(ExactlyOnceError::Process(error)) => {
                    assert_eq!(error, "as if it crashed");
                    failures += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(failures > 2, "{failures}");
        in_time("the close", worker.close(LIMIT)).await.expect("closed");
        assert!(is_done(cluster, &input, &group).await);
        each_input_once(&cluster.bootstrap(), &output).await;
    }
}

/// Copies records, and hangs for ever in the middle of its last transaction.
struct Mortal {
    output: String,
    transactions: u32,
    last: u32,
    end: Arc<Notify>,
}

impl Processor<ProducerError> for Mortal {
    async fn process(
        &mut self,
        records: &[ConsumerRecord],
        transaction: &Transaction<'_>,
    ) -> Result<(), ProducerError> {
        for record in records {
            let value = record.value().unwrap_or_default();
            drop(transaction.send(Record::to(&self.output).value(value)).await?);
        }
        self.transactions += 1;
        if self.transactions == self.last {
            transaction.flush().await;
            self.end.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

on_both! {
    async fn each_input_is_counted_once_over_workers_that_are_killed_and_fenced(cluster: &Cluster) {
        let (input, output) = (cluster.topic("in", 2, &[]).await, cluster.topic("out", 1, &[]).await);
        let (group, id) = (cluster.unique("group"), cluster.unique("tx"));
        fill(&cluster.bootstrap(), &input).await;
        let lives = Arc::new(AtomicU32::new(0));
        loop {
            let mut worker = worker(&cluster.bootstrap(), &input, &group, &id).await;
            let (output, life) = (output.clone(), lives.fetch_add(1, Ordering::Relaxed));
            let ended = Arc::new(Notify::new());
            // It runs as a task, and is aborted in the middle of a transaction, with everything that it owns.
            let mut mortal = Mortal { output, transactions: 0, last: 2 + life % 3, end: ended.clone() };
            let task = in_background(async move {
                drop(worker.drive(std::future::pending(), &mut mortal).await);
            });
            // It comes to its end in the middle of a transaction, or to the end of the input.
            let is_over = loop {
                if tokio::time::timeout(Duration::from_millis(500), ended.notified()).await.is_ok() {
                    break false;
                }
                if is_done(cluster, &input, &group).await {
                    break true;
                }
                assert!(!task.is_finished(), "it ended by itself");
            };
            task.abort();
            if is_over {
                break;
            }
        }
        assert!(lives.load(Ordering::Relaxed) > 2);
        each_input_once(&cluster.bootstrap(), &output).await;
    }
}

#[tokio::test]
async fn settings_that_would_break_the_promise_are_refused() {
    let cluster = rkafka_testkit::TestCluster::start().await;
    let good = consumer_config(&cluster.bootstrap())
        .group_id("g")
        .enable_auto_commit(false)
        .isolation_level(IsolationLevel::ReadCommitted);
    for (config, name) in [
        (good.clone().group_id(None), "group.id"),
        (good.clone().enable_auto_commit(true), "enable.auto.commit"),
        (good.clone().isolation_level(IsolationLevel::ReadUncommitted), "isolation.level"),
    ] {
        let consumer = Consumer::connect(config).await.expect("a consumer");
        let config = producer_config(&cluster.bootstrap()).transactional_id("tx");
        let producer = TransactionalProducer::new(config).await.expect("a producer");
        let error = ExactlyOnce::new(consumer, producer).expect_err("refused").to_string();
        assert!(error.contains(name), "{error}");
    }
}

/// Numbers as text.
struct TextNumber;

impl<'a> Deserializer<'a, u32> for TextNumber {
    fn deserialize(
        &self,
        context: SerializationContext<'_>,
        _headers: HeadersView<'a>,
        data: Option<Payload<'a>>,
    ) -> Result<u32, SerializationError> {
        let bytes = data.ok_or_else(|| SerializationError::null(context, "number"))?;
        let text = std::str::from_utf8(bytes.as_slice()).map_err(|_| SerializationError::new(context, "no text"))?;
        text.parse().map_err(|_| SerializationError::new(context, "no number"))
    }
}

/// Sends something, and panics.
struct Panics {
    output: String,
}

impl Processor<ProducerError> for Panics {
    async fn process(
        &mut self,
        _records: &[ConsumerRecord],
        transaction: &Transaction<'_>,
    ) -> Result<(), ProducerError> {
        drop(transaction.send(Record::to(&self.output).value("never")).await?);
        transaction.flush().await;
        panic!("as an application's code may")
    }
}

on_both! {
    /// What cannot be read ends a run as often as it comes, until it is skipped or buried within the transaction.
    async fn a_poisoned_record_is_buried_once_and_holds_up_nothing_else(cluster: &Cluster) {
        let (input, output) = (cluster.topic("in", 2, &[]).await, cluster.topic("out", 1, &[]).await);
        let dead = cluster.topic("dead", 1, &[]).await;
        let bootstrap = cluster.bootstrap();
        let poisoner = producer(&bootstrap).await;
        for partition in 0..2 {
            let value = format!("poison-{partition}");
            drop(poisoner.send(Record::to(&input).partition(partition).value(&value)).await.expect("accepted"));
        }
        in_time("the close", poisoner.close(LIMIT)).await.expect("all written");
        fill(&bootstrap, &input).await;
        let mut worker = worker(&bootstrap, &input, &cluster.unique("group"), &cluster.unique("tx")).await;
        let numbers = Deserialize::<Option<String>, u32>::new(StringDeserializer, TextNumber);

        // An error of the application's: what was sent before is taken back, and the record comes again.
        for _ in 0..2 {
            let run = worker.run(async |records, transaction| {
                for record in records {
                    drop(transaction.send(Record::to(&output).value("never")).await.map_err(|error| error.to_string())?);
                    let read = numbers.read(record.clone()).await.map_err(|error| error.to_string())?;
                    drop(transaction.send(Record::to(&output).value(&read.value.to_string())).await);
                }
                Ok::<(), String>(())
            });
            match in_time("the failure", run).await {
                Err(ExactlyOnceError::Process(error)) => assert!(error.contains("at offset 0, value"), "{error}"),
                other => panic!("{other:?}"),
            }
        }
        // A panic is no other.
        let shared = Arc::new(tokio::sync::Mutex::new(worker));
        let (of_task, mut panics) = (Arc::clone(&shared), Panics { output: output.clone() });
        let task = in_background(async move {
            drop(of_task.lock().await.drive(std::future::pending(), &mut panics).await);
        });
        assert!(in_time("the panic", task).await.expect_err("it panics").is_panic());
        let mut worker = Arc::into_inner(shared).expect("the task is over").into_inner();

        // Buried within the transaction it is there once, whatever fails behind it.
        let done = Notify::new();
        let (mut seen, mut failures) = (0, 0);
        loop {
            let run = worker.run_until(done.notified(), async |records, transaction| {
                let mut buried = 0;
                for record in records {
                    let sent = match numbers.read(record.clone()).await {
                        Ok(read) => transaction.send(Record::to(&output).value(&read.value.to_string())).await,
                        Err(error) => {
                            buried += 1;
                            let value = error.record().value().unwrap_or_default();
                            transaction.send(Record::to(&dead).value(value)).await
                        }
                    };
                    drop(sent.map_err(|error| error.to_string())?);
                }
                if buried > 0 && failures < 2 {
                    failures += 1;
                    transaction.flush().await;
                    return Err("as if it crashed".to_owned());
                }
                seen += records.len() as u32;
                if seen >= INPUTS + 2 {
                    done.notify_one();
                }
                Ok(())
            });
            match in_time("the run", run).await {
                Ok(()) => break,
                Err(ExactlyOnceError::Process(error)) => assert_eq!(error, "as if it crashed"),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(failures, 2);
        in_time("the close", worker.close(LIMIT)).await.expect("closed");
        each_input_once(&bootstrap, &output).await;
        let config = consumer_config(&bootstrap).isolation_level(IsolationLevel::ReadCommitted);
        let mut graves = Consumer::connect(config).await.expect("a consumer");
        graves.assign([(dead.as_str(), 0, Start::Beginning)]).expect("assigned");
        let mut buried = Vec::new();
        while let Some(record) = in_time("the end", graves.recv_until_end()).await.expect("a record") {
            buried.push(value_text(&record));
        }
        buried.sort();
        assert_eq!(buried, ["poison-0", "poison-1"]);
    }
}
