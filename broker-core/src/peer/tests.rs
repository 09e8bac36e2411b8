use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rkafka_net::{Dial, DialError, DialFuture, DialOptions, FrameReader, Framed, SlabPool, Stream};
use rkafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse, RequestHeader, ResponseHeader};
use rkafka_protocol::wire::{Message, Reader, Writer};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::*;
use crate::Clock;

/// A network in which each connection is handed to the test.
#[derive(Debug)]
struct Wires {
    dialled: mpsc::UnboundedSender<DuplexStream>,
    attempts: AtomicUsize,
    refuses: Mutex<bool>,
}

impl Dial for Wires {
    fn dial<'a>(&'a self, address: &'a HostPort, _options: &'a DialOptions) -> DialFuture<'a> {
        Box::pin(async move {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            if *self.refuses.lock().unwrap() {
                let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                return Err(DialError::Resolve { host: address.host.clone(), source: refused });
            }
            let (near, far) = tokio::io::duplex(64 * 1024);
            self.dialled.send(far).unwrap();
            Ok(Stream::boxed(near))
        })
    }
}

#[derive(Debug)]
struct OneAddress;

impl PeerDirectory for OneAddress {
    fn address(&self, peer: Peer) -> Option<HostPort> {
        (peer.node_id == 2).then(|| HostPort::new("two", 9092))
    }
}

const TO: Peer = Peer { node_id: 2, purpose: Purpose::Controller };
const WITHIN: Duration = Duration::from_secs(5);

fn network() -> (Arc<dyn PeerClient>, Arc<Wires>, mpsc::UnboundedReceiver<DuplexStream>) {
    let (dialled, far) = mpsc::unbounded_channel();
    let wires = Arc::new(Wires { dialled, attempts: AtomicUsize::new(0), refuses: Mutex::new(false) });
    let dial = Arc::clone(&wires) as Arc<dyn Dial>;
    let clock = Clock::simulated(0);
    let peers = NetworkPeers::new(dial, Arc::new(OneAddress), clock, "node-1".to_owned(), 1024 * 1024);
    (Arc::new(peers), wires, far)
}

fn ask() -> HeartbeatRequest {
    HeartbeatRequest { group_id: "g".to_owned(), ..Default::default() }
}

type Far = Framed<DuplexStream>;

fn far_end(stream: DuplexStream) -> Far {
    Framed::new(stream, FrameReader::new(1024, SlabPool::new(0)))
}

/// Reads one request and answers it with an error code.
async fn answer(far: &mut Far, code: i16) {
    let mut reader = Reader::new(far.next().await.unwrap().unwrap());
    let header = RequestHeader::decode(&mut reader, 2).unwrap();
    assert_eq!(header.client_id.as_deref(), Some("node-1"));
    let mut writer = Writer::new();
    writer.begin_frame();
    ResponseHeader { correlation_id: header.correlation_id, ..Default::default() }.encode(&mut writer, 1).unwrap();
    HeartbeatResponse { error_code: code, ..Default::default() }.encode(&mut writer, 4).unwrap();
    writer.end_frame().unwrap();
    far.enqueue(writer);
    far.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_go_one_at_a_time_over_one_connection() {
    let (peers, wires, mut dialled) = network();
    let serve = async {
        let mut far = far_end(dialled.recv().await.unwrap());
        for code in 1..=3 {
            answer(&mut far, code).await;
        }
        far
    };
    let request = ask();
    let call = || peers.call(TO, 4, &request, WITHIN);
    let (first, second, third, far) = tokio::join!(call(), call(), call(), serve);
    assert_eq!([first, second, third].map(|answer| answer.unwrap().error_code), [1, 2, 3]);
    assert_eq!(wires.attempts.load(Ordering::Relaxed), 1);
    // The peer closes it, and the next request has a new one, without an error between.
    drop(far);
    let serve = async {
        let mut far = far_end(dialled.recv().await.unwrap());
        answer(&mut far, 4).await;
        far
    };
    let (fourth, _far) = tokio::join!(call(), serve);
    assert_eq!(fourth.unwrap().error_code, 4);
    assert_eq!(wires.attempts.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_given_up_is_not_taken_for_that_of_the_next_request() {
    let (peers, _wires, mut dialled) = network();
    let late = peers.call(TO, 4, &ask(), Duration::from_millis(10)).await.unwrap_err();
    assert!(matches!(late, PeerError::TimedOut { sent: true, .. }) && late.was_sent(), "{late}");
    let mut abandoned = far_end(dialled.recv().await.unwrap());
    tokio::time::advance(BACKED_OFF).await;
    let request = ask();
    let serve = async {
        let mut far = far_end(dialled.recv().await.unwrap());
        answer(&mut far, 7).await;
        far
    };
    let (answered, _far) = tokio::join!(peers.call(TO, 4, &request, WITHIN), serve);
    assert_eq!(answered.unwrap().error_code, 7);
    assert!(abandoned.next().await.unwrap().is_some() && abandoned.next().await.unwrap().is_none());
}

/// Longer than any wait between two attempts.
const BACKED_OFF: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_reached_is_not_dialled_all_the_time() {
    let (peers, wires, _dialled) = network();
    let unknown = peers.call(Peer::new(9, Purpose::Quorum), 4, &ask(), WITHIN).await.unwrap_err();
    assert!(matches!(unknown, PeerError::Unknown(_)), "{unknown}");
    *wires.refuses.lock().unwrap() = true;
    for _ in 0..100 {
        let refused = peers.call(TO, 4, &ask(), WITHIN).await.unwrap_err();
        assert!(matches!(refused, PeerError::Unreachable { .. }) && !refused.was_sent(), "{refused}");
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    // 50, 100, 200 and 400 milliseconds lie between them.
    assert_eq!(wires.attempts.load(Ordering::Relaxed), 5);
    // Another use of the same node is another connection.
    let refused = peers.call(Peer::new(2, Purpose::Quorum), 4, &ask(), WITHIN).await;
    assert!(refused.is_err());
    assert_eq!(wires.attempts.load(Ordering::Relaxed), 6);
}
