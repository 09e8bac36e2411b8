//! Connections that are opened from here.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream};

use crate::{HostPort, Stream};

/// How a connection is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialOptions {
    /// How long one address may take to answer (`socket.connection.setup.timeout.ms`).
    pub setup_timeout: Duration,
    /// The system's buffer for what is sent, in bytes (`send.buffer.bytes`); `None` leaves it to the system.
    pub send_buffer: Option<u32>,
    /// The system's buffer for what is received, in bytes (`receive.buffer.bytes`); `None` leaves it to the system.
    pub receive_buffer: Option<u32>,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self { setup_timeout: Duration::from_secs(10), send_buffer: None, receive_buffer: None }
    }
}

/// A connection that could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host has no address.
    #[error("the host `{host}` cannot be resolved: {source}")]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// None of the host's addresses answered.
    #[error("no connection to {address}: {}", self.reason())]
    Connect {
        /// What was dialled.
        address: HostPort,
        /// Each address that was tried, and what came of it. A timeout is of the kind `TimedOut`.
        attempts: Vec<(SocketAddr, io::Error)>,
    },
}

impl DialError {
    /// What went wrong, without the address that was dialled, for a sentence that names it already.
    pub fn reason(&self) -> String {
        match self {
            Self::Connect { address, attempts } => match attempts.as_slice() {
                [(tried, error)] if tried.to_string() == address.to_string() => error.to_string(),
                attempts => attempts_text(attempts),
            },
            Self::Resolve { .. } => self.to_string(),
        }
    }
}

fn attempts_text(attempts: &[(SocketAddr, io::Error)]) -> String {
    attempts.iter().map(|(address, error)| format!("{address}: {error}")).collect::<Vec<_>>().join("; ")
}

/// What [`Dial::dial`] gives.
pub type DialFuture<'a> = Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send + 'a>>;

/// Whatever opens connections: the network, or a simulation of one.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Opens a connection to `address`.
    fn dial<'a>(&'a self, address: &'a HostPort, options: &'a DialOptions) -> DialFuture<'a>;
}

/// The network.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial<'a>(&'a self, address: &'a HostPort, options: &'a DialOptions) -> DialFuture<'a> {
        Box::pin(dial(address, options))
    }
}

/// Opens a TCP connection: every address of the host is tried in the resolver's order, each as long as
/// [`DialOptions::setup_timeout`]. `TCP_NODELAY` is set. Cancel safe: nothing stays open.
///
/// # Errors
/// The host cannot be resolved, or none of its addresses answers; the error names each attempt.
pub async fn dial(address: &HostPort, options: &DialOptions) -> Result<Stream, DialError> {
    let resolve = |source| DialError::Resolve { host: address.host.clone(), source };
    let lookup = tokio::net::lookup_host((address.host.as_str(), address.port));
    let addresses = match tokio::time::timeout(options.setup_timeout, lookup).await {
        Ok(addresses) => addresses.map_err(resolve)?,
        Err(_) => return Err(resolve(timed_out(options))),
    };
    let mut attempts = Vec::new();
    for candidate in addresses {
        match tokio::time::timeout(options.setup_timeout, connect(candidate, options)).await {
            Ok(Ok(stream)) => return Ok(Stream::Tcp(stream)),
            Ok(Err(error)) => attempts.push((candidate, error)),
            Err(_) => attempts.push((candidate, timed_out(options))),
        }
    }
    if attempts.is_empty() {
        return Err(resolve(io::Error::new(io::ErrorKind::NotFound, "no address has this name")));
    }
    Err(DialError::Connect { address: address.clone(), attempts })
}

fn timed_out(options: &DialOptions) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {:?}", options.setup_timeout))
}

async fn connect(address: SocketAddr, options: &DialOptions) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The buffers must be set before the connection is made, for the window's scale is agreed upon in the handshake.
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
