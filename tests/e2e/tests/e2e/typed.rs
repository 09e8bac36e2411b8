//! Typed keys and values, and every way to send within a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::SinkExt as _;
use rkafka::consumer::{Consumer, IsolationLevel, Start};
use rkafka::producer::serialization::{
    Encoded, JsonDeserializer, JsonSerializer, LongDeserializer, Preparation, RecordHeaders, SerializationContext,
    SerializationError, Serializer, StringSerializer, UuidSerializer, serialize_with,
};
use rkafka::producer::{
    OwnedRecord, Producer, ProducerError, Record, Serializers, TransactionalProducer, TrySendError, TypedProducer,
    TypedRecord, blocking,
};
use rkafka::serialization::{Deserializer, Payload};
use rkafka_testkit::on_both;
use serde::{Deserialize, Serialize};

use crate::support::{LIMIT, consumer_config, in_time, producer_config, read_all, value_text};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    customer: String,
    apples: u32,
}

/// Asks once per topic, as the client of a schema registry does, and says in a header what it learnt.
#[derive(Default)]
struct Registered {
    is_ready: AtomicBool,
    asked: Arc<AtomicU32>,
}

impl Serializer<Order> for Registered {
    fn serialize(
        &self,
        context: SerializationContext<'_>,
        headers: &mut RecordHeaders<'_>,
        order: &Order,
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        if !self.is_ready.load(Ordering::Relaxed) {
            return Err(SerializationError::unprepared(context));
        }
        headers.add("schema", &b"7"[..]);
        JsonSerializer.serialize(context, headers, order, into)
    }

    fn prepare<'a>(&'a self, _: SerializationContext<'a>, _: &'a Order) -> Preparation<'a> {
        Box::pin(async {
            tokio::task::yield_now().await;
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.is_ready.store(true, Ordering::Relaxed);
            Ok(())
        })
    }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

on_both! {
    async fn typed_records_come_back_as_their_bytes(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("typed", 1, &[]).await);
        let numbers = TypedProducer::<str, Option<i64>>::new(producer_config(&bootstrap)).await.expect("a producer");
        let record = TypedRecord::to(&topic).key("a").value(&Some(7)).header("h", "1").timestamp(99);
        let written = in_time("room", is_send(numbers.send(record))).await.expect("accepted");
        assert_eq!(in_time("the answer", written).await.expect("written").timestamp, 99);
        drop(numbers.send(TypedRecord::to(&topic).key("a").value(&None)).await.expect("accepted"));
        drop(numbers.try_send(&TypedRecord::to(&topic).partition(0)).expect("accepted"));

        // Two more faces of the same producer: one that has to ask somebody first, one by a closure.
        let (registered, order) = (Registered::default(), Order { customer: "bob".to_owned(), apples: 3 });
        let asked = registered.asked.clone();
        let orders = numbers.producer().typed::<uuid::Uuid, Order>(Serializers::new(UuidSerializer, registered));
        let key = uuid::Uuid::from_u128(1);
        let record = || TypedRecord::to(&topic).key(&key).value(&order).header("own", "2");
        match orders.try_send(&record()) {
            Err(TrySendError::Refused(ProducerError::Serialization(error))) => assert!(error.is_unprepared(), "{error}"),
            other => panic!("{other:?}"),
        }
        let (told, answer) = tokio::sync::oneshot::channel();
        let callback = |result| drop(told.send(result));
        in_time("room", orders.send_with(record(), callback)).await.expect("accepted");
        in_time("the answer", answer).await.expect("called").expect("written");
        drop(orders.try_send(&record()).expect("prepared by now"));
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        let failing = serialize_with(|_: &u8, into: &mut Vec<u8>| {
            into.push(1);
            Err("no such number")
        });
        let failing = numbers.producer().typed::<str, u8>(Serializers::new(StringSerializer, failing));
        let error = failing.send(TypedRecord::to(&topic).key("k").value(&1)).await.expect_err("no bytes");
        assert!(matches!(error, ProducerError::Serialization(_)) && !error.maybe_written(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&topic) && text.contains("the value") && text.contains("no such number"), "{text}");
        numbers.close(LIMIT).await.expect("closed");

        let seen = read_all(&bootstrap, &topic, 1).await;
        let keys = seen.iter().map(|record| record.key.as_deref().map(String::from_utf8_lossy)).collect::<Vec<_>>();
        let id = "00000000-0000-0000-0000-000000000001";
        assert_eq!(keys, [Some("a".into()), Some("a".into()), None, Some(id.into()), Some(id.into())]);
        let context = SerializationContext::value(&topic);
        let payload = |at: usize| seen[at].value.as_deref().map(Payload::new);
        let number: Option<i64> = LongDeserializer.deserialize(context, Default::default(), payload(0)).expect("a number");
        assert_eq!((number, &seen[1].value, &seen[2].value), (Some(7), &None, &None));
        assert_eq!(seen[0].headers, [("h".to_owned(), Some(b"1".to_vec()))]);
        for at in [3, 4] {
            let read: Order = JsonDeserializer.deserialize(context, Default::default(), payload(at)).expect("an order");
            assert_eq!(read, order);
            let headers = seen[at].headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
            assert_eq!(headers, ["own", "schema"]);
        }
    }
}

