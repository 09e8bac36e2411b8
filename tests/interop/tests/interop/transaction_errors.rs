//! What a producer is told that comes too late, twice, or in the wrong state: the same by both brokers.

use std::time::Duration;

use rkafka::protocol::ErrorCode;
use rkafka::protocol::messages::InitProducerIdRequest;
use rkafka_testkit::{Cluster, RawClient, RawError, RawProducer, TransactionProtocol, eventually, on_both};

use crate::support::LIMIT;

/// A producer, and what it was told.
struct Talk {
    client: RawClient,
    topic: String,
    group: String,
    id: String,
    told: Vec<String>,
}

impl Talk {
    async fn begin(cluster: &Cluster) -> Self {
        let topic = cluster.topic("errors", 2, &[]).await;
        let client = RawClient::connect(&cluster.bootstrap()).await.expect("a connection");
        Self { client, topic, group: cluster.unique("errors"), id: cluster.unique("errors"), told: Vec::new() }
    }

    async fn producer(&mut self, protocol: TransactionProtocol, timeout: Duration) -> RawProducer {
        RawProducer::init(&mut self.client, &self.id, protocol, timeout).await.expect("an id")
    }

    fn note(&mut self, what: &str, answer: Result<String, RawError>) {
        let answer = answer
            .unwrap_or_else(|error| error.code().map_or_else(|| error.to_string(), |code| code.name().to_owned()));
        self.told.push(format!("{what}: {answer}"));
    }

    async fn end(&mut self, what: &str, producer: &RawProducer, commit: bool) {
        let mut asked = producer.clone();
        let answer = asked.end(&mut self.client, commit).await;
        let answer = answer.map(|()| format!("epoch {:+}", asked.epoch - producer.epoch));
        self.note(&format!("{what}, {}", if commit { "commit" } else { "abort" }), answer);
    }

    async fn produce(&mut self, what: &str, producer: &mut RawProducer) {
        let topic = self.topic.clone();
        let answer = producer.produce(&mut self.client, &topic, &[(0, "value")]).await;
        self.note(&format!("{what}, produce"), answer.map(|()| "done".to_owned()));
    }

    async fn offset(&mut self, what: &str, producer: &mut RawProducer) {
        let (topic, group) = (self.topic.clone(), self.group.clone());
        let answer = producer.commit_offset(&mut self.client, &group, (&topic, 1), 7).await;
        self.note(&format!("{what}, offset"), answer.map(|()| "done".to_owned()));
    }

    /// A producer asks to go on as `expected`, or anew.
    async fn init(&mut self, what: &str, producer: &RawProducer, expected: Option<i16>) {
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id.clone()),
            transaction_timeout_ms: 60_000,
            producer_id: if expected.is_some() { producer.id } else { -1 },
            producer_epoch: expected.unwrap_or(-1),
            ..Default::default()
        };
        let mut answer = self.client.call(&request, 5).await.expect("an answer");
        while answer.error_code == ErrorCode::ConcurrentTransactions.code() {
            rkafka_testkit::pause(Duration::from_millis(20)).await;
            answer = self.client.call(&request, 5).await.expect("an answer");
        }
        let answer = match ErrorCode::check(answer.error_code) {
            Ok(()) if answer.producer_id == producer.id => {
                format!("epoch {:+}", answer.producer_epoch - producer.epoch)
            }
            Ok(()) => format!("another id, epoch {}", answer.producer_epoch),
            Err(error) => error.name().to_owned(),
        };
        self.told.push(format!("{what}, init: {answer}"));
    }
}

/// The same producer in another epoch.
fn with_epoch(producer: &RawProducer, epoch: i16) -> RawProducer {
    let mut other = producer.clone();
    other.epoch = epoch;
    other
}

const WITH_EPOCHS: &[&str] = &[
    "nothing begun, commit: INVALID_TXN_STATE",
    "nothing begun, abort: epoch +1",
    "nothing begun, again, abort: epoch +1",
    "first, produce: done",
    "first, offset: done",
    "older, first is open, commit: PRODUCER_FENCED",
    "newer, first is open, commit: PRODUCER_FENCED",
    "another id, commit: INVALID_PRODUCER_ID_MAPPING",
    "first, commit: epoch +1",
    "first, again, commit: epoch +1",
    "first, otherwise, abort: INVALID_TXN_STATE",
    "late, produce: INVALID_PRODUCER_EPOCH",
    "late, offset: INVALID_PRODUCER_EPOCH",
    "next, not begun, commit: INVALID_TXN_STATE",
    "next, produce: done",
    "first, while next is open, commit: PRODUCER_FENCED",
    "first, while next is open, abort: PRODUCER_FENCED",
    "late, while next is open, produce: INVALID_PRODUCER_EPOCH",
    "late, while next is open, offset: INVALID_PRODUCER_EPOCH",
    "of the first, while next is open, init: PRODUCER_FENCED",
    "new, while next is open, init: epoch +2",
    "next, fenced, commit: PRODUCER_FENCED",
    "next, fenced, abort: PRODUCER_FENCED",
    "next, fenced, produce: INVALID_PRODUCER_EPOCH",
    "next, fenced, offset: INVALID_PRODUCER_EPOCH",
    "next, fenced, init: PRODUCER_FENCED",
];

