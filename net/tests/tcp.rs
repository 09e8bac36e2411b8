//! Frames over a real socket, dialled and accepted.

use bytes::Bytes;
use rkafka_net::{DialError, DialOptions, FrameReader, Framed, HostPort, Listener, SlabPool, dial};
use rkafka_protocol::wire::Writer;

fn frame(payload: &Bytes) -> Writer {
    let mut writer = Writer::new();
    writer.begin_frame();
    writer.raw(payload);
    writer.end_frame().unwrap();
    writer
}

#[tokio::test]
async fn frames_go_there_and_back() {
    let listener = Listener::bind(&HostPort::new("127.0.0.1", 0)).await.unwrap();
    let address = HostPort::new("localhost", listener.local_addr().unwrap().port());
    let options = DialOptions { send_buffer: Some(65_536), receive_buffer: Some(65_536), ..DialOptions::default() };
    let (near, far) = tokio::join!(dial(&address, &options), listener.accept());
    let pool = SlabPool::new(1 << 22);
    let framed = |stream| Framed::new(stream, FrameReader::new(1 << 24, pool.clone()));
    let (mut near, mut far) = (framed(near.unwrap()), framed(far.unwrap().0));
    let payloads: Vec<Bytes> =
        [0, 10, 5_000, 3_000_000].into_iter().map(|len| Bytes::from(vec![len as u8; len])).collect();
    let echo = async {
        for _ in &payloads {
            let payload = far.next().await.unwrap().unwrap();
            far.enqueue(frame(&payload));
            far.flush().await.unwrap();
        }
    };
    let ask = async {
        payloads.iter().for_each(|payload| {
            near.enqueue(frame(payload));
        });
        for payload in &payloads {
            assert!(near.drive().await.unwrap().unwrap() == *payload);
        }
    };
    tokio::join!(echo, ask);
    drop(far);
    assert!(near.drive().await.unwrap().is_none(), "a clean end");
}

#[tokio::test]
async fn what_cannot_be_reached_is_named() {
    let listener = Listener::bind(&HostPort::new("127.0.0.1", 0)).await.unwrap();
    let address = HostPort::new("127.0.0.1", listener.local_addr().unwrap().port());
    drop(listener);
    let error = dial(&address, &DialOptions::default()).await.unwrap_err();
    assert!(matches!(&error, DialError::Connect { attempts, .. } if attempts.len() == 1), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let nowhere = HostPort::new("no-such-host.invalid", 1);
    assert!(matches!(dial(&nowhere, &DialOptions::default()).await, Err(DialError::Resolve { .. })));
}
