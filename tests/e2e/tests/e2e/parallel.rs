//! Many records worked on at once: order per key, commits that pass over nothing, rebalances, failures and dead letters.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::DeadLetterTopic;
use rkafka::consumer::{
    CommittedOffset, Consumer, ConsumerConfig, ConsumerRecord, Deserialize, LastResort, Order, ParallelConsumer,
    ParallelError, ParallelOptions, Retries, TopicPartition, TypedHandler,
};
use rkafka::producer::Record;
use rkafka_testkit::{TestCluster, eventually, on_both, pause};
use tokio::sync::Notify;

use crate::support::{consumer_config, in_background, in_time, producer, read_all, value_text};

fn config(bootstrap: &str, group: &str) -> ConsumerConfig {
    consumer_config(bootstrap)
        .group_id(group.to_owned())
        .session_timeout(Duration::from_secs(6))
        .heartbeat_interval(Duration::from_millis(200))
        .auto_commit_interval(Duration::from_millis(50))
        .enable_auto_offset_store(false)
}

async fn parallel(config: ConsumerConfig, topic: &str, options: ParallelOptions) -> ParallelConsumer {
    let mut consumer = ParallelConsumer::connect(config, options).await.expect("a consumer");
    consumer.subscribe([topic]).expect("subscribed");
    consumer
}

/// Sends numbered records of so many keys.
async fn send(bootstrap: &str, topic: &str, keys: usize, numbers: std::ops::Range<usize>) {
    let producer = producer(bootstrap).await;
    let mut deliveries = Vec::new();
    for number in numbers {
        let (key, value) = (format!("key {}", number % keys), number.to_string());
        deliveries.push(producer.send(Record::to(topic).key(&key).value(&value)).await.expect("accepted"));
    }
    for delivery in deliveries {
        in_time("an acknowledgement", delivery).await.expect("written");
    }
}

async fn committed(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> i64 {
    let consumer = Consumer::connect(config(bootstrap, group)).await.expect("a consumer");
    let places: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
    let committed = consumer.committed(&places).await.expect("offsets");
    committed.into_iter().filter_map(|(_, at): (_, Option<CommittedOffset>)| at).map(|at| at.offset).sum()
}

fn number(record: &ConsumerRecord) -> usize {
    value_text(record).parse().expect("a number")
}

/// What handlers did: the numbers by key, in the order in which they ended.
#[derive(Default)]
struct Done {
    by_key: Mutex<HashMap<String, Vec<usize>>>,
    count: AtomicUsize,
    now: AtomicUsize,
    at_once: AtomicUsize,
    enough: Notify,
}

impl Done {
    fn begin(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once.fetch_max(now, Ordering::SeqCst);
    }

    fn end(&self, record: &ConsumerRecord, enough: usize) {
        let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
        self.by_key.lock().unwrap().entry(key).or_default().push(number(record));
        self.now.fetch_sub(1, Ordering::SeqCst);
        if self.count.fetch_add(1, Ordering::SeqCst) + 1 >= enough {
            self.enough.notify_one();
        }
    }

    fn all(&self) -> BTreeSet<usize> {
        self.by_key.lock().unwrap().values().flatten().copied().collect()
    }
}

on_both! {
    async fn records_are_worked_on_at_once_and_in_order_per_key(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("parallel", 3, &[]).await, cluster.unique("parallel"));
        send(&cluster.bootstrap(), &topic, 20, 0..600).await;
        let options = ParallelOptions::default().workers(8).records_max(50);
        let mut consumer = parallel(config(&cluster.bootstrap(), &group), &topic, options).await;
        let done = Arc::new(Done::default());
        let of_handler = Arc::clone(&done);
        let run = consumer.run_until(done.enough.notified(), move |record| {
            let done = Arc::clone(&of_handler);
            async move {
                done.begin();
                tokio::task::yield_now().await;
                pause(Duration::from_micros(u64::try_from(number(&record) % 7).unwrap() * 100)).await;
                done.end(&record, 600);
                Ok::<_, String>(())
            }
        });
        in_time("all records", run).await.expect("nothing fails");
        for (key, numbers) in &*done.by_key.lock().unwrap() {
            assert!(numbers.is_sorted(), "{key}: {numbers:?}");
            assert_eq!(numbers.len(), 30, "{key}");
        }
        let at_once = done.at_once.load(Ordering::SeqCst);
        assert!((2..=8).contains(&at_once), "{at_once} at once");
        in_time("the close", consumer.close()).await.expect("closed");
        assert_eq!(committed(&cluster.bootstrap(), &group, &topic, 3).await, 600);
    }
}

