//! A client of bare messages, for tests that must say exactly what is sent, and see every error that comes back.

use std::io;
use std::time::Duration;

use rkafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use rkafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use rkafka_protocol::messages::{FetchRequest, FindCoordinatorRequest, OffsetFetchRequest, RequestHeader};
use rkafka_protocol::records::{BatchIter, DecompressArena};
use rkafka_protocol::wire::{Message as _, Reader, Request, Writer};
use rkafka_protocol::{ApiKey, ErrorCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take; an end to waiting, no measure of speed.
const PATIENCE: Duration = Duration::from_secs(120);
/// No answer that a test asks for is larger.
const ANSWER_MAX: usize = 64 << 20;
const FETCH_BYTES: i32 = 1 << 20;

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug)]
pub enum RawError {
    /// The connection broke; whether the request was carried out is not known.
    Connection(io::Error),
    /// The broker answered with an error.
    Refused {
        /// What was asked.
        api: &'static str,
        /// The answer.
        error: ErrorCode,
    },
}

impl RawError {
    /// The broker's error, if it is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Connection(_) => None,
            Self::Refused { error, .. } => Some(*error),
        }
    }
}

impl std::fmt::Display for RawError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connection(error) => write!(f, "the connection broke: {error}"),
            Self::Refused { api, error } => write!(f, "{api}: {error}"),
        }
    }
}

impl std::error::Error for RawError {}

impl From<io::Error> for RawError {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

/// The error of an answer's field.
pub(crate) fn check(api: &'static str, code: i16) -> Result<(), RawError> {
    ErrorCode::check(code).map_err(|error| RawError::Refused { api, error })
}

/// What a reader of committed records sees of a partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The offset and the value of each record.
    pub values: Vec<(i64, String)>,
    /// Where to read on.
    pub next_offset: i64,
    /// Up to where all transactions are decided.
    pub last_stable_offset: i64,
    /// Up to where there are records.
    pub high_watermark: i64,
}

/// One connection. Requests are answered one after the other.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    correlation_id: i32,
}

impl RawClient {
    /// Connects to the first address of `bootstrap`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(bootstrap: &str) -> Result<Self, RawError> {
        let stream = TcpStream::connect(bootstrap.split(',').next().unwrap_or_default()).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`RawError::Connection`] only: errors of the broker are in the answer.
    ///
    /// # Panics
    /// No answer comes in two minutes, or it cannot be read.
    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, RawError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let mut writer = Writer::new();
        let header = RequestHeader {
            request_api_key: R::KEY as i16,
            request_api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some("testkit".to_owned()),
            ..Default::default()
        };
        writer.begin_frame();
        header.encode(&mut writer, R::header_version(version)).expect("a header");
        request.encode(&mut writer, version).expect("a request of this version");
        writer.end_frame().expect("a short request");
        let answer = tokio::time::timeout(PATIENCE, self.exchange(&writer.into_vec())).await;
        let answer = answer.unwrap_or_else(|_| panic!("{} is not answered", R::NAME))?;
        let mut reader = Reader::new(answer.into());
        assert_eq!(reader.i32().expect("a correlation id"), self.correlation_id);
        if R::response_header_version(version) >= 1 {
            reader.tagged_fields(|_, _| Ok(false)).expect("the header's tags");
        }
        let response = R::Response::decode(&mut reader, version);
        Ok(response.unwrap_or_else(|error| panic!("the answer to {}: {error}", R::NAME)))
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(request).await?;
        let length = self.stream.read_i32().await?;
        let length = usize::try_from(length).ok().filter(|length| *length <= ANSWER_MAX);
        let mut answer = vec![0; length.expect("a length")];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    /// Asks for the coordinator of a group (`key_type` 0) or a transactional id (1), which makes the internal topics where
    /// they are not there.
    ///
    /// # Errors
    /// The broker's, or the connection's.
    pub async fn find_coordinator(&mut self, key_type: i8, key: &str) -> Result<(), RawError> {
        let request = FindCoordinatorRequest { key_type, coordinator_keys: vec![key.to_owned()], ..Default::default() };
        let response = self.call(&request, 4).await?;
        check("FindCoordinator", response.coordinators.first().expect("a coordinator").error_code)
    }

    /// Reads what is committed in a partition from `offset` on, to the last stable offset as it is then.
    ///
    /// # Errors
    /// The broker's, or the connection's.
    ///
    /// # Panics
    /// The records cannot be read, or do not go on where they should.
    pub async fn read_committed(&mut self, topic: &str, partition: i32, offset: i64) -> Result<Committed, RawError> {
        let mut read = Committed { next_offset: offset, ..Committed::default() };
        let mut arena = DecompressArena::default();
        loop {
            let request = fetch_request(topic, partition, read.next_offset);
            let mut response = self.call(&request, 12).await?;
            check("Fetch", response.error_code)?;
            let data = response.responses.swap_remove(0).partitions.swap_remove(0);
            check("Fetch", data.error_code)?;
            (read.last_stable_offset, read.high_watermark) = (data.last_stable_offset, data.high_watermark);
            if read.next_offset >= read.last_stable_offset {
                return Ok(read);
            }
            let mut aborted = data.aborted_transactions.unwrap_or_default();
            aborted.sort_by_key(|one| one.first_offset);
            let mut aborts = Vec::new();
            let before = read.next_offset;
            for batch in BatchIter::new(&data.records.unwrap_or_default()) {
                let batch = batch.expect("a batch");
                batch.verify_crc().expect("its checksum");
                let header = batch.header();
                aborted.retain(|one| {
                    let begins = one.first_offset <= header.last_offset();
                    if begins {
                        aborts.push(one.producer_id);
                    }
                    !begins
                });
                read.next_offset = header.last_offset() + 1;
                if header.attributes.is_control() {
                    aborts.retain(|id| *id != header.producer_id);
                } else if !(header.attributes.is_transactional() && aborts.contains(&header.producer_id)) {
                    for record in batch.records(&mut arena).expect("records") {
                        let record = record.expect("a record");
                        if record.offset >= before {
                            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
                            read.values.push((record.offset, value));
                        }
                    }
                }
            }
            assert!(read.next_offset > before, "{topic}-{partition}: nothing is there at {before}, below {read:?}");
            assert!(read.next_offset <= read.last_stable_offset, "{topic}-{partition}: more than is stable: {read:?}");
        }
    }

    /// The offset that a group has committed for a partition, -1 for none. With an open transaction about it the answer is
    /// `UNSTABLE_OFFSET_COMMIT`.
    ///
    /// # Errors
    /// The broker's, or the connection's.
    pub async fn committed_offset(&mut self, group: &str, topic: &str, partition: i32) -> Result<i64, RawError> {
        let topic = OffsetFetchRequestTopics {
            name: topic.to_owned(),
            partition_indexes: vec![partition],
            ..Default::default()
        };
        let group =
            OffsetFetchRequestGroup { group_id: group.to_owned(), topics: Some(vec![topic]), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
        let response = self.call(&request, 9).await?;
        let group = response.groups.first().expect("the group");
        check(ApiKey::OffsetFetch.name(), group.error_code)?;
        let found = &group.topics.first().expect("the topic").partitions[0];
        check(ApiKey::OffsetFetch.name(), found.error_code)?;
        Ok(found.committed_offset)
    }
}

fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset: offset,
        partition_max_bytes: FETCH_BYTES,
        ..Default::default()
    };
    FetchRequest {
        replica_id: -1,
        min_bytes: 1,
        max_bytes: FETCH_BYTES,
        isolation_level: 1,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() }],
        ..Default::default()
    }
}