on_both! {
    async fn typed_records_wait_for_memory_in_their_order(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("narrow", 1, &[]).await);
        let config = producer_config(&bootstrap).batch_size(1024_usize).buffer_memory(4096_usize);
        let producer = Producer::new(config).await.expect("a producer").typed::<i32, str>(Serializers::default());
        let values = (0..2000).map(|number: i32| (number, format!("{number} and {}", "x".repeat(50)))).collect::<Vec<_>>();
        let records = values.iter().map(|(key, value)| TypedRecord::to(&topic).key(key).value(value.as_str()));
        let sent = in_time("room", producer.send_many(records, &mut Vec::new())).await.expect("accepted");
        assert_eq!(sent, values.len());
        producer.close(LIMIT).await.expect("closed");
        let seen = read_all(&bootstrap, &topic, 1).await;
        let read = seen.iter().map(|record| {
            let key = i32::from_be_bytes(record.key.as_deref().expect("a key").try_into().expect("four bytes"));
            (key, String::from_utf8(record.value.clone().expect("a value")).expect("text"))
        });
        assert_eq!(read.collect::<Vec<_>>(), values);
    }
}

/// What is committed, over all partitions.
async fn committed(bootstrap: &str, topic: &str) -> BTreeMap<String, u32> {
    let config = consumer_config(bootstrap).isolation_level(IsolationLevel::ReadCommitted);
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.assign([(topic, 0, Start::Beginning)]).expect("assigned");
    let mut values = BTreeMap::new();
    while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("a record") {
        *values.entry(value_text(&record)).or_insert(0) += 1;
    }
    consumer.close().await.expect("closed");
    values
}

