//! Fetch sessions as a client sees them (KIP-227).

mod common;

use std::time::Duration;

use common::{Client, batch, fetch_request, read_values, start_in_memory};
use rkafka_broker_core::{Broker, BrokerConfig, BrokerHandle};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use rkafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use rkafka_protocol::messages::{DeleteTopicsRequest, FetchRequest, FetchResponse};
use uuid::Uuid;

fn topic(name: &str, partitions: &[(i32, i64)]) -> FetchTopic {
    let partitions = partitions.iter().map(|(partition, offset)| FetchPartition {
        partition: *partition,
        current_leader_epoch: -1,
        fetch_offset: *offset,
        partition_max_bytes: 1024 * 1024,
        ..Default::default()
    });
    FetchTopic { topic: name.to_owned(), partitions: partitions.collect(), ..Default::default() }
}

fn in_session(id: i32, epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest { session_id: id, session_epoch: epoch, topics, ..fetch_request("", 0, 0, 0, 1) }
}

/// The partitions that an answer tells of, and how many records each has.
fn told(response: &FetchResponse) -> Vec<(i32, usize)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let told = partitions.map(|data| (data.partition_index, read_values(data.records.as_ref().unwrap()).len()));
    told.collect()
}

fn error(response: &FetchResponse) -> ErrorCode {
    ErrorCode::from_code(response.error_code)
}

fn id_of(broker: &BrokerHandle, topic: &str) -> Uuid {
    broker.state().image().topic(topic).unwrap().id
}

#[tokio::test]
async fn a_session_tells_only_what_is_new() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 3, &[]).await;
    client.produce("t", 1, batch(&["a", "b"])).await;
    let all = vec![topic("t", &[(0, 0), (1, 0), (2, 0)])];
    let first = client.call(&in_session(0, 0, all.clone()), 12).await;
    let id = first.session_id;
    assert!(id > 0);
    assert_eq!(told(&first), [(0, 0), (1, 2), (2, 0)]);

    // The offset has not moved on, so the records come again.
    let again = client.call(&in_session(id, 1, Vec::new()), 12).await;
    assert_eq!((again.session_id, told(&again)), (id, vec![(1, 2)]));
    let moved = client.call(&in_session(id, 2, vec![topic("t", &[(1, 2)])]), 12).await;
    assert_eq!(told(&moved), []);
    client.produce("t", 2, batch(&["c"])).await;
    let news = client.call(&in_session(id, 3, Vec::new()), 12).await;
    assert_eq!(told(&news), [(2, 1)]);

    let mut forgetting = in_session(id, 4, vec![topic("t", &[(0, 9)])]);
    forgetting.forgotten_topics_data =
        vec![ForgottenTopic { topic: "t".to_owned(), partitions: vec![2, 7], ..Default::default() }];
    let rest = client.call(&forgetting, 12).await;
    assert_eq!(told(&rest), [(0, 0)]);
    assert_eq!(rest.responses[0].partitions[0].error_code, ErrorCode::OffsetOutOfRange.code());
    // An error is told every time, and when it is over the partition is told of once more.
    assert_eq!(told(&client.call(&in_session(id, 5, Vec::new()), 12).await), [(0, 0)]);
    let mended = client.call(&in_session(id, 6, vec![topic("t", &[(0, 0)])]), 12).await;
    assert_eq!((told(&mended), mended.responses[0].partitions[0].error_code), (vec![(0, 0)], 0));
    assert_eq!(told(&client.call(&in_session(id, 7, Vec::new()), 12).await), []);

    // Another connection goes on as well, and a wrong epoch changes nothing.
    let mut other = Client::connect(&broker).await;
    for epoch in [7, 9, -2] {
        let refused = other.call(&in_session(id, epoch, Vec::new()), 12).await;
        assert_eq!((error(&refused), refused.session_id), (ErrorCode::InvalidFetchSessionEpoch, 0));
    }
    assert_eq!(error(&other.call(&in_session(id, 8, Vec::new()), 13).await), ErrorCode::FetchSessionTopicIdError);
    assert_eq!(error(&other.call(&in_session(id, 8, Vec::new()), 12).await), ErrorCode::None);

    // A request for all ends the session that it names.
    let whole = client.call(&in_session(id, -1, all.clone()), 12).await;
    assert_eq!((whole.session_id, told(&whole).len()), (0, 3));
    assert_eq!(error(&client.call(&in_session(id, 9, Vec::new()), 12).await), ErrorCode::FetchSessionIdNotFound);
    // So does one that forgets the last partition.
    let id = client.call(&in_session(0, 0, vec![topic("t", &[(0, 0)])]), 12).await.session_id;
    let mut forgetting = in_session(id, 1, Vec::new());
    forgetting.forgotten_topics_data =
        vec![ForgottenTopic { topic: "t".to_owned(), partitions: vec![0], ..Default::default() }];
    let emptied = client.call(&forgetting, 12).await;
    assert_eq!((error(&emptied), emptied.session_id), (ErrorCode::None, 0));
    assert_eq!(error(&client.call(&in_session(id, 2, Vec::new()), 12).await), ErrorCode::FetchSessionIdNotFound);
}

