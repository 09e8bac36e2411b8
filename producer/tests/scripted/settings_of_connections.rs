//! What the settings of connections do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_client_core::{ClientOptions, Dial, DialOptions, HostPort};
use rkafka_net::{DialFuture, Stream, TcpDial};
use rkafka_producer::{ClientSettings as _, Producer, ProducerConfig, Record};
use rkafka_protocol::ApiKey;
use tokio::net::{TcpSocket, TcpStream};

use crate::net::{Loopback, Net, pause};

const MS: Duration = Duration::from_millis(1);

// Shows: client.id.
#[tokio::test(start_paused = true)]
async fn every_request_says_who_asks() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config().client_id("till-7")).await;
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
    let state = net.cluster.state();
    assert!(state.calls.iter().all(|call| call.client_id.as_deref() == Some("till-7")), "{:?}", state.calls);
    assert!(!state.calls_of(ApiKey::Produce).is_empty());
}

// Shows: bootstrap.servers.
#[tokio::test(start_paused = true)]
async fn the_cluster_is_found_by_any_of_its_addresses() {
    let net = Net::new(3, 1);
    net.kill(0);
    net.kill(1);
    net.cluster.state().leaders[0] = (Some(2), 1);
    let producer = net.producer(net.config()).await;
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
    let error = Producer::new(ProducerConfig::new()).await.unwrap_err().to_string();
    assert!(error.contains("bootstrap.servers"), "{error}");
}

// Shows: connections.max.idle.ms.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_opened_anew() {
    let net = Net::new(1, 1);
    let producer = net.producer(net.config().connections_max_idle(Some(10_000 * MS))).await;
    let send = async |value: &str| producer.send(Record::to("t").value(value)).await.unwrap().await.unwrap().offset;
    let connections = || {
        let produced = net.cluster.state().produced.clone();
        produced.into_iter().map(|one| one.call.connection).collect::<Vec<_>>()
    };
    assert_eq!(send("a").await, 0);
    pause(9_000 * MS).await;
    assert_eq!(send("b").await, 1);
    assert_eq!(connections()[0], connections()[1], "it is of use still");
    pause(11_000 * MS).await;
    assert_eq!(net.open_connections(), 0);
    assert_eq!(send("c").await, 2);
    assert_ne!(connections()[1], connections()[2]);
}

/// The pauses between attempts to reach a broker, after the first.
fn pauses(net: &Net) -> Vec<Duration> {
    let dials = net.dials(0);
    dials.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
}

// Shows: reconnect.backoff.ms, reconnect.backoff.max.ms.
#[tokio::test(start_paused = true)]
async fn attempts_to_reach_a_broker_wait_longer_each_time_up_to_a_limit() {
    let net = Net::new(2, 1);
    let config = net.config().reconnect_backoff(200 * MS).reconnect_backoff_max(3_200 * MS).retry_backoff(MS);
    let producer = net.producer(config.retry_backoff_max(MS)).await;
    drop(producer.topic("t").await.unwrap());
    net.kill(0);
    pause(MS).await;
    let before = net.dials(0).len();
    drop(producer.send(Record::to("t").value("x")).await.unwrap());
    pause(60_000 * MS).await;
    let pauses = pauses(&net).split_off(before);
    for (pause, due) in pauses.iter().zip([200, 400, 800, 1_600, 3_200, 3_200, 3_200]) {
        let due = due * MS;
        assert!(*pause >= due * 79 / 100, "{pauses:?}: {due:?} is due");
    }
    assert!(pauses.len() > 12 && pauses.len() < 40, "{pauses:?}");
}

// Shows: reconnect.backoff.ms, reconnect.backoff.max.ms.
#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_connections_and_closes_them_is_not_asked_in_a_tight_loop() {
    let net = Net::new(2, 1);
    let config = net.config().reconnect_backoff(100 * MS).reconnect_backoff_max(1_000 * MS).retry_backoff(MS);
    let producer = net.producer(config.retry_backoff_max(MS)).await;
    drop(producer.topic("t").await.unwrap());
    net.kill(0);
    net.revive(0);
    net.set_hostile(0, true);
    let before = net.dials(0).len();
    let delivery = producer.send(Record::to("t").value("x")).await.unwrap();
    pause(30_000 * MS).await;
    let dials = net.dials(0).len() - before;
    assert!((10..120).contains(&dials), "{dials} attempts in half a minute");
    net.set_hostile(0, false);
    assert_eq!(delivery.await.unwrap().offset, 0);
}

