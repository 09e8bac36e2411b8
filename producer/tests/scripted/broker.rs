//! A cluster of brokers that do as they are told: one topic `t`, whose batches are known again as Kafka does.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rkafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use rkafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
};
use rkafka_protocol::records::{BatchHeader, RecordBatch};
use rkafka_protocol::wire::{Message, Reader, Request, Writer};
use rkafka_protocol::{ApiKey, ErrorCode};
use tokio::time::Instant;
use uuid::Uuid;

use crate::model::Model;

/// The one topic, and its id.
pub const TOPIC: &str = "t";
pub const TOPIC_ID: Uuid = Uuid::from_u128(7);

/// A request as a script sees it.
#[derive(Debug, Clone)]
pub struct Call {
    pub node: usize,
    pub connection: u64,
    pub key: ApiKey,
    pub version: i16,
    /// How many of this kind came before, at whatever broker.
    pub nth: usize,
    pub at: Instant,
    pub client_id: Option<String>,
}

/// What a broker does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// What it should.
    Do,
    /// Nothing, and answers with this error.
    Refuse(ErrorCode),
    /// What it should, and answers with this error all the same.
    DoAndRefuse(ErrorCode),
    /// Nothing, and hangs up.
    HangUp,
    /// What it should, and hangs up in the place of an answer.
    DoAndHangUp,
    /// Nothing, and never answers.
    Silence,
    /// What it should, and never answers.
    DoAndSilence,
    /// What it should, and answers only after this time.
    AnswerAfter(Duration),
    /// What it should after this time, and be it that nobody waits for it any more.
    DoAfter(Duration),
    /// What it should, and asks for silence in the answer.
    Throttle(Duration),
    /// What it should, answers with so many bytes, and hangs up.
    Cut(usize),
    /// What it should, and sends the answer behind the next one.
    AnswerLast,
    /// What it should, and changes the answer's bytes on their way.
    Tamper(fn(Vec<u8>) -> Vec<u8>),
}

/// What a connection sees of it.
#[derive(Debug)]
pub enum Step {
    Write(Vec<u8>),
    WriteAfterNext(Vec<u8>),
    Wait(Duration),
    HangUp,
    Silence,
}

/// A produce request that came.
#[derive(Debug, Clone)]
pub struct Produced {
    pub call: Call,
    pub acks: i16,
    pub timeout_ms: i32,
    /// The whole frame, in bytes.
    pub size: usize,
    /// Partition, header, and length in bytes of each batch.
    pub batches: Vec<(usize, BatchHeader, usize)>,
}

type Script = Box<dyn FnMut(&Call) -> Act + Send>;

pub struct State {
    pub model: Model,
    /// Host and port, by the broker's number.
    pub addresses: Vec<(String, u16)>,
    /// The leader of each partition, if it has one, and the leader's epoch.
    pub leaders: Vec<(Option<usize>, i32)>,
    /// What metadata say of leaders, where that is something else.
    pub said: Option<Vec<(Option<usize>, i32)>>,
    pub coordinator: usize,
    pub transaction_version: i16,
    pub produce_version_max: i16,
    /// How many records a batch may have.
    pub records_max: usize,
    /// Whether refusals name the leader (KIP-951).
    pub leader_hints: bool,
    script: Script,
    counts: HashMap<ApiKey, usize>,
    pub calls: Vec<Call>,
    pub produced: Vec<Produced>,
    pub initialized: Vec<InitProducerIdRequest>,
    pub connections: u64,
}

impl State {
    pub fn calls_of(&self, key: ApiKey) -> Vec<Call> {
        self.calls.iter().filter(|call| call.key == key).cloned().collect()
    }

    /// The values in a partition's log.
    pub fn values(&self, partition: usize) -> Vec<String> {
        self.model.logs[partition].values()
    }

    pub fn move_leader(&mut self, partition: usize, leader: Option<usize>) {
        let (present, epoch) = &mut self.leaders[partition];
        (*present, *epoch) = (leader, *epoch + 1);
    }

