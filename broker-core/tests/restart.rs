//! What was acknowledged is there after the broker stopped, in good order or not.

mod common;

use common::{Client, batch, config_at, idempotent_batch};
use rkafka_broker_core::{Broker, BrokerError, DataDirError};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::InitProducerIdRequest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_topics_and_producers_outlive_every_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    let mut producer_ids = Vec::new();
    let mut cluster_id = None;
    for (round, clean) in [(0, true), (1, false), (2, false), (3, true), (4, true)] {
        let broker = Broker::start(config_at(dir.path())).await.unwrap();
        let cluster = broker.state().cluster_id().to_owned();
        assert_eq!(*cluster_id.get_or_insert(cluster.clone()), cluster);
        let mut client = Client::connect(&broker).await;
        if round == 0 {
            client.create_topic("t", 3, &[("segment.ms", "60000")]).await;
        }
        assert_eq!(client.values("t", 1, 0).await, expected);
        let id = client.call(&InitProducerIdRequest { transactional_id: None, ..Default::default() }, 5).await;
        assert_eq!(id.error_code, 0);
        assert!(!producer_ids.contains(&id.producer_id), "{} was given before", id.producer_id);
        producer_ids.push(id.producer_id);
        for number in 0..20 {
            let value = format!("{round}-{number}");
            let answer = client.produce("t", 1, batch(&[&value])).await;
            assert_eq!((answer.error_code, answer.base_offset), (0, expected.len() as i64));
            expected.push(value);
        }
        // The producer of the first round goes on where it was, whatever happened meanwhile, and its retry is known.
        let first = producer_ids[0];
        let value = format!("p{round}");
        let answer = client.produce("t", 2, idempotent_batch(first, 0, round, &value)).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(round)));
        let again = client.produce("t", 2, idempotent_batch(first, 0, round, &value)).await;
        assert_eq!((again.error_code, again.base_offset), (0, i64::from(round)));
        if clean {
            broker.shutdown().await.unwrap();
        } else {
            drop(broker);
        }
    }
    let broker = Broker::start(config_at(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    assert_eq!(client.values("t", 2, 0).await, ["p0", "p1", "p2", "p3", "p4"]);
    let image = broker.state().image();
    // Two stops were not in good order, so there are two more leader epochs.
    assert_eq!(image.topic("t").unwrap().partition(0).unwrap().leader_epoch, 2);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_has_one_broker_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = Broker::start(config_at(dir.path())).await.unwrap();
    let second = Broker::start(config_at(dir.path())).await.unwrap_err();
    assert!(matches!(second, BrokerError::DataDirs(DataDirError::InUse(_))), "{second}");
    first.shutdown().await.unwrap();
    let other = Broker::start(config_at(dir.path()).node_id(2)).await.unwrap_err();
    assert!(other.to_string().contains("node.id=1"), "{other}");
    Broker::start(config_at(dir.path())).await.unwrap().shutdown().await.unwrap();
}

#[tokio::test]
async fn a_deleted_topic_leaves_nothing_to_its_successor() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config_at(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, batch(&["old"])).await;
    let request =
        rkafka_protocol::messages::DeleteTopicsRequest { topic_names: vec!["t".to_owned()], ..Default::default() };
    assert_eq!(client.call(&request, 5).await.responses[0].error_code, 0);
    assert_eq!(client.fetch("t", 0, 0).await.error_code, ErrorCode::UnknownTopicOrPartition.code());
    client.create_topic("t", 1, &[]).await;
    assert_eq!(client.values("t", 0, 0).await, Vec::<String>::new());
    client.produce("t", 0, batch(&["new"])).await;
    drop(broker);
    let broker = Broker::start(config_at(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    assert_eq!(client.values("t", 0, 0).await, ["new"]);
    assert!(
        !std::fs::read_dir(dir.path())
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().ends_with("-delete") })
    );
}