const WITHOUT_EPOCHS: &[&str] = &[
    "nothing begun, commit: INVALID_TXN_STATE",
    "nothing begun, abort: INVALID_TXN_STATE",
    "not added, produce: TRANSACTION_ABORTABLE",
    "first, produce: done",
    "first, offset: done",
    "older, first is open, commit: PRODUCER_FENCED",
    "first, commit: epoch +0",
    "first, again, commit: epoch +0",
    "first, otherwise, abort: INVALID_TXN_STATE",
    "late, produce: TRANSACTION_ABORTABLE",
    "goes on, init: epoch +1",
    "goes on, again, init: epoch +1",
    "as nobody, init: PRODUCER_FENCED",
    "older, commit: PRODUCER_FENCED",
    "older, produce: INVALID_PRODUCER_EPOCH",
    "older, offset: PRODUCER_FENCED",
    "new, init: epoch +2",
    "older goes on, init: PRODUCER_FENCED",
];

const TOO_LONG: &[&str] = &[
    "too long, produce: done",
    "too long, produce: INVALID_PRODUCER_EPOCH",
    "too long, offset: PRODUCER_FENCED",
    "too long, commit: PRODUCER_FENCED",
    "too long, abort: PRODUCER_FENCED",
    "too long, init: epoch +1",
    "too long, again, init: epoch +1",
    "new, init: epoch +2",
    "too long, after the new, init: PRODUCER_FENCED",
    "too long, produce: done",
    "too long, produce: INVALID_PRODUCER_EPOCH",
    "too long, offset: INVALID_PRODUCER_EPOCH",
    "too long, commit: INVALID_TXN_STATE",
    "too long, abort: epoch +1",
    "too long, init: epoch +1",
    "too long, again, init: epoch +1",
    "new, init: epoch +2",
    "too long, after the new, init: PRODUCER_FENCED",
];

const BEGUN_ANEW: &[&str] = &[
    "open, produce: done",
    "open, init: epoch +1",
    "open, again, init: epoch +1",
    "open, abort: PRODUCER_FENCED",
    "open, produce: INVALID_PRODUCER_EPOCH",
    "open, produce: done",
    "open, init: epoch +1",
    "open, again, init: epoch +1",
    "open, abort: PRODUCER_FENCED",
    "open, produce: INVALID_PRODUCER_EPOCH",
];

on_both! {
    async fn each_transaction_has_its_epoch(cluster: &Cluster) {
        let mut talk = Talk::begin(cluster).await;
        let mut producer = talk.producer(TransactionProtocol::V2, LIMIT).await;
        talk.end("nothing begun", &producer, true).await;
        talk.end("nothing begun", &producer, false).await;
        talk.end("nothing begun, again", &producer, false).await;
        producer.epoch += 1;
        let before = producer.clone();
        talk.produce("first", &mut producer).await;
        talk.offset("first", &mut producer).await;
        let mut late = producer.clone();
        talk.end("older, first is open", &with_epoch(&before, 0), true).await;
        talk.end("newer, first is open", &with_epoch(&before, 5), true).await;
        let mut stranger = before.clone();
        stranger.id += 1000;
        talk.end("another id", &stranger, true).await;
        talk.end("first", &producer, true).await;
        talk.end("first, again", &producer, true).await;
        talk.end("first, otherwise", &producer, false).await;
        talk.produce("late", &mut late).await;
        talk.offset("late", &mut late).await;
        let mut next = with_epoch(&before, producer.epoch + 1);
        talk.end("next, not begun", &next, true).await;
        talk.produce("next", &mut next).await;
        talk.end("first, while next is open", &producer, true).await;
        talk.end("first, while next is open", &producer, false).await;
        talk.produce("late, while next is open", &mut late).await;
        talk.offset("late, while next is open", &mut late).await;
        talk.init("of the first, while next is open", &next, Some(producer.epoch)).await;
        talk.init("new, while next is open", &next, None).await;
        talk.end("next, fenced", &next, true).await;
        talk.end("next, fenced", &next, false).await;
        talk.produce("next, fenced", &mut next).await;
        talk.offset("next, fenced", &mut next).await;
        talk.init("next, fenced", &next, Some(next.epoch)).await;
        assert_eq!(talk.told, WITH_EPOCHS, "on {}", cluster.name());
    }
}

