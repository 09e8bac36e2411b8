//! What is promised of every record: it arrives once and in order, or its sender is told.

use std::time::Duration;

use rkafka_producer::{ClientSettings as _, Producer, ProducerError, Record, TrySendError};
use rkafka_protocol::{ApiKey, ErrorCode};

use crate::broker::{Act, now};
use crate::net::{Loopback, Net, pause};

#[tokio::test(start_paused = true)]
async fn records_arrive_in_order_over_lost_answers_and_refusals() {
    let net = Net::new(1, 1);
    net.cluster.on_produce(|request| match request % 7 {
        1 => Act::Refuse(ErrorCode::NotEnoughReplicas),
        3 => Act::DoAndHangUp,
        5 => Act::Refuse(ErrorCode::NotLeaderOrFollower),
        _ => Act::Do,
    });
    let producer = net.producer(net.config().batch_size(100_usize)).await;
    let mut deliveries = Vec::new();
    for number in 0..300 {
        deliveries.push(producer.send(Record::to("t").value(&number.to_string())).await.unwrap());
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let metadata = delivery.await.unwrap();
        assert_eq!((&*metadata.topic, metadata.partition, metadata.offset), ("t", 0, number as i64));
    }
    producer.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(net.cluster.state().values(0), (0..300).map(|number| number.to_string()).collect::<Vec<_>>());
    let closed = producer.send(Record::to("t").value("late")).await;
    assert!(matches!(closed, Err(ProducerError::Closed { maybe_written: false })));
}

#[tokio::test(start_paused = true)]
async fn flush_does_not_overtake_the_news() {
    use futures_util::FutureExt as _;
    let net = Net::new(1, 1);
    let producer = net.producer(net.config()).await;
    let (told, heard) = tokio::sync::oneshot::channel();
    let flushing = producer.clone();
    // The batch has left its queue by now, and who waits for the record is being told.
    let callback = move |result: rkafka_producer::DeliveryResult| {
        told.send((result.is_ok(), flushing.flush().now_or_never().is_some())).unwrap();
    };
    producer.send_with(Record::to("t").value("v"), callback).await.unwrap();
    producer.flush().await;
    assert_eq!(heard.now_or_never().unwrap(), Ok((true, false)));
    assert!(producer.flush().now_or_never().is_some(), "nothing is left to be told");
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_is_sent_though_the_producer_is_dropped() {
    let net = Net::new(1, 1);
    let config = net.config().linger(Duration::from_secs(3600)).delivery_timeout(Duration::from_secs(7200));
    let producer = net.producer(config).await;
    let delivery = producer.send(Record::to("t").value("last words")).await.unwrap();
    let (told, heard) = tokio::sync::oneshot::channel();
    let callback = |result: rkafka_producer::DeliveryResult| told.send(result.unwrap().offset).unwrap();
    producer.send_with(Record::to("t").value("with a callback"), callback).await.unwrap();
    let before = now();
    drop(producer);
    assert_eq!(delivery.await.unwrap().offset, 0);
    assert_eq!(heard.await.unwrap(), 1);
    assert_eq!(net.cluster.state().values(0), ["last words", "with a callback"]);
    assert!(now() - before < Duration::from_secs(1), "nothing lingers after the end");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_there_is_named() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config().max_block(Duration::from_millis(50))).await;
    let text = producer.send(Record::to("nowhere")).await.unwrap_err().to_string();
    assert!(
        text.contains("`nowhere`") && text.contains("create it") && text.contains("UNKNOWN_TOPIC_OR_PARTITION"),
        "{text}"
    );
    let error = producer.send(Record::to("t").partition(3)).await.unwrap_err();
    assert!(matches!(error, ProducerError::UnknownPartition { partition: 3, partitions: 1, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_panics_alone() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config()).await;
    producer.send_with(Record::to("t").value("one"), |_| panic!("a mistake of the application")).await.unwrap();
    producer.flush().await;
    let delivery = producer.send(Record::to("t").value("two")).await.unwrap();
    let metadata = tokio::time::timeout(Duration::from_secs(20), delivery).await.expect("the sender lives").unwrap();
    assert_eq!(metadata.offset, 1);
}

#[test]
fn a_runtime_that_ends_leaves_no_delivery_without_an_answer() {
    let broker = Loopback::start();
    broker.cluster.on_produce(|_| Act::Silence);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (producer, under_way, lingering) = runtime.block_on(async {
        let producer = Producer::new(broker.config()).await.unwrap();
        let under_way = producer.send(Record::to("t").value("one")).await.unwrap();
        while broker.cluster.state().produced.is_empty() {
            tokio::task::yield_now().await;
        }
        let lingering = producer.send(Record::to("t").value("two")).await.unwrap();
        (producer, under_way, lingering)
    });
    drop(runtime);
    // The producer is still held, as by a static of the application.
    for (delivery, may_be) in [(under_way, true), (lingering, false)] {
        let result = delivery.try_result().expect("resolved with the runtime");
        assert!(
            matches!(result, Err(ProducerError::Closed { maybe_written }) if maybe_written == may_be),
            "{result:?}"
        );
    }
    assert!(matches!(producer.try_send(&Record::to("t")), Err(TrySendError::Refused(ProducerError::Closed { .. }))));
}

#[test]
fn senders_live_on_the_runtime_of_the_producer() {
    let broker = Loopback::start();
    let (home, away) = (tokio::runtime::Runtime::new().unwrap(), tokio::runtime::Runtime::new().unwrap());
    let producer = home.block_on(Producer::new(broker.config())).unwrap();
    // The first record makes the topic known and the broker's sender start: from a runtime that soon ends.
    away.block_on(async { producer.send(Record::to("t").value("one")).await.unwrap().await.unwrap() });
    drop(away);
    let second = home.block_on(async {
        let delivery = producer.send(Record::to("t").value("two")).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), delivery).await.expect("the sender lives")
    });
    assert_eq!(second.unwrap().offset, 1);
}