on_both! {
    async fn members_come_and_go_and_every_record_is_done(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("rebalanced", 4, &[]).await, cluster.unique("rebalanced"));
        let done = Arc::new(Done::default());
        let over = Arc::new(tokio::sync::watch::Sender::new(0_usize));
        let total = 1_200;
        // Three members, of which each leaves after a while and comes back as another.
        let mut members = Vec::new();
        for name in 0..3_usize {
            let (done, over) = (Arc::clone(&done), Arc::clone(&over));
            let (bootstrap, group, topic) = (cluster.bootstrap(), group.clone(), topic.clone());
            members.push(in_background(async move {
                while *over.borrow() == 0 {
                    let options = ParallelOptions::default().workers(4);
                    let mut consumer = parallel(config(&bootstrap, &group), &topic, options).await;
                    let (of_handler, mut is_over) = (Arc::clone(&done), over.subscribe());
                    let stop = async {
                        tokio::select! {
                            _ = is_over.wait_for(|over| *over > 0) => {}
                            () = pause(Duration::from_millis(400 + 300 * name as u64)) => {}
                        }
                    };
                    let handler = move |record: ConsumerRecord| {
                        let done = Arc::clone(&of_handler);
                        async move {
                            done.begin();
                            pause(Duration::from_millis(2)).await;
                            done.end(&record, usize::MAX);
                            Ok::<_, String>(())
                        }
                    };
                    consumer.run_until(stop, handler).await.expect("nothing fails");
                    consumer.close().await.expect("closed");
                }
            }));
        }
        send(&cluster.bootstrap(), &topic, 50, 0..total).await;
        eventually("every record is done", || {
            let missing = total - done.all().len();
            async move { if missing == 0 { Ok(()) } else { Err(format!("{missing} are missing")) } }
        })
        .await;
        over.send_replace(1);
        for member in members {
            in_time("a member's end", member).await.expect("it ends well");
        }
        assert_eq!(committed(&cluster.bootstrap(), &group, &topic, 4).await, total as i64);
        // Only what was done ahead of a record that was dropped is done again: few, and never before their turn.
        let again = done.count.load(Ordering::SeqCst) - total;
        assert!(again < total / 4, "{again} of {total} records were done again");
        for (key, numbers) in &*done.by_key.lock().unwrap() {
            let mut seen = BTreeSet::new();
            let first: Vec<_> = numbers.iter().filter(|number| seen.insert(**number)).collect();
            assert!(first.is_sorted(), "{key}: {numbers:?}");
        }
    }
}