on_both! {
    async fn every_way_to_send_is_part_of_the_transaction(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("tx", 1, &[]).await);
        let config = producer_config(&bootstrap).transactional_id(cluster.unique("tx"));
        let mut producer = in_time("a producer", TransactionalProducer::new(config)).await.expect("a producer");
        let texts = Serializers::<str, str>::default();
        for (round, commit) in [("kept", true), ("gone", false)] {
            let value = |way: &str| format!("{round} {way}");
            let transaction = in_time("begin", producer.begin()).await.expect("begun");
            let values = ["many 1", "many 2"].map(value);
            let many = values.iter().map(|value| Record::to(&topic).value(value));
            assert_eq!(in_time("room", transaction.send_many(many, &mut Vec::new())).await.expect("accepted"), 2);
            let mut sink = transaction.sink();
            in_time("room", sink.feed(OwnedRecord::to(topic.clone()).value(value("sink")))).await.expect("accepted");
            in_time("the flush", sink.flush()).await.expect("written");
            drop(sink);
            let handle = in_time("the topic", transaction.topic(&topic)).await.expect("known");
            drop(handle.send(handle.record().value(&value("handle"))).await.expect("accepted"));
            drop(handle.try_send(&handle.record().value(&value("handle, at once"))).expect("accepted"));
            let typed = transaction.typed(&texts);
            drop(is_send(typed.send(TypedRecord::to(&topic).key("k").value(&value("typed")))).await.expect("accepted"));
            // What has no bytes was never sent, and dooms nothing, as in Java.
            let no_bytes = Serializers::<str, str>::new(StringSerializer, serialize_with(|_: &str, _: &mut Vec<u8>| Err("no")));
            let error = transaction.typed(&no_bytes).send(TypedRecord::to(&topic).value("x")).await;
            assert!(matches!(error, Err(ProducerError::Serialization(_))), "{error:?}");
            assert!(transaction.error().is_none());
            let ended = async { if commit { transaction.commit().await } else { transaction.abort().await } };
            in_time("the end", ended).await.expect("ended");
        }
        // A refused record dooms the transaction, whichever way it came.
        for way in 0..3 {
            let transaction = in_time("begin", producer.begin()).await.expect("begun");
            let refused = match way {
                0 => transaction.send_many([Record::to(&topic).partition(7)], &mut Vec::new()).await.map(drop),
                1 => transaction.sink().send(OwnedRecord::to(topic.clone()).partition(7)).await,
                _ => {
                    let handle = transaction.topic(&topic).await.expect("known");
                    handle.send(handle.record().partition(7)).await.map(drop)
                }
            };
            assert!(matches!(refused, Err(ProducerError::UnknownPartition { .. })), "{way}: {refused:?}");
            let error = in_time("the commit", transaction.commit()).await.expect_err("doomed");
            assert!(error.is_abortable(), "{error:?}");
        }
        // A sink that is dropped with a record that was not accepted: the transaction is not committed without it.
        let transaction = in_time("begin", producer.begin()).await.expect("begun");
        let mut sink = transaction.sink();
        sink.feed(OwnedRecord::to(cluster.unique("never-seen")).value("waits")).await.expect("taken");
        drop(sink);
        assert!(in_time("the commit", transaction.commit()).await.expect_err("doomed").to_string().contains("sink"));
        producer.close(LIMIT).await.expect("closed");
        let kept = ["many 1", "many 2", "sink", "handle", "handle, at once", "typed"];
        let expected = kept.iter().map(|way| (format!("kept {way}"), 1)).collect::<BTreeMap<_, _>>();
        assert_eq!(committed(&bootstrap, &topic).await, expected);
    }
}

on_both! {
    async fn transactions_block_where_there_is_no_runtime(cluster: &Cluster) {
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("blocking-tx", 1, &[]).await);
        let config = producer_config(&bootstrap).transactional_id(cluster.unique("tx"));
        let name = topic.clone();
        let thread = std::thread::spawn(move || {
            let mut producer = blocking::TransactionalProducer::new(config).expect("a producer");
            let texts = Serializers::<str, str>::default();
            for (round, commit) in [("kept", true), ("gone", false)] {
                let transaction = producer.begin().expect("begun");
                let record = Record::to(&name).value(round);
                drop(transaction.send(record.clone()).expect("accepted"));
                transaction.send_many([record.clone(), record], &mut Vec::new()).expect("accepted");
                drop(transaction.typed(&texts).send(TypedRecord::to(&name).value(round)).expect("accepted"));
                transaction.flush().expect("flushed");
                if commit { transaction.commit() } else { transaction.abort() }.expect("ended");
                assert_eq!(producer.last_was_committed().expect("known"), commit);
            }
            let left = producer.begin().expect("begun");
            drop(left.send(Record::to(&name).value("left behind")).expect("accepted"));
            drop(left);
            // Not closed: the drop waits for the abort.
        });
        in_time("the thread", tokio::task::spawn_blocking(move || thread.join())).await.expect("run").expect("no panic");
        assert_eq!(committed(&bootstrap, &topic).await, BTreeMap::from([("kept".to_owned(), 4)]));
    }
}
