//! Transactions: what is committed is seen whole, what is aborted is not seen, and who is fenced can do nothing more.

use std::time::Duration;

use rkafka::client::{Client, ClientConfig, CommittedOffset, GroupMetadata, Lane, Target, TopicPartition};
use rkafka::consumer::{Consumer, IsolationLevel, Start};
use rkafka::producer::{ProducerError, Record, TransactionError, TransactionalProducer};
use rkafka::protocol::messages::UpdateFeaturesRequest;
use rkafka::protocol::messages::update_features_request::FeatureUpdateKey;
use rkafka_testkit::{RealKafka, TestCluster, create_topic, on_both, skipped};

use crate::support::{LIMIT, consumer_config, in_time, producer_config, value_text};

async fn transactional(bootstrap: &str, id: &str) -> TransactionalProducer {
    let config = producer_config(bootstrap).transactional_id(id.to_owned());
    in_time("a transactional producer", TransactionalProducer::new(config)).await.expect("a transactional producer")
}

/// What a consumer with `read_committed` finds in partition 0, up to the last stable offset.
async fn committed(bootstrap: &str, topic: &str) -> Vec<String> {
    let config = consumer_config(bootstrap).isolation_level(IsolationLevel::ReadCommitted);
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.assign([(topic, 0, Start::Beginning)]).expect("assigned");
    let mut values = Vec::new();
    while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("a record") {
        values.push(value_text(&record));
    }
    consumer.close().await.expect("closed");
    values
}

on_both! {
    // Shows: isolation.level.
    async fn what_is_committed_is_seen_and_what_is_aborted_is_not(cluster: &Cluster) {
        let topic = cluster.topic("committed", 1, &[]).await;
        let mut producer = transactional(&cluster.bootstrap(), &cluster.unique("tx")).await;
        for round in 0..4 {
            let transaction = in_time("begin", producer.begin()).await.expect("begun");
            for index in 0..3 {
                let value = format!("{round}.{index}");
                let delivery = transaction.send(Record::to(&topic).value(&value)).await.expect("accepted");
                if index == 2 {
                    in_time("the acknowledgement", delivery).await.expect("written");
                }
            }
            let ended = async { if round % 2 == 0 { transaction.commit().await } else { transaction.abort().await } };
            in_time("the end", ended).await.expect("ended");
        }
        let transaction = in_time("begin", producer.begin()).await.expect("begun");
        drop(transaction.send(Record::to(&topic).value("dropped")).await.expect("accepted"));
        transaction.flush().await;
        drop(transaction);
        // One without anything in it costs the coordinator nothing.
        in_time("an empty one", producer.begin().await.expect("begun").commit()).await.expect("committed");
        let last = in_time("begin", producer.begin()).await.expect("begun");
        drop(last.send(Record::to(&topic).value("last")).await.expect("accepted"));
        in_time("the commit", last.commit()).await.expect("committed");
        assert!(producer.last_was_committed().await.expect("known"));
        assert_eq!(committed(&cluster.bootstrap(), &topic).await, ["0.0", "0.1", "0.2", "2.0", "2.1", "2.2", "last"]);
        producer.close(LIMIT).await.expect("closed");
    }
}

on_both! {
    async fn a_second_producer_fences_the_first(cluster: &Cluster) {
        let topic = cluster.topic("fenced", 1, &[]).await;
        let id = cluster.unique("tx");
        let mut first = transactional(&cluster.bootstrap(), &id).await;
        let transaction = first.begin().await.expect("begun");
        let delivery = transaction.send(Record::to(&topic).value("of the first")).await.expect("accepted");
        in_time("the acknowledgement", delivery).await.expect("written");
        let mut second = transactional(&cluster.bootstrap(), &id).await;
        let error = in_time("the commit", transaction.commit()).await.expect_err("fenced");
        assert!(error.is_fenced() && error.is_fatal() && !error.is_abortable(), "{error:?}");
        assert!(!error.may_have_been_written() && error.to_string().contains(&id), "{error}");
        assert!(first.begin().await.expect_err("still fenced").is_fenced());
        let transaction = in_time("begin", second.begin()).await.expect("begun");
        drop(transaction.send(Record::to(&topic).value("of the second")).await.expect("accepted"));
        in_time("the commit", transaction.commit()).await.expect("committed");
        assert_eq!(committed(&cluster.bootstrap(), &topic).await, ["of the second"]);
    }
}

