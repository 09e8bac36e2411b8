//! The network as a [`PeerClient`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rkafka_net::{Dial, DialOptions, SlabPool};
use tokio::time::Instant;

use super::connection::PeerConnection;
use super::{Peer, PeerClient, PeerDirectory, PeerError, PeerFuture, PeerRequest};
use crate::Clock;
use crate::locks::lock;

/// The first wait after a failure to connect, as `reconnect.backoff.ms` of Kafka's clients; it doubles.
const BACKOFF: Duration = Duration::from_millis(50);
/// The longest, as `reconnect.backoff.max.ms`.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Memory of read buffers that is kept for later answers, in bytes.
const SLABS_RETAINED_BYTES: usize = 16 * 1024 * 1024;

/// Connections to other nodes. One is opened when it is first needed, and again after it broke.
///
/// Nothing runs in the background: the task that asks is the one that writes and reads.
#[derive(Debug)]
pub struct NetworkPeers {
    dial: Arc<dyn Dial>,
    directory: Arc<dyn PeerDirectory>,
    clock: Clock,
    client_id: String,
    frame_max: usize,
    slabs: Arc<SlabPool>,
    slots: Mutex<BTreeMap<Peer, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// The one place of a peer. Whoever holds its lock has the peer to itself.
#[derive(Debug, Default)]
struct Slot {
    connection: Option<PeerConnection>,
    /// Failures to connect in a row, the last one's words, and until when nothing is tried.
    failures: u32,
    reason: String,
    closed_until: Option<Instant>,
}

impl NetworkPeers {
    /// Connections that `dial` opens to where `directory` says; `client_id` is what peers read in their logs, and answers
    /// may be frames of up to `frame_max` bytes.
    pub fn new(
        dial: Arc<dyn Dial>,
        directory: Arc<dyn PeerDirectory>,
        clock: Clock,
        client_id: String,
        frame_max: usize,
    ) -> Self {
        let slabs = SlabPool::new(SLABS_RETAINED_BYTES);
        Self { dial, directory, clock, client_id, frame_max, slabs, slots: Mutex::default() }
    }

    async fn ask(&self, peer: Peer, request: PeerRequest) -> Result<Bytes, PeerError> {
        let within = request.within;
        let mut sent = false;
        let answer = tokio::time::timeout(within, self.ask_in_turn(peer, &request, &mut sent)).await;
        answer.unwrap_or(Err(PeerError::TimedOut { peer, within, sent }))
    }

    async fn ask_in_turn(&self, peer: Peer, request: &PeerRequest, sent: &mut bool) -> Result<Bytes, PeerError> {
        let address = self.directory.address(peer).ok_or(PeerError::Unknown(peer))?;
        let slot = Arc::clone(lock(&self.slots).entry(peer).or_default());
        let mut slot = slot.lock().await;
        // Taken out, so that it is gone where this future ends before the answer is here.
        let kept = slot.connection.take().and_then(|mut kept| kept.is_usable(&address).then_some(kept));
        let mut connection = match kept {
            Some(kept) => kept,
            None => {
                if slot.closed_until.is_some_and(|until| self.clock.now() < until) {
                    return Err(PeerError::Unreachable { peer, address, reason: slot.reason.clone() });
                }
                let options = DialOptions { setup_timeout: request.within, ..DialOptions::default() };
                // Until it is known better: a caller that gives up is a failure too.
                slot.failed("no answer to the last attempt to connect", self.clock.now());
                let opened = PeerConnection::open(
                    &*self.dial,
                    peer,
                    &address,
                    &options,
                    &self.client_id,
                    self.frame_max,
                    &self.slabs,
                )
                .await;
                match opened {
                    Ok(connection) => connection,
                    Err(error) => {
                        if let PeerError::Unreachable { reason, .. } = &error {
                            slot.reason.clone_from(reason);
                        }
                        return Err(error);
                    }
                }
            }
        };
        *sent = true;
        let answer = connection.ask(peer, request).await;
        if answer.is_ok() {
            // A connection that was never answered on counts as a failure, so that a listener which takes connections
            // and ends them is not asked all the time.
            slot.failures = 0;
            slot.closed_until = None;
            slot.connection = Some(connection);
        }
        answer
    }
}

impl Slot {
    fn failed(&mut self, reason: &str, now: Instant) {
        let backoff = BACKOFF.saturating_mul(1 << self.failures.min(8)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        reason.clone_into(&mut self.reason);
        self.closed_until = Some(now + backoff);
    }
}

impl PeerClient for NetworkPeers {
    fn send(&self, to: Peer, request: PeerRequest) -> PeerFuture<'_> {
        Box::pin(self.ask(to, request))
    }

    fn disconnect(&self, from: Peer) {
        lock(&self.slots).remove(&from);
    }
}
