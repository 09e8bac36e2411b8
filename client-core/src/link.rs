//! One connection that one task owns.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rkafka_net::{Dial, FrameReader, Framed, HostPort, SlabPool, Stream};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use rkafka_protocol::wire::{EncodeError, Message, Reader, Request, Writer, decode_whole};

use crate::metrics::{ClientKind, ConnectionMetrics, LinkMeter, Metrics};
use crate::{BrokerVersions, ClientConfig, Error, ErrorKind, Result, clock};

/// What a frame's length takes before the frame.
const LENGTH_BYTES: usize = 4;

/// What brokers are told about this client (KIP-511).
const SOFTWARE_NAME: &str = "rkafka";
const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What every connection of a client has in common.
#[derive(Debug)]
pub struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) dialer: Arc<dyn Dial>,
    slabs: Arc<SlabPool>,
    pub(crate) connections: Arc<ConnectionMetrics>,
}

impl Shared {
    /// For connections by `config`, opened by `dialer`, whose metrics are those of a client of this kind.
    pub fn new(config: ClientConfig, dialer: Arc<dyn Dial>, kind: ClientKind) -> Self {
        let connections = ConnectionMetrics::new(&config, kind);
        Self { config, dialer, slabs: Arc::new(SlabPool::default()), connections }
    }

    /// The metrics of the connections.
    pub fn metrics(&self) -> &Metrics {
        self.connections.metrics()
    }

    /// The settings.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }
}

/// A broker and its address. The id is not known while a client bootstraps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The broker's id.
    pub node_id: Option<i32>,
    /// Where it listens.
    pub address: HostPort,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node_id {
            Some(node_id) => write!(formatter, "broker {node_id} ({})", self.address),
            None => write!(formatter, "bootstrap server {}", self.address),
        }
    }
}

#[derive(Debug)]
struct InFlight {
    correlation_id: i32,
    api_key: i16,
    version: i16,
    response_header_version: i16,
    frame: u64,
    /// When the last of it was given to the network.
    written_at: Option<Instant>,
}

/// An answer, not yet decoded: whoever waits for it does that, where it costs the connection nothing.
#[derive(Debug, Clone)]
pub struct Response {
    /// The request that it answers.
    pub correlation_id: i32,
    /// What was asked.
    pub api_key: i16,
    /// The version of the request, which is the version of the answer.
    pub version: i16,
    /// The answer without its header. A large one is a slice of the buffer that it was read into.
    pub body: Bytes,
    /// When the last byte of the request was given to the network.
    pub written_at: Instant,
    /// When the answer was here as a whole.
    pub received_at: Instant,
}

impl Response {
    /// Reads the answer to an `R`.
    ///
    /// # Errors
    /// It answers another request, or is not what it should be: [`ErrorKind::Protocol`].
    pub fn decode<R: Request>(self) -> Result<R::Response> {
        if self.api_key != R::KEY as i16 {
            let message =
                format!("an answer to the request with key {} was taken for one to {}", self.api_key, R::NAME);
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        Ok(decode_whole(self.body, self.version)?)
    }
}

/// One connection whose versions have been negotiated. Requests are pipelined; answers come in the order of the requests.
///
/// The task that owns it encodes straight into its write queue and reads straight from its socket. Nothing is timed in
/// here: the owner decides how long it waits, and drops the link where that is too long.
#[derive(Debug)]
pub struct Link {
    framed: Framed<Stream>,
    endpoint: Endpoint,
    versions: Arc<BrokerVersions>,
    /// Filled in for each request, so that the client's id is not copied for each.
    header: RequestHeader,
    in_flight: VecDeque<InFlight>,
    failed: Option<Error>,
    meter: LinkMeter,
    /// To be told of the first answer.
    trial: Option<Arc<Trial>>,
}

/// What became of a connection, for whoever opens the next one to the same broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is open, and no request was answered yet.
    Open,
    /// A request was answered.
    Answered,
    /// It ended before any request was answered.
    Fruitless,
}

/// An [`Outcome`] that the link writes.
#[derive(Debug, Default)]
pub(crate) struct Trial(AtomicU8);

impl Trial {
    pub(crate) fn outcome(&self) -> Outcome {
        match self.0.load(Ordering::Relaxed) {
            0 => Outcome::Open,
            1 => Outcome::Answered,
            _ => Outcome::Fruitless,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(trial) = self.trial.take() {
            trial.0.store(2, Ordering::Relaxed);
        }
        let queued = self.framed.writer().queued_bytes();
        self.meter.settled(self.in_flight.len());
        self.meter.closed(clock::now().into_std(), queued);
    }
}

impl Link {
    /// Opens a connection and negotiates versions, within `socket.connection.setup.timeout.ms` and
    /// `request.timeout.ms`. Cancel safe: nothing stays open.
    ///
    /// # Errors
    /// The broker cannot be reached, does not answer in time, or speaks no common version.
    pub async fn connect(shared: &Shared, endpoint: &Endpoint) -> Result<Self> {
        Self::connect_after(shared, endpoint, 0).await
    }