on_both! {
    async fn a_transaction_that_takes_too_long_is_aborted_by_its_coordinator(cluster: &Cluster) {
        let topic = cluster.topic("slow", 1, &[]).await;
        let config = producer_config(&cluster.bootstrap())
            .transactional_id(cluster.unique("tx"))
            .transaction_timeout(Duration::from_millis(100));
        let mut producer = in_time("a producer", TransactionalProducer::new(config)).await.expect("a producer");
        let transaction = producer.begin().await.expect("begun");
        let delivery = transaction.send(Record::to(&topic).value("too late")).await.expect("accepted");
        in_time("the acknowledgement", delivery).await.expect("written");
        // A record beside it is seen by who reads only what is committed, once the transaction is aborted.
        let plain = crate::support::producer(&cluster.bootstrap()).await;
        in_time("beside", plain.send(Record::to(&topic).value("beside")).await.expect("accepted")).await.expect("written");
        let config = consumer_config(&cluster.bootstrap()).isolation_level(IsolationLevel::ReadCommitted);
        let mut consumer = Consumer::connect(config).await.expect("a consumer");
        consumer.assign([(topic.as_str(), 0, Start::Beginning)]).expect("assigned");
        assert_eq!(value_text(&in_time("the record beside", consumer.recv()).await.expect("a record")), "beside");
        let error = in_time("the commit", transaction.commit()).await.expect_err("too late");
        assert!(error.is_abortable() && error.to_string().contains("transaction.timeout.ms"), "{error:?}");
        assert!(!error.may_have_been_written());
        let next = in_time("begin", producer.begin()).await.expect("the producer lives on");
        drop(next.send(Record::to(&topic).value("in time")).await.expect("accepted"));
        // A busy machine may take longer than the timeout, and says so.
        if let Err(error) = in_time("the commit", next.commit()).await {
            assert!(error.is_abortable(), "{error:?}");
        }
    }
}

on_both! {
    async fn a_refused_record_dooms_the_transaction_and_the_next_one_is_well(cluster: &Cluster) {
        let topic = cluster.topic("small", 1, &[("max.message.bytes", "2000")]).await;
        let mut producer = transactional(&cluster.bootstrap(), &cluster.unique("tx")).await;
        let transaction = producer.begin().await.expect("begun");
        drop(transaction.send(Record::to(&topic).value("before")).await.expect("accepted"));
        transaction.flush().await;
        let large = transaction.send(Record::to(&topic).value(&[0; 5_000])).await.expect("accepted");
        assert!(in_time("the refusal", large).await.is_err());
        let refused = transaction.send(Record::to(&topic).value("behind")).await;
        assert!(matches!(refused, Err(ProducerError::TransactionAborted { maybe_written: false, .. })), "{refused:?}");
        assert!(transaction.error().is_some_and(|error| error.is_abortable()));
        let error = in_time("the commit", transaction.commit()).await.expect_err("it cannot be committed");
        assert!(error.is_abortable() && !error.may_have_been_written(), "{error:?}");
        assert!(matches!(error, TransactionError::Record(ProducerError::Refused { .. })), "{error:?}");
        for round in 0..2 {
            let transaction = in_time("begin", producer.begin()).await.expect("begun");
            drop(transaction.send(Record::to(&topic).value(&format!("well {round}"))).await.expect("accepted"));
            in_time("the commit", transaction.commit()).await.expect("committed");
        }
        assert_eq!(committed(&cluster.bootstrap(), &topic).await, ["well 0", "well 1"]);
    }
}