// Shows: socket.connection.setup.timeout.ms, socket.connection.setup.timeout.max.ms.
#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_answer_gets_more_time_each_time_up_to_a_limit() {
    let net = Net::new(2, 1);
    let config = net.config().socket_connection_setup_timeout(1_000 * MS).request_timeout(100_000 * MS);
    let config = config.socket_connection_setup_timeout_max(4_000 * MS).delivery_timeout(200_000 * MS);
    let producer = net.producer(config).await;
    drop(producer.topic("t").await.unwrap());
    net.kill(0);
    net.wall(0);
    let before = net.dials(0).len();
    drop(producer.send(Record::to("t").value("x")).await.unwrap());
    pause(60_000 * MS).await;
    let given = net.dials(0).split_off(before).into_iter().map(|(_, time)| time).collect::<Vec<_>>();
    assert!(given.len() > 5, "{given:?}");
    let near = |time: Duration, due: Duration| time >= due * 79 / 100 && time <= due * 121 / 100;
    assert!(near(given[0], 1_000 * MS), "{given:?}");
    assert!(given.iter().any(|time| near(*time, 2_000 * MS)), "{given:?}");
    assert!(given.iter().all(|time| *time <= 4_000 * MS) && near(*given.last().unwrap(), 4_000 * MS), "{given:?}");
}

/// Notes the system's buffers of each connection.
#[derive(Debug, Default)]
struct Noting(Mutex<Vec<(u32, u32)>>);

impl Dial for Noting {
    fn dial<'a>(&'a self, address: &'a HostPort, options: &'a DialOptions) -> DialFuture<'a> {
        Box::pin(async move {
            let Stream::Tcp(stream) = TcpDial.dial(address, options).await? else { panic!("TCP is dialled") };
            let stream = stream.into_std().unwrap();
            let socket = TcpSocket::from_std_stream(stream.try_clone().unwrap());
            let sizes = (socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap());
            self.0.lock().unwrap().push(sizes);
            Ok(Stream::Tcp(TcpStream::from_std(stream).unwrap()))
        })
    }
}

// Shows: send.buffer.bytes, receive.buffer.bytes.
#[tokio::test]
async fn sockets_have_the_buffers_that_are_asked_for() {
    let broker = Loopback::start();
    for (send, receive) in [(20_000_u32, 30_000_u32), (60_000, 10_000)] {
        let noting = Arc::new(Noting::default());
        let config = broker.config().send_buffer(Some(send)).receive_buffer(Some(receive));
        let options = ClientOptions::default().dialer(noting.clone());
        let producer = Producer::with_options(config, options).await.unwrap();
        producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
        for (sends, receives) in noting.0.lock().unwrap().iter() {
            // Linux doubles what is asked for, for what it needs itself.
            assert!(
                (send..=2 * send).contains(sends) && (receive..=2 * receive).contains(receives),
                "{sends}, {receives}"
            );
        }
    }
    // -1 leaves it to the system.
    let config = ProducerConfig::from_properties([
        ("bootstrap.servers", "localhost:9092"),
        ("send.buffer.bytes", "-1"),
        ("receive.buffer.bytes", "-1"),
    ]);
    let config = config.unwrap();
    assert_eq!((config.client.send_buffer, config.client.receive_buffer), (None, None));
}

// Shows: receive.message.max.bytes.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_large_is_not_taken() {
    let net = Net::new(1, 200);
    let config = net.config().receive_message_max(2_000_usize).max_block(1_000 * MS);
    let producer = net.producer(config).await;
    let error = producer.send(Record::to("t").value("x")).await.unwrap_err().to_string();
    assert!(error.contains("2000"), "{error}");
    let producer = net.producer(net.config().receive_message_max(20_000_usize)).await;
    producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap();
}

// Shows: security.protocol.
#[test]
fn what_would_not_be_protected_is_refused() {
    let set = |value| ProducerConfig::from_properties([("bootstrap.servers", "b:9092"), ("security.protocol", value)]);
    assert!(set("plaintext").is_ok());
    for asked in ["SSL", "SASL_SSL", "SASL_PLAINTEXT"] {
        let error = set(asked).unwrap_err().to_string();
        assert!(error.contains("security.protocol") && error.contains("PLAINTEXT"), "{error}");
    }
}