    /// As [`Link::connect`], after so many failures in a row, which give the connection more time.
    pub(crate) async fn connect_after(shared: &Shared, endpoint: &Endpoint, failures: u32) -> Result<Self> {
        let options = shared.config.dial_options(failures);
        let dialled = shared.dialer.dial(&endpoint.address, &options).await;
        let stream = dialled.map_err(|error| Error::from(error).with_broker(endpoint))?;
        Self::over(shared, endpoint, stream).await
    }

    /// Negotiates versions over a stream that is open.
    ///
    /// # Errors
    /// The broker does not answer in time, or speaks no common version.
    pub async fn over(shared: &Shared, endpoint: &Endpoint, stream: Stream) -> Result<Self> {
        let reader = FrameReader::new(shared.config.receive_message_max, Arc::clone(&shared.slabs));
        let header = RequestHeader { client_id: Some(shared.config.client_id.clone()), ..RequestHeader::default() };
        let mut link = Self {
            framed: Framed::new(stream, reader),
            endpoint: endpoint.clone(),
            versions: Arc::default(),
            header,
            in_flight: VecDeque::new(),
            failed: None,
            meter: shared.connections.opened(clock::now().into_std(), endpoint.node_id),
            trial: None,
        };
        let limit = shared.config.request_timeout;
        match tokio::time::timeout(limit, link.negotiate()).await {
            Ok(done) => done.map_err(|error| error.with_broker(endpoint))?,
            Err(_) => {
                let message = format!("no answer to ApiVersions within {limit:?} (request.timeout.ms)");
                return Err(Error::new(ErrorKind::Timeout, message).with_broker(endpoint));
            }
        }
        Ok(link)
    }

    /// KIP-511: the newest version first. A broker that does not know it answers in version 0, with an error and the
    /// versions that it does know.
    async fn negotiate(&mut self) -> Result<()> {
        let mut request = ApiVersionsRequest {
            client_software_name: SOFTWARE_NAME.to_owned(),
            client_software_version: SOFTWARE_VERSION.to_owned(),
            ..ApiVersionsRequest::default()
        };
        let mut version = ApiVersionsRequest::VERSIONS.max;
        loop {
            if version < 3 {
                // These fields are newer, and there is nothing to lose by leaving them out.
                request = ApiVersionsRequest::default();
            }
            self.enqueue(&request, version)?;
            let response = self.drive().await?;
            let code = response.body.first_chunk().map(|code| ErrorCode::from_code(i16::from_be_bytes(*code)));
            if code == Some(ErrorCode::UnsupportedVersion) && version > 0 {
                let known: ApiVersionsResponse = decode_whole(response.body, 0)?;
                let key = ApiVersionsRequest::KEY as i16;
                let theirs = known.api_keys.iter().find(|api| api.api_key == key).map_or(0, |api| api.max_version);
                version = theirs.clamp(0, version - 1);
                continue;
            }
            let response = response.decode::<ApiVersionsRequest>()?;
            Error::check(response.error_code)?;
            self.versions = Arc::new(BrokerVersions::new(&response));
            return Ok(());
        }
    }

    /// What becomes of the link from here on.
    pub(crate) fn watch(&mut self) -> Arc<Trial> {
        Arc::clone(self.trial.insert(Arc::default()))
    }

    /// The broker at the other end.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the broker can do.
    pub fn versions(&self) -> &Arc<BrokerVersions> {
        &self.versions
    }

    /// The newest version of `R` that both sides know, at most `max`; `i16::MAX` sets no limit.
    ///
    /// # Errors
    /// There is none.
    pub fn version_for<R: Request>(&self, max: i16) -> Result<i16> {
        self.versions.highest::<R>(max).map_err(|error| error.with_broker(&self.endpoint))
    }

    /// How many requests wait for their answers.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many bytes wait to be written.
    pub fn queued_bytes(&mut self) -> usize {
        self.framed.writer().queued_bytes()
    }

    /// Whether the broker may have got any of the request, which waits for its answer.
    pub fn maybe_written(&mut self, correlation_id: i32) -> bool {
        let found = self.in_flight.iter().find(|one| one.correlation_id == correlation_id).map(|one| one.frame);
        found.is_some_and(|frame| self.framed.writer().has_begun(frame))
    }

    /// Encodes a request into the write queue, its record batches by reference. Nothing is written before the link is
    /// driven. Gives the correlation id that the answer will have.
    ///
    /// # Errors
    /// The request cannot be written in this version, and the link is as it was; or the link has failed before.
    pub fn enqueue<R: Request>(&mut self, request: &R, version: i16) -> Result<i32> {
        let headers = (R::header_version(version), R::response_header_version(version));
        self.enqueue_with(R::KEY as i16, version, headers, true, |writer| request.encode(writer, version))
    }