on_both! {
    async fn offsets_are_committed_with_the_transaction_only(cluster: &Cluster) {
        let topic = cluster.topic("offsets", 1, &[]).await;
        let (id, group) = (cluster.unique("tx"), cluster.unique("group"));
        let place = TopicPartition::new(topic.as_str(), 0);
        let mut producer = transactional(&cluster.bootstrap(), &id).await;
        let reader = Consumer::connect(consumer_config(&cluster.bootstrap()).group_id(group.clone())).await;
        let reader = reader.expect("a consumer");
        for (offset, commit, seen) in [(5, false, None), (7, true, Some(7)), (9, false, Some(7))] {
            let transaction = in_time("begin", producer.begin()).await.expect("begun");
            let offsets = [(place.clone(), CommittedOffset::new(offset).with_metadata("of a transaction"))];
            let sent = transaction.send_offsets(offsets, GroupMetadata::new(group.clone()));
            in_time("the offsets", sent).await.expect("taken");
            let ended = async { if commit { transaction.commit().await } else { transaction.abort().await } };
            in_time("the end", ended).await.expect("ended");
            let found = in_time("the offset", reader.committed(std::slice::from_ref(&place))).await.expect("an answer");
            assert_eq!(found[0].1.as_ref().map(|found| found.offset), seen);
        }
        // A member of a generation that is gone is fenced off, and the producer lives on.
        let transaction = in_time("begin", producer.begin()).await.expect("begun");
        let stranger = GroupMetadata::new(group.clone()).with_member(3, "somebody", None);
        let offsets = [(place.clone(), CommittedOffset::new(11))];
        let error = in_time("the offsets", transaction.send_offsets(offsets, stranger)).await.expect_err("refused");
        assert!(error.is_abortable() && matches!(error, TransactionError::Offsets { .. }), "{error:?}");
        in_time("the abort", transaction.abort()).await.expect("aborted");
        in_time("begin", producer.begin()).await.expect("begun").commit().await.expect("committed");
        reader.close().await.expect("closed");
    }
}

#[tokio::test]
async fn settings_that_do_not_go_together_are_refused() {
    let config = producer_config("127.0.0.1:1");
    let error = TransactionalProducer::new(config.clone()).await.expect_err("no id");
    assert!(error.to_string().contains("transactional.id") && error.is_fatal(), "{error}");
    let error = TransactionalProducer::new(config.clone().transactional_id("tx").enable_idempotence(false)).await;
    assert!(error.expect_err("not idempotent").to_string().contains("enable.idempotence"));
    let plain = rkafka::producer::Producer::new(config.transactional_id("tx")).await.expect_err("not transactional");
    assert!(plain.to_string().contains("TransactionalProducer"), "{plain}");
}

/// Sets `transaction.version` to 1, by which producers add partitions and groups by themselves (before KIP-890).
async fn use_version_1(bootstrap: &str) {
    let config = ClientConfig::new().bootstrap_servers(bootstrap);
    let client = Client::connect(config).await.expect("a client");
    let update = FeatureUpdateKey {
        feature: "transaction.version".to_owned(),
        max_version_level: 1,
        // A downgrade that loses nothing.
        upgrade_type: 2,
        ..FeatureUpdateKey::default()
    };
    let request =
        UpdateFeaturesRequest { timeout_ms: 60_000, feature_updates: vec![update], ..UpdateFeaturesRequest::default() };
    let response = in_time("the features", client.request_any(request)).await.expect("an answer");
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    client.close();
    // A broker tells the level that it has to each connection anew, and may be a moment behind.
    loop {
        let client = Client::connect(ClientConfig::new().bootstrap_servers(bootstrap)).await.expect("a client");
        let connection = client.connection(&Target::Any, Lane::Control).await.expect("a connection");
        let level = connection.versions().feature("transaction.version");
        client.close();
        if level == Some(1) {
            return;
        }
    }
}