#[test]
fn a_runtime_that_ends_before_the_producer_ran_takes_it_along() {
    let broker = Loopback::start();
    let home = tokio::runtime::Runtime::new().unwrap();
    let client = home.block_on(rkafka_client_core::Client::connect(broker.config().client)).unwrap();
    let brief = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let producer = brief.block_on(async { Producer::over(client, broker.config()) }).unwrap();
    drop(brief);
    let fate = async { producer.send(Record::to("t").value("one")).await?.await };
    let fate = home.block_on(async { tokio::time::timeout(Duration::from_secs(20), fate).await });
    assert!(matches!(fate, Ok(Err(ProducerError::Closed { maybe_written: false }))), "{fate:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_metadata_is_told_that_the_producer_closed() {
    let net = Net::new(1, 1);
    let client = rkafka_client_core::Client::connect_with(net.config().client, net.options()).await.unwrap();
    let producer = Producer::over(client, net.config()).unwrap();
    let waiting = producer.clone();
    let waiting = crate::net::spawn(async move { waiting.send(Record::to("nowhere").value("x")).await });
    pause(Duration::from_millis(10)).await;
    let before = now();
    producer.close(Duration::from_secs(1)).await.unwrap();
    let told = waiting.await.unwrap();
    assert!(matches!(told, Err(ProducerError::Closed { maybe_written: false })), "{told:?}");
    assert!(now() - before < Duration::from_secs(1), "not after `max.block.ms`");
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_the_topic_got_since_is_found() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config()).await;
    let topic = producer.topic("t").await.unwrap();
    assert_eq!(topic.partitions(), 1);
    net.cluster.state().add_partition();
    net.cluster.state().add_partition();
    let delivery = topic.send(topic.record().partition(2).value("x")).await.unwrap();
    assert_eq!((delivery.partition(), topic.partitions()), (2, 3));
    let error = topic.send(topic.record().partition(3).value("x")).await.unwrap_err();
    assert!(matches!(error, ProducerError::UnknownPartition { partition: 3, partitions: 3, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_record_that_is_accepted_beside_close_has_an_answer() {
    let broker = Loopback::start();
    for round in 0..30 {
        let producer = Producer::new(broker.config().enable_idempotence(false)).await.unwrap();
        let topic = producer.topic("t").await.unwrap();
        let threads = (0..3)
            .map(|_| {
                let topic = topic.clone();
                std::thread::spawn(move || {
                    let mut accepted = Vec::new();
                    loop {
                        match topic.try_send(&topic.record().value("x")) {
                            Ok(delivery) => accepted.push(delivery),
                            Err(TrySendError::Refused(_)) => return accepted,
                            Err(_) => {}
                        }
                    }
                })
            })
            .collect::<Vec<_>>();
        pause(Duration::from_millis(1 + round % 3)).await;
        let _ = producer.close(Duration::from_millis(round % 5)).await;
        for thread in threads {
            for delivery in thread.join().unwrap() {
                assert!(delivery.try_result().is_some(), "accepted, and never told of");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_wait_for_a_producer_id_tell_why_there_is_none() {
    let net = Net::new(1, 1);
    net.cluster.script(|call| match call.key {
        ApiKey::InitProducerId => Act::Refuse(ErrorCode::ClusterAuthorizationFailed),
        _ => Act::Do,
    });
    let config = net.config().request_timeout(Duration::from_millis(200)).delivery_timeout(Duration::from_millis(400));
    let producer = net.producer(config).await;
    let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
    assert!(error.to_string().contains("CLUSTER_AUTHORIZATION_FAILED"), "{error}");
    assert!(matches!(error, ProducerError::DeliveryTimeout { maybe_written: false, .. }), "{error:?}");
}