    pub fn add_partition(&mut self) {
        self.leaders.push((Some(0), 0));
        self.model.logs.push(Default::default());
    }
}

pub struct Cluster {
    state: Mutex<State>,
}

#[expect(clippy::disallowed_methods, reason = "what comes when is what is tested")]
pub fn now() -> Instant {
    Instant::now()
}

impl Cluster {
    /// Brokers at `addresses`, and partitions that they lead in turn.
    pub fn new(addresses: Vec<(String, u16)>, partitions: usize) -> Self {
        let brokers = addresses.len();
        let state = State {
            model: Model::new(partitions),
            addresses,
            leaders: (0..partitions).map(|partition| (Some(partition % brokers), 0)).collect(),
            said: None,
            coordinator: 0,
            transaction_version: 2,
            produce_version_max: 13,
            records_max: usize::MAX,
            leader_hints: false,
            script: Box::new(|_| Act::Do),
            counts: HashMap::new(),
            calls: Vec::new(),
            produced: Vec::new(),
            initialized: Vec::new(),
            connections: 0,
        };
        Self { state: Mutex::new(state) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is done with each request from now on. ApiVersions is always answered.
    pub fn script(&self, script: impl FnMut(&Call) -> Act + Send + 'static) {
        self.state().script = Box::new(script);
    }

    /// As [`Cluster::script`] for produce requests, by their number from now on; other requests are answered.
    pub fn on_produce(&self, mut act: impl FnMut(usize) -> Act + Send + 'static) {
        let before = self.state().counts.get(&ApiKey::Produce).copied().unwrap_or_default();
        self.script(move |call| if call.key == ApiKey::Produce { act(call.nth - before) } else { Act::Do });
    }

    /// Notes a request and says what is to be done with it.
    pub fn begin(&self, node: usize, connection: u64, frame: &[u8]) -> Act {
        let (key, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
        let key = ApiKey::try_from(key).expect("a known request");
        let mut reader = Reader::new(frame.to_vec().into());
        let header = header(&mut reader, key, version);
        let mut state = self.state();
        let count = state.counts.entry(key).or_default();
        let nth = *count;
        *count += 1;
        let call = Call { node, connection, key, version, nth, at: now(), client_id: header.client_id };
        if key == ApiKey::Produce {
            let request = ProduceRequest::decode(&mut reader, version).expect("a produce request");
            let batches = request.topic_data.iter().flat_map(|topic| &topic.partition_data).map(|data| {
                let bytes = data.records.as_ref().expect("a batch");
                let batch = RecordBatch::read(bytes).expect("a batch");
                (data.index as usize, *batch.header(), bytes.len())
            });
            let batches = batches.collect();
            let size = frame.len() + 4;
            let (acks, timeout_ms) = (request.acks, request.timeout_ms);
            state.produced.push(Produced { call: call.clone(), acks, timeout_ms, size, batches });
        }
        state.calls.push(call.clone());
        if key == ApiKey::ApiVersions { Act::Do } else { (state.script)(&call) }
    }

    /// Does it, now.
    pub fn finish(&self, node: usize, frame: &[u8], act: Act) -> Vec<Step> {
        let (done, refusal, throttle) = match act {
            Act::Refuse(code) => (false, Some(code), Duration::ZERO),
            Act::DoAndRefuse(code) => (true, Some(code), Duration::ZERO),
            Act::HangUp => return vec![Step::HangUp],
            Act::Silence => return vec![Step::Silence],
            Act::Throttle(silence) => (true, None, silence),
            _ => (true, None, Duration::ZERO),
        };
        let answer = self.state().answer(node, frame, done, refusal, throttle);
        match (act, answer) {
            (Act::DoAndHangUp, _) => vec![Step::HangUp],
            (Act::DoAndSilence, _) => vec![Step::Silence],
            (_, None) => Vec::new(),
            (Act::AnswerAfter(time), Some(answer)) => vec![Step::Wait(time), Step::Write(answer)],
            (Act::AnswerLast, Some(answer)) => vec![Step::WriteAfterNext(answer)],
            (Act::Cut(length), Some(mut answer)) => {
                answer.truncate(length);
                vec![Step::Write(answer), Step::HangUp]
            }
            (Act::Tamper(change), Some(answer)) => vec![Step::Write(change(answer))],
            (_, Some(answer)) => vec![Step::Write(answer)],
        }
    }
}

fn header(reader: &mut Reader, key: ApiKey, version: i16) -> RequestHeader {
    let flexible = version >= key.first_flexible();
    RequestHeader::decode(reader, if flexible { 2 } else { 1 }).expect("a request's header")
}

/// An answer as it stands on the wire.
pub fn encoded<R: Request>(correlation_id: i32, version: i16, response: &R::Response) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.begin_frame();
    let header = ResponseHeader { correlation_id, ..ResponseHeader::default() };
    header.encode(&mut writer, R::response_header_version(version)).expect("a header");
    response.encode(&mut writer, version).expect("an answer");
    writer.end_frame().expect("a frame");
    writer.into_vec()
}

impl State {
    fn answer(
        &mut self,
        node: usize,
        frame: &[u8],
        done: bool,
        refusal: Option<ErrorCode>,
        throttle: Duration,
    ) -> Option<Vec<u8>> {
        let (key, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
        let key = ApiKey::try_from(key).expect("a known request");
        let mut reader = Reader::new(frame.to_vec().into());
        let id = header(&mut reader, key, version).correlation_id;
        if key == ApiKey::Produce {
            let request = ProduceRequest::decode(&mut reader, version).expect("a produce request");
            let response = self.produce(node, version, &request, done, refusal, throttle);
            return (request.acks != 0).then(|| encoded::<ProduceRequest>(id, version, &response));
        }
        Some(self.answer_others(key, version, id, &mut reader, done, refusal))
    }

    fn produce(
        &mut self,
        node: usize,
        version: i16,
        request: &ProduceRequest,
        done: bool,
        refusal: Option<ErrorCode>,
        throttle: Duration,
    ) -> ProduceResponse {
        let mut response = ProduceResponse { throttle_time_ms: throttle.as_millis() as i32, ..Default::default() };
        for topic in &request.topic_data {
            let mut partition_responses = Vec::new();
            for data in &topic.partition_data {
                let at = data.index as usize;
                let appended = self.append(node, version, request, at, data.records.as_ref(), done);
                let result = match refusal {
                    Some(code) => Err(code),
                    None => appended,
                };
                let mut answer = PartitionProduceResponse { index: data.index, ..Default::default() };
                match result {
                    Ok(offset) => answer.base_offset = offset,
                    Err(code) => (answer.error_code, answer.base_offset) = (code.code(), -1),
                }
                let is_elsewhere = result == Err(ErrorCode::NotLeaderOrFollower);
                if let ((Some(leader), leader_epoch), true) = (self.leaders[at], self.leader_hints && is_elsewhere) {
                    let leader_id = leader as i32;
                    answer.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() };
                    let (host, port) = self.addresses[leader].clone();
                    let port = i32::from(port);
                    response.node_endpoints.push(NodeEndpoint { node_id: leader_id, host, port, ..Default::default() });
                }
                partition_responses.push(answer);
            }
            let (name, topic_id) = (topic.name.clone(), topic.topic_id);
            response.responses.push(TopicProduceResponse { name, topic_id, partition_responses, ..Default::default() });
        }
        response
    }

    fn append(
        &mut self,
        node: usize,
        version: i16,
        request: &ProduceRequest,
        at: usize,
        records: Option<&bytes::Bytes>,
        done: bool,
    ) -> Result<i64, ErrorCode> {
        let bytes = records.expect("a batch");
        if self.leaders[at].0 != Some(node) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if !done {
            return Ok(-1);
        }
        if let Some(id) = &request.transactional_id {
            let header = *RecordBatch::read(bytes).expect("a batch").header();
            self.model.admit(id, (header.producer_id, header.producer_epoch), at, version >= 12)?;
        }
        self.model.logs[at].append(bytes, self.records_max)
    }
}
