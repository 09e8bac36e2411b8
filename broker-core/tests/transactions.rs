//! Transactions over a broker's connection, by raw frames: clients of both versions of transactions, in every state that a
//! restart may find.

mod common;

use common::{Client, config_at, produce_request, read_values, start_in_memory};
use rkafka_broker_core::{Broker, BrokerHandle, Clock};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use rkafka_protocol::messages::fetch_response::PartitionData;
use rkafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiVersionsRequest, DescribeTransactionsRequest, EndTxnRequest,
    EndTxnResponse, FindCoordinatorRequest, InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest,
};
use rkafka_protocol::records::{Attributes, BatchIter, BatchOptions, encode_batch};

const ID: &str = "tx";
const TOPIC: &str = "topic";
const NONE: i16 = 0;
/// Versions of Produce and EndTxn that a client of transactions of version 1 speaks, and one of version 2.
const V1: (i16, i16) = (11, 4);
const V2: (i16, i16) = (12, 5);

fn batch(producer_id: i64, epoch: i16, sequence: i32, value: &str) -> Vec<u8> {
    let options = BatchOptions::default()
        .with_producer(producer_id, epoch, sequence)
        .with_attributes(Attributes::default().with_transactional(true));
    encode_batch(Vec::new(), options, 1_700_000_000_000, [(None, Some(value.as_bytes()))]).unwrap().into_bytes()
}

/// A producer as a client library has it.
struct Producer {
    client: Client,
    id: i64,
    epoch: i16,
    sequence: i32,
    versions: (i16, i16),
}

impl Producer {
    async fn start(broker: &BrokerHandle, versions: (i16, i16)) -> Self {
        let mut client = Client::connect(broker).await;
        let answer = init(&mut client, 60_000).await;
        assert_eq!(answer.error_code, NONE);
        Self { client, id: answer.producer_id, epoch: answer.producer_epoch, sequence: 0, versions }
    }

    async fn add(&mut self, partition: i32) -> i16 {
        let response = self.client.call(&add_partition(self.id, self.epoch, partition), 3).await;
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    /// Writes a record, and adds the partition before where the version asks for it.
    async fn write(&mut self, partition: i32, value: &str) -> i16 {
        if self.versions == V1 {
            let error = self.add(partition).await;
            if error != NONE {
                return error;
            }
        }
        let error = self.produce(partition, value).await;
        if error == NONE {
            self.sequence += 1;
        }
        error
    }

    async fn produce(&mut self, partition: i32, value: &str) -> i16 {
        let batch = batch(self.id, self.epoch, self.sequence, value);
        let mut request = produce_request(TOPIC, partition, batch, -1);
        request.transactional_id = Some(ID.to_owned());
        let response = self.client.call(&request, self.versions.0).await;
        response.responses[0].partition_responses[0].error_code
    }

    async fn ask_end(&mut self, commit: bool) -> EndTxnResponse {
        self.client.call(&end(self.id, self.epoch, commit), self.versions.1).await
    }

    async fn end(&mut self, commit: bool) {
        let answer = self.ask_end(commit).await;
        assert_eq!(answer.error_code, NONE);
        if self.versions == V2 {
            (self.id, self.epoch, self.sequence) = (answer.producer_id, answer.producer_epoch, 0);
        }
    }
}

async fn init(client: &mut Client, timeout_ms: i32) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: Some(ID.to_owned()),
        transaction_timeout_ms: timeout_ms,
        ..Default::default()
    };
    client.call(&request, 5).await
}