async fn version_1(bootstrap: &str) {
    use_version_1(bootstrap).await;
    let (address, topic) = (bootstrap.to_owned(), "version-1");
    let created = tokio::task::spawn_blocking(move || {
        create_topic(&address, "version-1", 3, &[("max.message.bytes", "2000")]);
    });
    created.await.expect("created");
    let place = TopicPartition::new(topic, 1);
    let mut producer = transactional(bootstrap, "tx-1").await;
    for round in 0..6 {
        let transaction = in_time("begin", producer.begin()).await.expect("begun");
        for partition in 0..3 {
            let value = format!("{round}");
            let record = Record::to(topic).partition(partition).value(&value);
            drop(transaction.send(record).await.expect("accepted"));
        }
        let offsets = [(place.clone(), CommittedOffset::new(round))];
        in_time("the offsets", transaction.send_offsets(offsets, GroupMetadata::new("group-1"))).await.expect("taken");
        match round % 3 {
            0 => in_time("the commit", transaction.commit()).await.expect("committed"),
            1 => in_time("the abort", transaction.abort()).await.expect("aborted"),
            _ => {
                // Refused, so that sequence numbers are missing: the epoch must be bumped for the next one (KIP-360).
                drop(transaction.send(Record::to(topic).partition(0).value(&[0; 3_000])).await.expect("accepted"));
                let error = in_time("the commit", transaction.commit()).await.expect_err("it cannot be committed");
                assert!(error.is_abortable(), "{error:?}");
            }
        }
    }
    assert_eq!(committed(bootstrap, topic).await, ["0", "3"]);
    let reader = Consumer::connect(consumer_config(bootstrap).group_id("group-1")).await.expect("a consumer");
    let found = in_time("the offset", reader.committed(&[place])).await.expect("an answer");
    assert_eq!(found[0].1.as_ref().map(|found| found.offset), Some(3));
    reader.close().await.expect("closed");
    let _second = transactional(bootstrap, "tx-1").await;
    let transaction = in_time("begin", producer.begin()).await.expect("begun");
    drop(transaction.send(Record::to(topic).value("fenced")).await.expect("accepted"));
    assert!(in_time("the commit", transaction.commit()).await.expect_err("fenced").is_fenced());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_by_version_1_on_the_embedded_broker() {
    version_1(&TestCluster::start().await.bootstrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_by_version_1_on_real_kafka() {
    // One of its own, for the level is the whole cluster's.
    match tokio::task::spawn_blocking(|| RealKafka::start(1)).await.expect("it can be tried") {
        Ok(kafka) => version_1(&kafka.bootstrap()).await,
        Err(why) => skipped("transactions_by_version_1_on_real_kafka", &why),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_survive_crashes_of_the_broker() {
    let cluster = TestCluster::builder().topic("survivor", 1).on_disk().start().await;
    let mut producer = transactional(&cluster.bootstrap(), "tx").await;
    let mut expected = Vec::new();
    for round in 0..8 {
        let transaction = in_time("begin", producer.begin()).await.expect("begun");
        for index in 0..3 {
            let value = format!("{round}.{index}");
            drop(transaction.send(Record::to("survivor").value(&value)).await.expect("accepted"));
        }
        if round % 2 == 0 {
            transaction.flush().await;
        }
        cluster.crash().await;
        let (ended, ()) = tokio::join!(in_time("the commit", transaction.commit()), cluster.start_again());
        match ended {
            Ok(()) => expected.extend((0..3).map(|index| format!("{round}.{index}"))),
            Err(error) => panic!("{error}: a crash is nothing that a retry cannot mend"),
        }
    }
    assert_eq!(committed(&cluster.bootstrap(), "survivor").await, expected);
}
