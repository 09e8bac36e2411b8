//! Requests from this node to other nodes of its cluster.
//!
//! Whoever asks another node asks through [`PeerClient`], so that a test or a simulation can stand for the network.
//! [`NetworkPeers`] is the network: a connection per node and [`Purpose`], with one request on it at a time, as Kafka's
//! brokers have it.

mod connection;
mod gathering;
mod network;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use rkafka_net::HostPort;
use rkafka_protocol::ApiKey;
use rkafka_protocol::wire::{DecodeError, EncodeError, Request, decode_whole, encode_to_vec};
use thiserror::Error;

pub(crate) use gathering::Gathering;
pub use network::NetworkPeers;

/// What a connection to a peer is for. Uses have connections of their own, so that none waits behind the long poll of
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Fetches of the metadata log, and of its snapshots. To a controller.
    MetadataFetch,
    /// Votes and whatever else the quorum has to say. To a controller.
    Quorum,
    /// Registration and heartbeats. To the active controller.
    Heartbeat,
    /// What this broker asks of the active controller for itself, such as a change of in-sync replicas.
    Controller,
    /// Requests of clients that only the active controller can answer (KIP-590).
    Forwarding,
    /// Fetches of followers, by the number of the fetcher. To a broker.
    Replication(u16),
    /// Markers of transactions, from their coordinator to the leaders of partitions. To a broker.
    Markers,
    /// What leaders of partitions ask of the coordinators of transactions. To a broker.
    Admission,
    /// States of share groups, from and to their coordinator. To a broker.
    ShareState,
}

impl Purpose {
    /// Whether it is the controller's listener of the node that is asked, and not that for brokers.
    pub fn is_for_controllers(self) -> bool {
        matches!(self, Self::MetadataFetch | Self::Quorum | Self::Heartbeat | Self::Controller | Self::Forwarding)
    }
}

/// Another node, and what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The node's id.
    pub node_id: i32,
    /// What for.
    pub purpose: Purpose,
}

impl Peer {
    /// The node with this id, for this purpose.
    pub fn new(node_id: i32, purpose: Purpose) -> Self {
        Self { node_id, purpose }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "node {} ({:?})", self.node_id, self.purpose)
    }
}

/// A request as its bytes, without a header.
#[derive(Debug, Clone)]
pub struct PeerRequest {
    /// The API that is asked.
    pub key: ApiKey,
    /// The version of the request, and of its answer.
    pub version: i16,
    /// The version of the header before the request.
    pub header_version: i16,
    /// The version of the header before the answer.
    pub response_header_version: i16,
    /// The request itself.
    pub body: Bytes,
    /// How long the answer may take, connecting included.
    pub within: Duration,
}

impl PeerRequest {
    /// Encodes a request.
    ///
    /// # Errors
    /// The request cannot be written in this version.
    pub fn of<R: Request>(request: &R, version: i16, within: Duration) -> Result<Self, EncodeError> {
        Ok(Self {
            key: R::KEY,
            version,
            header_version: R::header_version(version),
            response_header_version: R::response_header_version(version),
            body: encode_to_vec(request, version)?.into(),
            within,
        })
    }
}

/// Why a peer gave no answer.
///
/// Whether it got the request is known only where [`PeerError::was_sent`] says that it did not.
#[derive(Debug, Error)]
pub enum PeerError {
    /// No address of the node is known (yet).
    #[error("no address of {0} is known")]
    Unknown(Peer),
    /// No connection could be opened, now or a moment ago.
    #[error("{peer} cannot be reached at {address}: {reason}")]
    Unreachable {
        /// Who was asked.
        peer: Peer,
        /// Where.
        address: HostPort,
        /// What went wrong.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection to {peer} broke: {reason}")]
    Disconnected {
        /// Who was asked.
        peer: Peer,
        /// What went wrong.
        reason: String,
    },
    /// No answer came in time.
    #[error("no answer from {peer} within {within:?}")]
    TimedOut {
        /// Who was asked.
        peer: Peer,
        /// How long the answer could take.
        within: Duration,
        /// Whether the request may have gone out.
        sent: bool,
    },
    /// The answer cannot be read.
    #[error("the answer of {peer} cannot be read: {source}")]
    Decode {
        /// Who was asked.
        peer: Peer,
        /// What is wrong.
        source: DecodeError,
    },
    /// The request cannot be written, which is a fault of this node.
    #[error("a request to {peer} cannot be written: {source}")]
    Encode {
        /// Who was to be asked.
        peer: Peer,
        /// What is wrong.
        source: EncodeError,
    },
}

impl PeerError {
    /// Whether the peer may have got the request.
    pub fn was_sent(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Unreachable { .. } | Self::Encode { .. } => false,
            Self::Disconnected { .. } | Self::Decode { .. } => true,
            Self::TimedOut { sent, .. } => *sent,
        }
    }
}

/// What [`PeerClient::send`] gives: the answer without its header.
pub type PeerFuture<'a> = Pin<Box<dyn Future<Output = Result<Bytes, PeerError>> + Send + 'a>>;

/// Asks other nodes.
///
/// Use [`PeerClient::call`](trait@PeerClient#method.call), which encodes and decodes. Nothing is tried twice in here:
/// whoever asks knows what a second time would do. After a failure to connect the next calls fail at once for a while
/// (`reconnect.backoff.ms` doubling up to `reconnect.backoff.max.ms`), so that a caller may ask again as often as it
/// likes, but has to wait a moment in between.
pub trait PeerClient: fmt::Debug + Send + Sync {
    /// Sends the request, and waits for the answer. Dropping the future gives the answer up; the peer may do what it was
    /// asked for.
    fn send(&self, to: Peer, request: PeerRequest) -> PeerFuture<'_>;

    /// Forgets a connection, as when the node's address is another one now, or a partition of the network is over.
    fn disconnect(&self, _from: Peer) {}
}

impl dyn PeerClient + '_ {
    /// Asks `to`, and waits for the answer for as long as `within`.
    ///
    /// Cancel safe in that nothing of this node is left half done; what the peer did is not known then.
    ///
    /// # Errors
    /// There was no answer, or none that can be read. An error code in the answer is for the caller to find.
    pub async fn call<R: Request>(
        &self,
        to: Peer,
        version: i16,
        request: &R,
        within: Duration,
    ) -> Result<R::Response, PeerError> {
        let request =
            PeerRequest::of(request, version, within).map_err(|source| PeerError::Encode { peer: to, source })?;
        let answer = self.send(to, request).await?;
        decode_whole(answer, version).map_err(|source| PeerError::Decode { peer: to, source })
    }
}

/// Who knows the addresses of nodes.
pub trait PeerDirectory: fmt::Debug + Send + Sync {
    /// Where the node is reached for the purpose; `None` where that is not known (yet).
    fn address(&self, peer: Peer) -> Option<HostPort>;
}

#[cfg(test)]
mod tests;
