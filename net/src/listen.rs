//! Connections that are opened from elsewhere.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::{HostPort, Stream};

/// How long accepting pauses when the system has nothing left for a new connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What [`Accept::accept`] gives.
pub type AcceptFuture<'a> = Pin<Box<dyn Future<Output = io::Result<(Stream, SocketAddr)>> + Send + 'a>>;

/// Whatever connections come to that is no TCP port, such as a simulated network. The counterpart of
/// [`Dial`](crate::Dial).
pub trait Accept: fmt::Debug + Send + Sync {
    /// The next connection, and where it comes from. Must be cancel safe. An error ends the listener.
    fn accept(&self) -> AcceptFuture<'_>;

    /// Where it listens, as others are told it.
    fn local_addr(&self) -> SocketAddr;
}

/// What connections come to: a port, or what stands for one.
#[derive(Debug)]
pub struct Listener {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Tcp(TcpListener),
    Other(Box<dyn Accept>),
}

impl Listener {
    /// Takes connections from elsewhere than a TCP port.
    pub fn new(source: impl Accept + 'static) -> Self {
        Self { source: Source::Other(Box::new(source)) }
    }

    /// Listens on `address`; port 0 takes any free one, which [`Listener::local_addr`] then names. Of a host with several
    /// addresses the first that can be bound is taken.
    ///
    /// # Errors
    /// The host cannot be resolved, or the port is taken.
    pub async fn bind(address: &HostPort) -> io::Result<Self> {
        let listener = TcpListener::bind((address.host.as_str(), address.port)).await?;
        Ok(Self { source: Source::Tcp(listener) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.source {
            Source::Tcp(listener) => listener.local_addr(),
            Source::Other(source) => Ok(source.local_addr()),
        }
    }

    /// The next connection, with `TCP_NODELAY` set, and where it comes from. Cancel safe.
    ///
    /// A connection that was gone before it was taken is passed over. Where the system has no file descriptor or memory
    /// for one more, this waits for a moment and tries again.
    ///
    /// # Errors
    /// The listener itself fails.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let listener = match &self.source {
            Source::Tcp(listener) => listener,
            Source::Other(source) => return source.accept().await,
        };
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match stream.set_nodelay(true) {
                    Ok(()) => return Ok((Stream::Tcp(stream), peer)),
                    Err(error) => tracing::debug!(%peer, %error, "a connection was gone before it was taken"),
                },
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was taken");
                }
                Err(error) if is_exhausted(&error) => {
                    tracing::warn!(%error, "no connection can be taken, trying again in {PAUSE:?}");
                    pause().await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver of a listener that the system cannot serve right now")]
async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// ENOMEM 12, ENFILE 23, EMFILE 24, ENOBUFS 105: the standard library has no kinds for most of them.
fn is_exhausted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory || matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}