#[tokio::test]
async fn deleted_records_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config_at(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    for value in ["a", "b", "c"] {
        client.produce("t", 0, batch(&[value])).await;
    }
    assert_eq!(delete_records(&mut client, 2).await, (0, 2));
    assert_eq!(delete_records(&mut client, 9).await, (ErrorCode::OffsetOutOfRange.code(), -1));
    drop(broker);
    let broker = Broker::start(config_at(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    assert_eq!(client.list_offset("t", 0, -2).await.offset, 2);
    assert_eq!(client.fetch("t", 0, 1).await.error_code, ErrorCode::OffsetOutOfRange.code());
    assert_eq!(client.values("t", 0, 2).await, ["c"]);
}

async fn delete_records(client: &mut Client, offset: i64) -> (i16, i64) {
    use rkafka_protocol::messages::DeleteRecordsRequest;
    use rkafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let partition = DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() };
    let topic = DeleteRecordsTopic { name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    let answer = client.call(&request, 2).await.topics[0].partitions[0].clone();
    (answer.error_code, answer.low_watermark)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "a test drives its clients")]
async fn a_topic_that_comes_and_goes_under_load_never_mixes_with_its_successor() {
    let dir = tempfile::tempdir().unwrap();
    let broker = std::sync::Arc::new(Broker::start(config_at(dir.path())).await.unwrap());
    let producers: Vec<_> = (0..3)
        .map(|_| {
            let broker = std::sync::Arc::clone(&broker);
            tokio::spawn(async move {
                let mut client = Client::connect(&broker).await;
                for _ in 0..300 {
                    let error = ErrorCode::from_code(client.produce("t", 0, batch(&["v"])).await.error_code);
                    let expected =
                        [ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::NotLeaderOrFollower];
                    assert!(expected.contains(&error), "{error:?}");
                }
            })
        })
        .collect();
    let mut admin = Client::connect(&broker).await;
    for _ in 0..30 {
        admin.create_topic("t", 1, &[]).await;
        let delete =
            rkafka_protocol::messages::DeleteTopicsRequest { topic_names: vec!["t".to_owned()], ..Default::default() };
        assert_eq!(admin.call(&delete, 5).await.responses[0].error_code, 0);
        assert!(!dir.path().join("t-0").exists(), "a deleted topic left its directory");
    }
    for producer in producers {
        producer.await.unwrap();
    }
    admin.create_topic("t", 1, &[]).await;
    assert_eq!(admin.produce("t", 0, batch(&["own"])).await.base_offset, 0);
    assert_eq!(admin.values("t", 0, 0).await, ["own"]);
}

#[tokio::test]
async fn a_good_stop_hides_no_bad_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config_at(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    for value in ["a", "b", "c"] {
        client.produce("t", 0, batch(&[value])).await;
    }
    drop(broker);
    // The machine lost power before the last byte was on the disk.
    let path = dir.path().join("t-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    // Nobody looks at the partition while the next broker runs, and that one stops in good order.
    Broker::start(config_at(dir.path())).await.unwrap().shutdown().await.unwrap();
    let broker = Broker::start(config_at(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    assert_eq!(client.list_offset("t", 0, -1).await.offset, 2, "a batch whose checksum is wrong is served");
    assert_eq!(client.values("t", 0, 0).await, ["a", "b"]);
}

#[tokio::test]
async fn a_directory_that_is_gone_takes_its_partitions_offline_and_they_do_not_begin_anew() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = |dirs: &[&std::path::Path]| {
        let dirs: Vec<&str> = dirs.iter().map(|dir| dir.to_str().unwrap()).collect();
        config_at(first.path()).log_dirs(dirs.join(","))
    };
    let both = [first.path(), second.path()];
    let broker = Broker::start(config(&both)).await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 4, &[]).await;
    for partition in 0..4 {
        assert_eq!(client.produce("t", partition, batch(&[&format!("v{partition}")])).await.error_code, 0);
    }
    broker.shutdown().await.unwrap();
    let is_gone = |partition: &i32| second.path().join(format!("t-{partition}")).exists();
    let gone: Vec<i32> = (0..4).filter(is_gone).collect();
    assert_eq!(gone.len(), 2);

    let error = Broker::start(config(&[second.path(), first.path()])).await.unwrap_err();
    assert!(matches!(error, BrokerError::DataDirs(DataDirError::MetadataElsewhere(_))), "{error}");
    let error = Broker::start(config(&[second.path()])).await.unwrap_err();
    assert!(matches!(error, BrokerError::DataDirs(DataDirError::NoMetadata { .. })), "{error}");

    for round in 0..2 {
        let broker = Broker::start(config(&[first.path()])).await.unwrap();
        let mut client = Client::connect(&broker).await;
        for partition in 0..4 {
            let answer = client.produce("t", partition, batch(&["more"])).await;
            let expected = if gone.contains(&partition) { ErrorCode::KafkaStorageError } else { ErrorCode::None };
            assert_eq!(answer.error_code, expected.code(), "partition {partition}");
        }
        if round == 0 {
            client.create_topic("new", 2, &[]).await;
        } else {
            assert_eq!(client.produce("new", 1, batch(&["n"])).await.error_code, 0);
        }
        broker.shutdown().await.unwrap();
    }

    let broker = Broker::start(config(&both)).await.unwrap();
    let mut client = Client::connect(&broker).await;
    for partition in 0..4 {
        let value = format!("v{partition}");
        let expected = if gone.contains(&partition) { vec![&*value] } else { vec![&*value, "more", "more"] };
        assert_eq!(client.values("t", partition, 0).await, expected);
    }
    assert_eq!(client.values("new", 1, 0).await, ["n"]);
    broker.shutdown().await.unwrap();
}