fn add_partition(producer_id: i64, epoch: i16, partition: i32) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: ID.to_owned(),
        v3_and_below_producer_id: producer_id,
        v3_and_below_producer_epoch: epoch,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic {
            name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn end(producer_id: i64, producer_epoch: i16, committed: bool) -> EndTxnRequest {
    EndTxnRequest { transactional_id: ID.to_owned(), producer_id, producer_epoch, committed, ..Default::default() }
}

async fn fetch_committed(client: &mut Client, partition: i32, offset: i64) -> PartitionData {
    let mut request = common::fetch_request(TOPIC, partition, offset, 0, 1);
    request.isolation_level = 1;
    let data = client.call(&request, 12).await.responses[0].partitions[0].clone();
    assert_eq!(data.error_code, NONE);
    data
}

/// The values that a consumer of what is committed sees in a partition.
async fn committed(client: &mut Client, partition: i32) -> Vec<String> {
    let mut offset = 0;
    let mut values = Vec::new();
    loop {
        let data = fetch_committed(client, partition, offset).await;
        if offset >= data.last_stable_offset {
            return values;
        }
        let mut aborted = data.aborted_transactions.unwrap_or_default();
        let mut skipped = Vec::new();
        for batch in BatchIter::new(data.records.as_ref().unwrap()) {
            let batch = batch.unwrap();
            let header = batch.header();
            aborted.retain(|one| {
                let begins = one.first_offset <= header.base_offset;
                if begins {
                    skipped.push(one.producer_id);
                }
                !begins
            });
            if header.attributes.is_control() {
                skipped.retain(|id| *id != header.producer_id);
            } else if !skipped.contains(&header.producer_id) {
                let bytes = bytes::Bytes::copy_from_slice(batch.bytes());
                values.extend(read_values(&bytes).into_iter().map(|(_, value)| value));
            }
            assert!(header.last_offset() >= offset, "the next fetch goes on behind the last batch");
            offset = header.last_offset() + 1;
        }
    }
}

async fn state(client: &mut Client) -> String {
    let request = DescribeTransactionsRequest { transactional_ids: vec![ID.to_owned()], ..Default::default() };
    client.call(&request, 0).await.transaction_states[0].transaction_state.clone()
}

#[tokio::test]
async fn what_is_committed_is_seen_and_what_is_aborted_is_not() {
    for versions in [V1, V2] {
        let broker = start_in_memory().await;
        let mut reader = Client::connect(&broker).await;
        reader.create_topic(TOPIC, 2, &[]).await;
        let mut producer = Producer::start(&broker, versions).await;
        assert_eq!(producer.write(0, "a").await, NONE);
        assert_eq!(state(&mut reader).await, "Ongoing");
        assert_eq!(committed(&mut reader, 0).await, Vec::<String>::new(), "undecided");
        producer.end(true).await;
        assert_eq!(state(&mut reader).await, "CompleteCommit");
        assert_eq!(committed(&mut reader, 0).await, ["a"]);

        producer.sequence = if versions == V1 { 1 } else { 0 };
        assert_eq!(producer.write(0, "b").await, NONE);
        let kept = producer.sequence;
        producer.sequence = 0;
        assert_eq!(producer.write(1, "c").await, NONE);
        producer.end(false).await;
        assert_eq!(state(&mut reader).await, "CompleteAbort");
        assert_eq!(committed(&mut reader, 0).await, ["a"]);
        assert_eq!(committed(&mut reader, 1).await, Vec::<String>::new());

        producer.sequence = if versions == V1 { kept } else { 0 };
        assert_eq!(producer.write(0, "d").await, NONE);
        producer.end(true).await;
        assert_eq!(committed(&mut reader, 0).await, ["a", "d"]);
        let request = DescribeTransactionsRequest { transactional_ids: vec![ID.to_owned()], ..Default::default() };
        let described = reader.call(&request, 0).await.transaction_states[0].clone();
        assert_eq!(described.topics, [], "no partition lacks a marker");
        let expected_epoch = if versions == V1 { 0 } else { 3 };
        assert_eq!(described.producer_epoch, expected_epoch);
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_new_producer_fences_the_old_and_aborts_its_transaction() {
    for versions in [V1, V2] {
        let broker = start_in_memory().await;
        let mut reader = Client::connect(&broker).await;
        reader.create_topic(TOPIC, 1, &[]).await;
        let mut old = Producer::start(&broker, versions).await;
        assert_eq!(old.write(0, "old").await, NONE);
        let busy = init(&mut reader, 60_000).await;
        assert_eq!(busy.error_code, ErrorCode::ConcurrentTransactions.code());
        assert_eq!((busy.producer_id, busy.producer_epoch), (-1, -1));
        let mut new = Producer::start(&broker, versions).await;
        assert_eq!(new.id, old.id);
        assert_eq!(new.epoch, old.epoch + 2, "one to fence, which nobody is given, and one for the new producer");

        assert_eq!(old.produce(0, "late").await, ErrorCode::InvalidProducerEpoch.code());
        assert_eq!(old.add(0).await, ErrorCode::ProducerFenced.code());
        assert_eq!(old.ask_end(true).await.error_code, ErrorCode::ProducerFenced.code());
        assert_eq!(new.write(0, "new").await, NONE);
        new.end(true).await;
        assert_eq!(committed(&mut reader, 0).await, ["new"]);

        // The error that old clients know.
        let answer = old.client.call(&end(old.id, old.epoch, true), 1).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidProducerEpoch.code());
        let answer = old.client.call(&add_partition(old.id, old.epoch, 0), 1).await;
        let error = answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
        assert_eq!(error, ErrorCode::InvalidProducerEpoch.code());
    }
}

#[tokio::test]
async fn an_end_that_comes_twice_is_answered_as_the_first_time() {
    for versions in [V1, V2] {
        let broker = start_in_memory().await;
        let mut producer = Producer::start(&broker, versions).await;
        producer.client.create_topic(TOPIC, 1, &[]).await;
        assert_eq!(producer.write(0, "a").await, NONE);
        let first = producer.ask_end(true).await;
        assert_eq!(first.error_code, NONE);
        assert_eq!(producer.ask_end(true).await, first);
        assert_eq!(producer.ask_end(false).await.error_code, ErrorCode::InvalidTxnState.code());
        if versions == V2 {
            assert_eq!((first.producer_id, first.producer_epoch), (producer.id, producer.epoch + 1));
            // What was on its way when the transaction ended does not reach the next one.
            assert_eq!(producer.produce(0, "late").await, ErrorCode::InvalidProducerEpoch.code());
        } else {
            assert_eq!((first.producer_id, first.producer_epoch), (-1, -1));
        }
    }
}

#[tokio::test]
async fn partitions_that_were_not_added_are_refused_in_the_clients_own_words() {
    let broker = start_in_memory().await;
    let mut producer = Producer::start(&broker, V1).await;
    producer.client.create_topic(TOPIC, 2, &[]).await;
    producer.versions.0 = 10;
    assert_eq!(producer.produce(0, "a").await, ErrorCode::InvalidTxnState.code());
    producer.versions.0 = 11;
    assert_eq!(producer.produce(0, "a").await, ErrorCode::TransactionAbortable.code());
    assert_eq!(producer.add(0).await, NONE);
    assert_eq!(producer.produce(0, "a").await, NONE);

    // Brokers ask so for their own producers.
    let transaction = |verify_only| AddPartitionsToTxnTransaction {
        transactional_id: ID.to_owned(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        verify_only,
        topics: vec![AddPartitionsToTxnTopic { name: TOPIC.to_owned(), partitions: vec![0, 1], ..Default::default() }],
        ..Default::default()
    };
    let errors = |response: rkafka_protocol::messages::AddPartitionsToTxnResponse| -> Vec<i16> {
        let results = &response.results_by_transaction[0].topic_results[0].results_by_partition;
        results.iter().map(|result| result.partition_error_code).collect()
    };
    let verify = AddPartitionsToTxnRequest { transactions: vec![transaction(true)], ..Default::default() };
    let add = AddPartitionsToTxnRequest { transactions: vec![transaction(false)], ..Default::default() };
    let response = producer.client.call(&verify, 5).await;
    assert_eq!(errors(response), [NONE, ErrorCode::TransactionAbortable.code()]);
    assert_eq!(errors(producer.client.call(&add, 4).await), [NONE, NONE]);
    assert_eq!(errors(producer.client.call(&verify, 4).await), [NONE, NONE]);

    // All or none.
    let mut unknown = add_partition(producer.id, producer.epoch, 0);
    unknown.v3_and_below_topics[0].partitions = vec![0, 7];
    let response = producer.client.call(&unknown, 3).await;
    let results = &response.results_by_topic_v3_and_below[0].results_by_partition;
    let codes: Vec<i16> = results.iter().map(|result| result.partition_error_code).collect();
    assert_eq!(codes, [ErrorCode::OperationNotAttempted.code(), ErrorCode::UnknownTopicOrPartition.code()]);
}

#[tokio::test]
async fn records_of_a_transaction_need_a_transactional_id() {
    let broker = start_in_memory().await;
    let mut producer = Producer::start(&broker, V2).await;
    producer.client.create_topic(TOPIC, 1, &[]).await;
    let request = produce_request(TOPIC, 0, batch(producer.id, producer.epoch, 0, "a"), -1);
    let response = producer.client.call(&request, 12).await;
    let error = response.responses[0].partition_responses[0].error_code;
    assert_eq!(error, ErrorCode::TransactionalIdAuthorizationFailed.code());
    // Ids that nobody has, or somebody else.
    let mut request = produce_request(TOPIC, 0, batch(4_242, 0, 0, "a"), -1);
    request.transactional_id = Some(ID.to_owned());
    let response = producer.client.call(&request, 12).await;
    let error = response.responses[0].partition_responses[0].error_code;
    assert_eq!(error, ErrorCode::InvalidProducerIdMapping.code());
}

#[tokio::test]
async fn requests_that_are_wrong_are_told_what() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    for (id, timeout_ms, expected) in [
        ("", 60_000, ErrorCode::InvalidRequest),
        (ID, 0, ErrorCode::InvalidTransactionTimeout),
        (ID, 900_001, ErrorCode::InvalidTransactionTimeout),
    ] {
        let request = InitProducerIdRequest {
            transactional_id: Some(id.to_owned()),
            transaction_timeout_ms: timeout_ms,
            ..Default::default()
        };
        assert_eq!(client.call(&request, 5).await.error_code, expected.code());
    }
    let half = InitProducerIdRequest {
        transactional_id: Some(ID.to_owned()),
        transaction_timeout_ms: 1,
        producer_id: 7,
        ..Default::default()
    };
    assert_eq!(client.call(&half, 5).await.error_code, ErrorCode::InvalidRequest.code());
    let answer = client.call(&end(1, 0, true), 5).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidProducerIdMapping.code());
    let answer = client.call(&EndTxnRequest::default(), 5).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
    let request = AddOffsetsToTxnRequest { transactional_id: ID.to_owned(), ..Default::default() };
    assert_eq!(client.call(&request, 4).await.error_code, ErrorCode::InvalidGroupId.code());
    let ids = vec![String::new(), "nobody".to_owned()];
    let request = DescribeTransactionsRequest { transactional_ids: ids, ..Default::default() };
    let described = client.call(&request, 0).await.transaction_states;
    let errors: Vec<i16> = described.iter().map(|one| one.error_code).collect();
    assert_eq!(errors, [ErrorCode::InvalidRequest.code(), ErrorCode::TransactionalIdNotFound.code()]);
}

#[tokio::test]
async fn transactions_are_found_by_filters() {
    let broker = start_in_memory().await;
    let mut producer = Producer::start(&broker, V2).await;
    producer.client.create_topic(TOPIC, 1, &[]).await;
    assert_eq!(producer.write(0, "a").await, NONE);
    let request = |change: &dyn Fn(&mut ListTransactionsRequest)| {
        let mut request = ListTransactionsRequest { duration_filter: -1, ..Default::default() };
        change(&mut request);
        request
    };
    let found = |response: rkafka_protocol::messages::ListTransactionsResponse| -> Vec<String> {
        assert_eq!(response.error_code, NONE);
        response.transaction_states.into_iter().map(|one| one.transactional_id).collect()
    };
    let client = &mut producer.client;
    let none: [&str; 0] = [];
    assert_eq!(found(client.call(&request(&|_| {}), 0).await), [ID]);
    assert_eq!(found(client.call(&request(&|one| one.state_filters = vec!["Ongoing".to_owned()]), 0).await), [ID]);
    assert_eq!(found(client.call(&request(&|one| one.state_filters = vec!["Empty".to_owned()]), 0).await), none);
    assert_eq!(found(client.call(&request(&|one| one.producer_id_filters = vec![producer.id]), 0).await), [ID]);
    assert_eq!(found(client.call(&request(&|one| one.producer_id_filters = vec![77]), 0).await), none);
    assert_eq!(found(client.call(&request(&|one| one.duration_filter = 3_600_000), 1).await), none);
    let pattern = |pattern: &str| {
        let pattern = Some(pattern.to_owned());
        request(&|one| one.transactional_id_pattern.clone_from(&pattern))
    };
    assert_eq!(found(client.call(&pattern("t.*"), 2).await), [ID]);
    assert_eq!(found(client.call(&pattern("t"), 2).await), none, "the whole id is matched");
    assert_eq!(found(client.call(&pattern(""), 2).await), [ID]);
    let answer = client.call(&pattern("(t"), 2).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidRegularExpression.code());
    let answer = client.call(&request(&|one| one.state_filters = vec!["Gone".to_owned()]), 2).await;
    assert_eq!(answer.unknown_state_filters, ["Gone"]);
    assert_eq!(answer.transaction_states, []);
}

