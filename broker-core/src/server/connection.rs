//! One connection: read a frame, answer it, and so on, in the order of the requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rkafka_net::{FrameError, FrameReader, Framed, SlabPool};
use rkafka_protocol::ApiKey;
use rkafka_protocol::wire::Writer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use super::limits::Limits;
use crate::BrokerState;
use crate::handlers::{DispatchError, Incoming, RequestContext, dispatch};

/// The requests whose answers may be long in coming.
const MAY_WAIT: [ApiKey; 4] = [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::ShareFetch];

/// What a connection is served with.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub broker: Arc<BrokerState>,
    pub slabs: Arc<SlabPool>,
    pub limits: Limits,
    /// The name of the listener that took it.
    pub listener: Arc<str>,
    /// Whether that is a listener for controllers.
    pub is_for_controllers: bool,
    pub number: u64,
    /// The client's address as Kafka shows it, such as `/127.0.0.1`.
    pub client_host: String,
    /// The client's port, 0 where it has none.
    pub client_port: u16,
    /// Becomes true when the broker stops.
    pub stop: watch::Receiver<bool>,
}

/// Counts an open connection for as long as it lives, and ends with it what the broker has open for it.
struct Counted<'a> {
    broker: &'a BrokerState,
    number: u64,
}

impl<'a> Counted<'a> {
    fn new(broker: &'a BrokerState, number: u64) -> Self {
        broker.connections.fetch_add(1, Ordering::Relaxed);
        Self { broker, number }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.broker.connections.fetch_sub(1, Ordering::Relaxed);
        self.broker.shares.disconnected(self.broker, self.number);
    }
}

/// Serves one connection until the client goes, sends what is no request, is silent for too long, or the broker stops.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(connection: Connection, stream: S) {
    let broker = Arc::clone(&connection.broker);
    let _counted = Counted::new(&broker, connection.number);
    let mut stop = connection.stop.clone();
    let (client, number) = (connection.client_host.clone(), connection.number);
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        end = answer_all(connection, stream) => match end {
            Ok(()) => tracing::debug!(%client, connection = number, "the connection ended"),
            Err(reason) => tracing::info!(%client, connection = number, "the connection is closed: {reason}"),
        }
    }
}

/// Answers one request after the other. `Err` says why the broker closes the connection.
async fn answer_all<S: AsyncRead + AsyncWrite + Unpin>(connection: Connection, stream: S) -> Result<(), String> {
    let Connection { broker, slabs, limits, listener, is_for_controllers, number, client_host, client_port, .. } =
        connection;
    let idle = broker.config.connections_max_idle;
    let max_frame = usize::try_from(broker.config.socket_request_max_bytes).unwrap_or(usize::MAX);
    let mut framed = Framed::new(stream, FrameReader::new(max_frame, slabs));
    let mut context = RequestContext {
        client_id: String::new(),
        client_host,
        connection_id: number,
        listener,
        is_for_controllers,
        client_port,
        client_software: Arc::default(),
    };
    let mut ahead: Option<Bytes> = None;
    loop {
        let frame = match ahead.take() {
            Some(frame) => frame,
            None => match timeout(idle, framed.next()).await {
                Ok(Ok(Some(frame))) => frame,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(FrameError::Io(error))) => {
                    tracing::debug!(%error, "the connection broke");
                    return Ok(());
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err(format!("nothing came for {idle:?} (connections.max.idle.ms)")),
            },
        };
        // Held until the answer is away.
        let _taken_in = limits.take_in(frame.len()).await;
        let incoming = Incoming::read(frame).map_err(|error| error.to_string())?;
        match &incoming.client_id {
            Some(id) => context.client_id.clone_from(id),
            None => context.client_id.clear(),
        }
        // A client that goes while its answer is due later should not be waited for.
        let answer = if MAY_WAIT.iter().any(|key| *key as i16 == incoming.key) {
            match answer_or_gone(&broker, &context, incoming, &mut framed, &mut ahead).await {
                Some(answer) => answer,
                None => return Ok(()),
            }
        } else {
            dispatch(&broker, &context, incoming).await
        };
        if let Some(response) = answer.map_err(|error| error.to_string())? {
            framed.enqueue(response);
            // The answer is away before the next request is begun, so a slow reader holds up nobody but itself, and no
            // more than one answer waits in memory.
            match timeout(idle, framed.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the connection broke");
                    return Ok(());
                }
                Err(_) => return Err(format!("an answer was not taken for {idle:?} (connections.max.idle.ms)")),
            }
        }
    }
}

/// Answers a request while it listens to the stream: `None` where the client went. A request that comes meanwhile is
/// kept in `ahead`, and nothing behind it is read.
async fn answer_or_gone<S: AsyncRead + AsyncWrite + Unpin>(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    incoming: Incoming,
    framed: &mut Framed<S>,
    ahead: &mut Option<Bytes>,
) -> Option<Result<Option<Writer>, DispatchError>> {
    let answer = dispatch(broker, context, incoming);
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return Some(answer),
        next = framed.next() => match next {
            Ok(Some(frame)) => *ahead = Some(frame),
            Ok(None) | Err(_) => return None,
        },
    }
    Some(answer.await)
}
