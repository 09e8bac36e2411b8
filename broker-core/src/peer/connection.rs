//! One connection to a peer, with one request on it at a time.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use rkafka_net::{Dial, DialOptions, FrameReader, Framed, HostPort, SlabPool, Stream};
use rkafka_protocol::messages::{RequestHeader, ResponseHeader};
use rkafka_protocol::wire::{Message, Reader};

use super::{Peer, PeerError, PeerRequest};

/// A connection that is open and has no request on it.
#[derive(Debug)]
pub(super) struct PeerConnection {
    framed: Framed<Stream>,
    address: HostPort,
    header: RequestHeader,
}

impl PeerConnection {
    /// Opens a connection. Cancel safe.
    pub async fn open(
        dial: &dyn Dial,
        peer: Peer,
        address: &HostPort,
        options: &DialOptions,
        client_id: &str,
        frame_max: usize,
        slabs: &Arc<SlabPool>,
    ) -> Result<Self, PeerError> {
        let stream = dial.dial(address, options).await.map_err(|error| PeerError::Unreachable {
            peer,
            address: address.clone(),
            reason: error.reason(),
        })?;
        Ok(Self {
            framed: Framed::new(stream, FrameReader::new(frame_max, Arc::clone(slabs))),
            address: address.clone(),
            header: RequestHeader { client_id: Some(client_id.to_owned()), ..RequestHeader::default() },
        })
    }

    /// Whether the next request may go over this connection: it leads to `address`, and nothing has come on it that was
    /// not asked for, such as its end.
    pub fn is_usable(&mut self, address: &HostPort) -> bool {
        self.address == *address
            && matches!(self.framed.poll_frame(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    }

    /// Sends a request and waits for its answer. The connection is of no use after an error, nor where the future is
    /// dropped.
    pub async fn ask(&mut self, peer: Peer, request: &PeerRequest) -> Result<Bytes, PeerError> {
        let encode = |source| PeerError::Encode { peer, source };
        self.header.correlation_id = self.header.correlation_id.wrapping_add(1);
        self.header.request_api_key = request.key as i16;
        self.header.request_api_version = request.version;
        let mut writer = self.framed.writer().buffer();
        writer.begin_frame();
        self.header.encode(&mut writer, request.header_version).map_err(encode)?;
        writer.raw(&request.body);
        writer.end_frame().map_err(encode)?;
        self.framed.enqueue(writer);
        let broke = |reason: String| PeerError::Disconnected { peer, reason };
        let frame = match self.framed.drive().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(broke("the peer closed it".to_owned())),
            Err(error) => return Err(broke(error.to_string())),
        };
        let mut reader = Reader::new(frame);
        let header = ResponseHeader::decode(&mut reader, request.response_header_version)
            .map_err(|source| PeerError::Decode { peer, source })?;
        if header.correlation_id != self.header.correlation_id {
            let (wanted, got) = (self.header.correlation_id, header.correlation_id);
            return Err(broke(format!("the answer to request {got} came where that to request {wanted} was due")));
        }
        Ok(reader.rest())
    }
}