#[tokio::test]
async fn the_feature_is_told_and_coordinators_are_found() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    let request = ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
        ..Default::default()
    };
    let answer = client.call(&request, 4).await;
    let feature = answer.finalized_features.iter().find(|feature| feature.name == "transaction.version").unwrap();
    assert_eq!((feature.min_version_level, feature.max_version_level), (2, 2));
    for version in 0..=6 {
        let request = if version < 4 {
            FindCoordinatorRequest { key: ID.to_owned(), key_type: i8::from(version > 0), ..Default::default() }
        } else {
            FindCoordinatorRequest { coordinator_keys: vec![ID.to_owned()], key_type: 1, ..Default::default() }
        };
        let answer = client.call(&request, version).await;
        let port = if version < 4 { answer.port } else { answer.coordinators[0].port };
        assert!(port > 0, "version {version}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    for versions in [V1, V2] {
        let broker = Broker::builder().clock(Clock::simulated(1_700_000_000_000)).start().await.unwrap();
        let mut reader = Client::connect(&broker).await;
        reader.create_topic(TOPIC, 1, &[]).await;
        let answer = init(&mut reader, 5_000).await;
        let client = Client::connect(&broker).await;
        let mut producer =
            Producer { client, id: answer.producer_id, epoch: answer.producer_epoch, sequence: 0, versions };
        assert_eq!(producer.write(0, "a").await, NONE);
        tokio::time::advance(std::time::Duration::from_millis(4_900)).await;
        assert_eq!(state(&mut reader).await, "Ongoing");
        tokio::time::advance(std::time::Duration::from_millis(200)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(state(&mut reader).await, "CompleteAbort");
        assert_eq!(committed(&mut reader, 0).await, Vec::<String>::new());
        let last_stable_offset = fetch_committed(&mut reader, 0, 0).await.last_stable_offset;
        assert_eq!(last_stable_offset, 2, "the record and its marker hold nobody back");
        let expected = match versions {
            V1 => ErrorCode::ProducerFenced,
            // As in Kafka: it looks as if its abort had come before.
            _ => ErrorCode::InvalidTxnState,
        };
        assert_eq!(producer.ask_end(true).await.error_code, expected.code());
        assert_eq!(producer.produce(0, "late").await, ErrorCode::InvalidProducerEpoch.code());
    }
}

#[tokio::test]
async fn the_markers_of_a_deleted_topic_are_not_missed() {
    let broker = start_in_memory().await;
    let mut producer = Producer::start(&broker, V2).await;
    producer.client.create_topic(TOPIC, 1, &[]).await;
    assert_eq!(producer.write(0, "a").await, NONE);
    broker_deletes_topic(&mut producer.client).await;
    producer.end(true).await;
    assert_eq!(state(&mut producer.client).await, "CompleteCommit");
}

async fn broker_deletes_topic(client: &mut Client) {
    use rkafka_protocol::messages::DeleteTopicsRequest;
    use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
    let topics = vec![DeleteTopicState { name: Some(TOPIC.to_owned()), ..Default::default() }];
    let answer = client.call(&DeleteTopicsRequest { topics, timeout_ms: 1_000, ..Default::default() }, 6).await;
    assert_eq!(answer.responses[0].error_code, NONE);
}

/// A broker whose files stay, and the transaction that its next run finds.
#[tokio::test]
async fn a_restart_goes_on_where_a_transaction_stood() {
    for versions in [V1, V2] {
        for clean in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let start = || async {
                let config = config_at(dir.path()).transaction_state_log_num_partitions(2);
                Broker::start(config).await.unwrap()
            };
            let stop = |broker: BrokerHandle| async move {
                if clean { broker.shutdown().await.unwrap() } else { drop(broker) }
            };
            let broker = start().await;
            let mut producer = Producer::start(&broker, versions).await;
            producer.client.create_topic(TOPIC, 1, &[]).await;
            // Empty.
            stop(broker).await;
            let broker = start().await;
            producer.client = Client::connect(&broker).await;
            assert_eq!(state(&mut producer.client).await, "Empty");
            assert_eq!(producer.write(0, "a").await, NONE);
            // Ongoing.
            stop(broker).await;
            let broker = start().await;
            producer.client = Client::connect(&broker).await;
            assert_eq!(state(&mut producer.client).await, "Ongoing");
            assert_eq!(producer.write(0, "b").await, NONE);
            let answer = producer.ask_end(true).await;
            assert_eq!(answer.error_code, NONE);
            // Complete.
            stop(broker).await;
            let broker = start().await;
            producer.client = Client::connect(&broker).await;
            assert_eq!(producer.ask_end(true).await, answer, "the end comes twice, across a restart");
            assert_eq!(committed(&mut producer.client, 0).await, ["a", "b"]);
            let next = Producer::start(&broker, versions).await;
            assert_eq!(next.id, producer.id);
            assert_eq!(next.epoch, producer.epoch + if versions == V2 { 2 } else { 1 });
            broker.shutdown().await.unwrap();
        }
    }
}