on_both! {
    async fn a_producer_keeps_its_epoch(cluster: &Cluster) {
        let mut talk = Talk::begin(cluster).await;
        let mut producer = talk.producer(TransactionProtocol::V1, LIMIT).await;
        let before = producer.clone();
        talk.end("nothing begun", &producer, true).await;
        talk.end("nothing begun", &producer, false).await;
        let topic = talk.topic.clone();
        let answer = producer.produce_unannounced(&mut talk.client, &topic, 0, "value", 1_700_000_000_000).await;
        talk.note("not added, produce", answer.map(|()| "done".to_owned()));
        talk.produce("first", &mut producer).await;
        talk.offset("first", &mut producer).await;
        talk.end("older, first is open", &with_epoch(&before, -1), true).await;
        talk.end("first", &producer, true).await;
        talk.end("first, again", &producer, true).await;
        talk.end("first, otherwise", &producer, false).await;
        let mut late = producer.clone();
        let answer = late.produce_unannounced(&mut talk.client, &topic, 0, "value", 1_700_000_000_000).await;
        talk.note("late, produce", answer.map(|()| "done".to_owned()));
        talk.init("goes on", &producer, Some(producer.epoch)).await;
        talk.init("goes on, again", &producer, Some(producer.epoch)).await;
        talk.init("as nobody", &producer, Some(producer.epoch + 7)).await;
        talk.end("older", &producer, true).await;
        talk.produce("older", &mut producer).await;
        talk.offset("older", &mut producer).await;
        talk.init("new", &producer, None).await;
        talk.init("older goes on", &producer, Some(producer.epoch + 1)).await;
        assert_eq!(talk.told, WITHOUT_EPOCHS, "on {}", cluster.name());
    }
}

on_both! {
    /// A producer may go on after its transaction took too long (KIP-588), unless another has come.
    async fn a_transaction_takes_too_long(cluster: &Cluster) {
        let mut told = Vec::new();
        for protocol in [TransactionProtocol::V1, TransactionProtocol::V2] {
            let mut talk = Talk::begin(cluster).await;
            let mut producer = talk.producer(protocol, Duration::from_millis(1_000)).await;
            talk.produce("too long", &mut producer).await;
            let (bootstrap, topic) = (cluster.bootstrap(), talk.topic.clone());
            eventually("the abort", || async {
                let mut client = RawClient::connect(&bootstrap).await.map_err(|error| error.to_string())?;
                let read = client.read_committed(&topic, 0, 0).await.map_err(|error| error.to_string())?;
                (read.last_stable_offset == 2).then_some(()).ok_or_else(|| format!("{read:?}"))
            })
            .await;
            talk.produce("too long", &mut producer).await;
            talk.offset("too long", &mut producer).await;
            talk.end("too long", &producer, true).await;
            talk.end("too long", &producer, false).await;
            talk.init("too long", &producer, Some(producer.epoch)).await;
            talk.init("too long, again", &producer, Some(producer.epoch)).await;
            talk.init("new", &producer, None).await;
            talk.init("too long, after the new", &producer, Some(producer.epoch)).await;
            told.append(&mut talk.told);
        }
        assert_eq!(told, TOO_LONG, "on {}", cluster.name());
    }
}

on_both! {
    /// A producer takes its own id anew in the midst of its transaction.
    async fn a_transaction_is_open_when_its_producer_begins_anew(cluster: &Cluster) {
        let mut told = Vec::new();
        for protocol in [TransactionProtocol::V1, TransactionProtocol::V2] {
            let mut talk = Talk::begin(cluster).await;
            let mut producer = talk.producer(protocol, LIMIT).await;
            talk.produce("open", &mut producer).await;
            talk.init("open", &producer, Some(producer.epoch)).await;
            talk.init("open, again", &producer, Some(producer.epoch)).await;
            talk.end("open", &producer, false).await;
            talk.produce("open", &mut producer).await;
            told.append(&mut talk.told);
        }
        assert_eq!(told, BEGUN_ANEW, "on {}", cluster.name());
    }
}