    /// As [`Link::enqueue`], for a request that the broker does not answer: Produce with `acks=0`.
    ///
    /// # Errors
    /// As [`Link::enqueue`].
    pub fn enqueue_unanswered<R: Request>(&mut self, request: &R, version: i16) -> Result<i32> {
        let headers = (R::header_version(version), R::response_header_version(version));
        self.enqueue_with(R::KEY as i16, version, headers, false, |writer| request.encode(writer, version))
    }

    pub(crate) fn enqueue_with(
        &mut self,
        api_key: i16,
        version: i16,
        (header_version, response_header_version): (i16, i16),
        answered: bool,
        body: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<i32> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let correlation_id = self.header.correlation_id;
        self.header.request_api_key = api_key;
        self.header.request_api_version = version;
        let mut writer = self.framed.writer().buffer();
        writer.begin_frame();
        self.header.encode(&mut writer, header_version)?;
        body(&mut writer)?;
        writer.end_frame()?;
        self.meter.queued(writer.len(), answered);
        let frame = self.framed.enqueue(writer);
        self.header.correlation_id = correlation_id.wrapping_add(1);
        if answered {
            self.in_flight.push_back(InFlight {
                correlation_id,
                api_key,
                version,
                response_header_version,
                frame,
                written_at: None,
            });
        }
        Ok(correlation_id)
    }

    /// Writes what is queued and waits for the next answer, both at once.
    ///
    /// # Errors
    /// The connection broke ([`ErrorKind::Disconnected`]) or the broker sent nonsense, an answer out of order or one that
    /// nobody waits for ([`ErrorKind::Protocol`]). The link is of no use afterwards; [`Link::maybe_written`] still tells
    /// of each request. [`Error::maybe_written`] of this error tells whether any of them had been written.
    pub fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<Result<Response>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(error.clone()));
        }
        let driven = self.framed.poll_drive(context);
        self.note_written();
        let result = match ready!(driven) {
            Ok(Some(frame)) => self.accept(frame),
            Ok(None) => Err(Error::new(ErrorKind::Disconnected, "the broker closed the connection")),
            Err(error) => Err(Error::from(error)),
        };
        Poll::Ready(result.map_err(|error| self.fail(error)))
    }

    /// As [`Link::poll_drive`]. Cancel safe: what was written and read is kept.
    ///
    /// # Errors
    /// As [`Link::poll_drive`].
    pub async fn drive(&mut self) -> Result<Response> {
        std::future::poll_fn(|context| self.poll_drive(context)).await
    }

    /// Writes what is queued, and reads nothing; for requests without an answer. Cancel safe: a later call goes on.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn flush(&mut self) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let written = self.framed.flush().await;
        self.meter.tell(clock::now().into_std(), self.framed.writer().queued_bytes());
        written.map_err(|error| self.fail(Error::from(rkafka_net::FrameError::Io(error))))
    }

    /// Takes note of how long a produce or fetch request took, for the broker's `request-latency-avg`: from when it was
    /// queued until its answer was here.
    pub fn record_latency(&self, now: Instant, latency: Duration) {
        self.meter.latency(now, latency);
    }

    /// Stamps the requests that were written since the last look. Mostly there is none, and no look at the clock.
    fn note_written(&mut self) {
        let mut now = None;
        for request in self.in_flight.iter_mut().rev().take_while(|request| request.written_at.is_none()) {
            if self.framed.writer().is_written(request.frame) {
                request.written_at = Some(*now.get_or_insert_with(|| clock::now().into_std()));
            }
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        let begun = self.in_flight.front().map(|one| one.frame);
        let begun = begun.is_some_and(|frame| self.framed.writer().has_begun(frame));
        let error = error.with_broker(&self.endpoint).with_maybe_written(begun);
        self.failed = Some(error.clone());
        error
    }

    fn accept(&mut self, frame: Bytes) -> Result<Response> {
        let protocol = |message: String| Error::new(ErrorKind::Protocol, message);
        let Some(expected) = self.in_flight.front() else {
            return Err(protocol(format!("{} bytes came that answer no request", frame.len())));
        };
        let bytes = frame.len().saturating_add(LENGTH_BYTES);
        let mut reader = Reader::new(frame);
        let header = ResponseHeader::decode(&mut reader, expected.response_header_version)?;
        if header.correlation_id != expected.correlation_id {
            let (wanted, got) = (expected.correlation_id, header.correlation_id);
            return Err(protocol(format!("the answer to request {got} came where that to request {wanted} was due")));
        }
        let received_at = clock::now().into_std();
        let response = Response {
            correlation_id: header.correlation_id,
            api_key: expected.api_key,
            version: expected.version,
            body: reader.rest(),
            written_at: expected.written_at.unwrap_or(received_at),
            received_at,
        };
        self.in_flight.pop_front();
        if let Some(trial) = self.trial.take() {
            trial.0.store(1, Ordering::Relaxed);
        }
        self.meter.settled(1);
        let queued = self.framed.writer().queued_bytes();
        self.meter.answered(received_at, bytes, queued);
        Ok(response)
    }
}