#[tokio::test]
async fn no_partition_of_a_session_starves() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 4, &[]).await;
    for partition in 0..4 {
        client.produce("t", partition, batch(&["a"])).await;
    }
    let all = vec![topic("t", &[(0, 0), (1, 0), (2, 0), (3, 0)])];
    let tight = |request: FetchRequest| FetchRequest { max_bytes: 1, ..request };
    let first = client.call(&tight(in_session(0, 0, all)), 12).await;
    let mut turns: Vec<i32> = Vec::new();
    for epoch in 1..=8 {
        let response = client.call(&tight(in_session(first.session_id, epoch, Vec::new())), 12).await;
        turns.extend(told(&response).iter().filter(|(_, records)| *records > 0).map(|(partition, _)| partition));
    }
    for partition in 0..4 {
        assert_eq!(turns.iter().filter(|turn| **turn == partition).count(), 2, "{turns:?}");
    }
}

#[tokio::test]
async fn a_large_session_stays_registered_and_loses_no_record() {
    const PARTITIONS: i32 = 300;
    let broker = start_in_memory().await;
    let mut consumer = Client::connect(&broker).await;
    consumer.create_topic("t", PARTITIONS, &[]).await;
    let mut producer = Client::connect(&broker).await;
    let all: Vec<(i32, i64)> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let id = consumer.call(&in_session(0, 0, vec![topic("t", &all)]), 12).await.session_id;
    let mut offsets = vec![0i64; PARTITIONS as usize];
    let mut asked = Vec::new();
    for epoch in 1..=60 {
        let waits = FetchRequest { max_wait_ms: 3_600_000, ..in_session(id, epoch, std::mem::take(&mut asked)) };
        consumer.send(&waits, 12).await;
        let correlation_id = consumer.last_correlation_id();
        let partition = (epoch * 7) % PARTITIONS;
        producer.produce("t", partition, batch(&["a"])).await;
        let response = consumer.receive::<FetchRequest>(12, correlation_id).await;
        assert_eq!(told(&response), [(partition, 1)]);
        let offset = &mut offsets[partition as usize];
        *offset += 1;
        asked = vec![topic("t", &[(partition, *offset)])];
    }
}

#[tokio::test]
async fn a_fetch_that_its_client_gave_up_ends_when_the_session_goes_on() {
    let broker = start_in_memory().await;
    let mut first = Client::connect(&broker).await;
    first.create_topic("t", 1, &[]).await;
    let id = first.call(&in_session(0, 0, vec![topic("t", &[(0, 0)])]), 12).await.session_id;
    let waits = FetchRequest { max_wait_ms: 3_600_000, ..in_session(id, 1, Vec::new()) };
    first.send(&waits, 12).await;
    let correlation_id = first.last_correlation_id();
    let mut second = Client::connect(&broker).await;
    // The epoch 2 is right once the waiting fetch was taken in.
    while error(&second.call(&in_session(id, 2, Vec::new()), 12).await) != ErrorCode::None {
        tokio::task::yield_now().await;
    }
    let given_up = first.receive::<FetchRequest>(12, correlation_id).await;
    assert_eq!((error(&given_up), given_up.session_id), (ErrorCode::InvalidFetchSessionEpoch, id));
}