/// While a record waits for its next attempt, other keys of the same partition go on with a single worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_fails_holds_up_its_key_alone() {
    let cluster = TestCluster::builder().topic("t", 1).start().await;
    send(&cluster.bootstrap(), "t", 5, 0..50).await;
    let retries = Retries::new(5, Duration::from_millis(300), Duration::from_millis(300));
    let options = ParallelOptions::default().workers(1).retries(retries);
    let mut consumer = parallel(config(&cluster.bootstrap(), "g"), "t", options).await;
    let (done, attempts) = (Arc::new(Done::default()), Arc::new(AtomicUsize::new(0)));
    let order = Arc::new(Mutex::new(Vec::new()));
    let (of_handler, of_attempts, of_order) = (Arc::clone(&done), Arc::clone(&attempts), Arc::clone(&order));
    let run = consumer.run_until(done.enough.notified(), move |record| {
        let (done, attempts, order) = (Arc::clone(&of_handler), Arc::clone(&of_attempts), Arc::clone(&of_order));
        async move {
            if number(&record) == 0 && attempts.fetch_add(1, Ordering::SeqCst) < 3 {
                return Err("not yet");
            }
            order.lock().unwrap().push(number(&record));
            done.begin();
            done.end(&record, 50);
            Ok(())
        }
    });
    in_time("all records", run).await.expect("the fourth attempt succeeds");
    assert_eq!(attempts.load(Ordering::SeqCst), 4);
    let order = order.lock().unwrap().clone();
    let of_its_key = order.iter().position(|number| *number == 0).unwrap();
    assert!(order[..of_its_key].len() >= 4, "others go on meanwhile: {order:?}");
    assert!(order[..of_its_key].iter().all(|number| number % 5 != 0), "its own key waits: {order:?}");
    in_time("the close", consumer.close()).await.expect("closed");
    assert_eq!(committed(&cluster.bootstrap(), "g", "t", 1).await, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_last_resort_the_run_stops_and_goes_on_behind_what_is_committed() {
    let cluster = TestCluster::builder().topic("t", 1).start().await;
    send(&cluster.bootstrap(), "t", 7, 0..100).await;
    let options = ParallelOptions::default().order(Order::Partition);
    let mut consumer = parallel(config(&cluster.bootstrap(), "g"), "t", options).await;
    let done = Arc::new(Done::default());
    let of_handler = Arc::clone(&done);
    let stopped = consumer.run(move |record| {
        let done = Arc::clone(&of_handler);
        async move {
            if number(&record) == 40 {
                return Err("no such customer");
            }
            done.begin();
            done.end(&record, usize::MAX);
            Ok(())
        }
    });
    let error = in_time("the failure", stopped).await.expect_err("record 40 fails");
    assert!(matches!(&error, ParallelError::Handler { offset: 40, attempts: 1, .. }), "{error}");
    assert_eq!(error.to_string(), "t-0 at offset 40: no such customer (attempts: 1)");
    consumer.handle().commit().await.expect("committed");
    assert_eq!(committed(&cluster.bootstrap(), "g", "t", 1).await, 40);
    assert_eq!(done.all(), (0..40).collect());
    // Panics are failures as well.
    let panicked = consumer.run(|record| async move {
        assert!(number(&record) < 40, "it is {}", number(&record));
        Ok::<_, String>(())
    });
    let error = in_time("the panic", panicked).await.expect_err("it panics");
    assert_eq!(error.to_string(), "t-0 at offset 40: the handler panicked: it is 40 (attempts: 1)");
    // A run that is dropped in the middle loses nothing.
    let of_handler = Arc::clone(&done);
    let handler = move |record: ConsumerRecord| {
        let done = Arc::clone(&of_handler);
        async move {
            pause(Duration::from_millis(1)).await;
            done.begin();
            done.end(&record, 100);
            Ok::<_, String>(())
        }
    };
    for _ in 0..5 {
        let _ = tokio::time::timeout(Duration::from_millis(15), consumer.run(handler.clone())).await;
    }
    in_time("the rest", consumer.run_until(done.enough.notified(), handler)).await.expect("nothing fails");
    // The stop may come while the last ones are under way.
    in_time("the close", consumer.close()).await.expect("closed");
    let at = committed(&cluster.bootstrap(), "g", "t", 1).await;
    assert!(done.all().is_superset(&(0..usize::try_from(at).unwrap()).collect()), "{at} is committed");
}

/// The same headers as Spring for Apache Kafka writes them.
fn headers(record: &crate::support::Seen) -> BTreeMap<&str, &[u8]> {
    record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default())).collect()
}

on_both! {
    async fn what_cannot_be_dealt_with_goes_to_the_dead_letter_topic_as_it_is(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("letters", 2, &[]).await, cluster.unique("letters"));
        let dead = cluster.topic("dead", 1, &[]).await;
        let sender = producer(&cluster.bootstrap()).await;
        let values: [&[u8]; 6] = [b"1", b"\xff\xfe", b"3", b"13", b"5", b"fifteen"];
        for (number, value) in values.iter().enumerate() {
            let record = Record::to(&topic).partition(1).key("a key").value(*value);
            let record = record.header("trace", "af01").timestamp(1_000 + number as i64);
            in_time("written", sender.send(record).await.expect("accepted")).await.expect("written");
        }
        let dead_letters = DeadLetterTopic::new(sender.clone()).topic(dead.clone());
        let options = ParallelOptions::default()
            .retries(Retries::new(3, Duration::from_millis(1), Duration::from_millis(2)))
            .last_resort(LastResort::DeadLetter(Arc::new(dead_letters)));
        let mut consumer = parallel(config(&cluster.bootstrap(), &group), &topic, options).await;
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (of_handler, of_stop) = (Arc::clone(&seen), Arc::clone(&stop));
        let handler = TypedHandler::new(Deserialize::<String, String>::default(), move |record: rkafka::consumer::TypedRecord<String, String>| {
            let (seen, stop) = (Arc::clone(&of_handler), Arc::clone(&of_stop));
            async move {
                let number: u32 = record.value.parse().map_err(|_| format!("{} digits are none", record.value.len()))?;
                if number == 13 {
                    return Err("nobody wants 13".to_owned());
                }
                seen.lock().unwrap().push(number);
                if number == 5 {
                    stop.notify_one();
                }
                Ok(())
            }
        });
        let bootstrap = cluster.bootstrap();
        let all_are_dead = async {
            stop.notified().await;
            eventually("three letters", || async {
                let letters = read_all(&bootstrap, &dead, 1).await.len();
                if letters == 3 { Ok(()) } else { Err(format!("{letters}")) }
            })
            .await;
        };
        in_time("the run", consumer.drive(all_are_dead, handler)).await.expect("nothing is fatal");
        in_time("the close", consumer.close()).await.expect("closed");
        assert_eq!(*seen.lock().unwrap(), [1, 3, 5]);
        assert_eq!(committed(&bootstrap, &group, &topic, 2).await, 6);

        let letters = read_all(&bootstrap, &dead, 1).await;
        for (letter, offset, attempts) in [(&letters[0], 1_usize, 1_u32), (&letters[1], 3, 3), (&letters[2], 5, 3)] {
            assert_eq!(letter.key.as_deref(), Some(&b"a key"[..]));
            assert_eq!(letter.value.as_deref(), Some(values[offset]));
            assert_eq!(letter.timestamp, 1_000 + offset as i64);
            let headers = headers(letter);
            assert_eq!(letter.headers[0].0, "trace", "the record's own come first");
            assert_eq!(headers["kafka_dlt-original-topic"], topic.as_bytes());
            assert_eq!(headers["kafka_dlt-original-partition"], 1_i32.to_be_bytes());
            assert_eq!(headers["kafka_dlt-original-offset"], (offset as i64).to_be_bytes());
            assert_eq!(headers["kafka_dlt-original-timestamp"], (1_000 + offset as i64).to_be_bytes());
            assert_eq!(headers["kafka_dlt-original-timestamp-type"], b"CreateTime");
            assert_eq!(headers["kafka_dlt-original-consumer-group"], group.as_bytes());
            assert_eq!(headers["kafka_deliveryAttempt"], attempts.to_be_bytes());
        }
        let message = |letter| String::from_utf8_lossy(headers(letter)["kafka_dlt-exception-message"]).into_owned();
        assert!(message(&letters[0]).contains("value") && !message(&letters[0]).contains('\u{fffd}'), "{}", message(&letters[0]));
        assert_eq!(message(&letters[1]), "nobody wants 13");
        assert_eq!(message(&letters[2]), "7 digits are none");
        sender.close(Duration::from_secs(30)).await.expect("closed");
    }
}

/// A run that waited for a topic that nobody had made waited for ever, and said so to the log only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_topic_that_is_not_there_ends_the_run_with_its_name() {
    let cluster = TestCluster::builder()
        .topic("t", 1)
        .topic("t-small", 1)
        .broker(|config| config.auto_create_topics_enable(false))
        .start()
        .await;
    let bootstrap = cluster.bootstrap();
    send(&bootstrap, "t", 1, 0..3).await;
    let sender =
        rkafka::producer::Producer::new(crate::support::producer_config(&bootstrap).max_block(Duration::from_secs(2)));
    let sender = sender.await.expect("a producer");
    let dead_letters = DeadLetterTopic::new(sender.clone());
    let options = ParallelOptions::default().last_resort(LastResort::DeadLetter(Arc::new(dead_letters)));
    let mut consumer = parallel(config(&bootstrap, "g"), "t", options).await;
    let run = consumer.run(|record| async move { if number(&record) == 1 { Err("poison") } else { Ok(()) } });
    let ended = in_time("the run", run).await;
    let Err(ParallelError::DeadLetter { offset: 1, source, .. }) = ended else { panic!("{ended:?}") };
    assert!(!source.is_retriable() && source.to_string().contains("`t-dlt`"), "{source}");
    in_time("the close", consumer.close()).await.expect("closed");
    assert_eq!(committed(&bootstrap, "g", "t", 1).await, 1, "the record is not given up");

    // A letter that is too large for its topic ends the run as well.
    let sender =
        rkafka::producer::Producer::new(crate::support::producer_config(&bootstrap).max_request_size(300_usize));
    let dead_letters = DeadLetterTopic::new(sender.await.expect("a producer")).suffix("-small");
    let options = ParallelOptions::default().last_resort(LastResort::DeadLetter(Arc::new(dead_letters)));
    let mut consumer = parallel(config(&bootstrap, "g"), "t", options).await;
    let run =
        consumer.run(|record| async move { if number(&record) == 1 { Err("poison ".repeat(99)) } else { Ok(()) } });
    let ended = in_time("the run", run).await;
    let Err(ParallelError::DeadLetter { offset: 1, source, .. }) = ended else { panic!("{ended:?}") };
    assert!(source.to_string().contains("max.request.size"), "{source}");
    in_time("the close", consumer.close()).await.expect("closed");
}