#[tokio::test]
async fn topics_come_and_go_within_a_session() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    for name in ["gone", "stays"] {
        client.create_topic(name, 1, &[]).await;
    }
    let by_id = |name: &str| FetchTopic { topic_id: id_of(&broker, name), ..topic("", &[(0, 0)]) };
    let never = FetchTopic { topic_id: Uuid::from_u128(99_999), ..topic("", &[(0, 0)]) };
    let first = client.call(&in_session(0, 0, vec![by_id("gone"), by_id("stays"), never.clone()]), 16).await;
    let id = first.session_id;
    let errors = |response: &FetchResponse| {
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|data| ErrorCode::from_code(data.error_code)).collect::<Vec<_>>()
    };
    assert_eq!(errors(&first), [ErrorCode::None, ErrorCode::None, ErrorCode::UnknownTopicId]);
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: Some("gone".to_owned()), ..Default::default() }],
        ..Default::default()
    };
    assert_eq!(client.call(&delete, 6).await.responses[0].error_code, 0);
    let deleted = client.call(&in_session(id, 1, Vec::new()), 16).await;
    assert_eq!(errors(&deleted), [ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId]);
    client.create_topic("gone", 1, &[]).await;
    let replaced = client.call(&in_session(id, 2, Vec::new()), 16).await;
    assert_eq!(errors(&replaced), [ErrorCode::InconsistentTopicId, ErrorCode::UnknownTopicId]);
    // Names mean whatever topic has them, and see the new one at once.
    let named = client.call(&in_session(0, 0, vec![topic("gone", &[(0, 0)]), topic("later", &[(0, 0)])]), 12).await;
    assert_eq!(errors(&named), [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
    assert_eq!(client.call(&delete, 6).await.responses[0].error_code, 0);
    client.create_topic("gone", 1, &[]).await;
    client.create_topic("later", 1, &[]).await;
    client.produce("gone", 0, batch(&["new"])).await;
    let seen = client.call(&in_session(named.session_id, 1, Vec::new()), 12).await;
    assert_eq!((errors(&seen), told(&seen)), (vec![ErrorCode::None; 2], vec![(0, 1), (0, 0)]));
}

#[tokio::test]
async fn an_unknown_topic_is_told_of_without_a_spin() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    let hour = 3_600_000;
    // Alone it is answered at once.
    let alone = FetchRequest { max_wait_ms: hour, ..in_session(0, 0, vec![topic("no", &[(0, 0)])]) };
    let response = client.call(&alone, 12).await;
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    // Beside a partition that can be read it waits with that one.
    let beside =
        FetchRequest { max_wait_ms: hour, ..in_session(0, 0, vec![topic("no", &[(0, 0)]), topic("t", &[(0, 0)])]) };
    client.send(&beside, 12).await;
    let correlation_id = client.last_correlation_id();
    assert!(tokio::time::timeout(Duration::from_millis(50), client.stream.peek(&mut [0])).await.is_err());
    Client::connect(&broker).await.produce("t", 0, batch(&["a"])).await;
    let response = client.receive::<FetchRequest>(12, correlation_id).await;
    assert_eq!(told(&response), [(0, 0), (0, 1)]);
}

#[tokio::test]
async fn who_gets_no_session_is_served_without() {
    let config = BrokerConfig::new().max_incremental_fetch_session_cache_slots(1);
    let broker = Broker::builder().config(config.listeners("PLAINTEXT://127.0.0.1:0").in_memory(true));
    let broker = broker.start().await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    let ask = in_session(0, 0, vec![topic("t", &[(0, 0)])]);
    let kept = client.call(&ask, 12).await.session_id;
    assert!(kept > 0);
    let other = client.call(&ask, 12).await;
    assert_eq!((other.session_id, told(&other)), (0, vec![(0, 0)]));
    assert_eq!(error(&client.call(&in_session(kept, 1, Vec::new()), 12).await), ErrorCode::None);
}

#[tokio::test]
async fn replicas_and_diverged_clients_are_told_so() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let one = |change: &dyn Fn(&mut FetchPartition)| {
        let mut request = fetch_request("t", 0, 0, 3_600_000, 1);
        change(&mut request.topics[0].partitions[0]);
        request
    };
    // Epoch 0 ends at 2 here, and the client says that it has more of it.
    let further = one(&|asked| (asked.fetch_offset, asked.last_fetched_epoch) = (9, 0));
    let data = client.call(&further, 12).await.responses.remove(0).partitions.remove(0);
    assert_eq!((data.error_code, data.diverging_epoch.epoch, data.diverging_epoch.end_offset), (0, 0, 2));
    assert_eq!((data.high_watermark, data.records.unwrap().len()), (2, 0));
    let unknown = one(&|asked| asked.last_fetched_epoch = 5);
    let data = client.call(&unknown, 12).await.responses.remove(0).partitions.remove(0);
    assert_eq!(data.error_code, ErrorCode::OffsetOutOfRange.code());
    let agreed = one(&|asked| asked.last_fetched_epoch = 0);
    let data = client.call(&agreed, 12).await.responses.remove(0).partitions.remove(0);
    assert_eq!((data.diverging_epoch.end_offset, read_values(&data.records.unwrap()).len()), (-1, 2));

    let as_replica = |epoch| FetchRequest { replica_id: 7, ..one(&|asked| asked.current_leader_epoch = epoch) };
    for (epoch, expected) in [(-1, ErrorCode::NotLeaderOrFollower), (0, ErrorCode::UnknownLeaderEpoch)] {
        let data = client.call(&as_replica(epoch), 12).await.responses.remove(0).partitions.remove(0);
        assert_eq!(ErrorCode::from_code(data.error_code), expected);
    }
}
