//! How the producer reaches the brokers: streams in memory, on a clock that tests stop, or TCP, for producers that
//! outlive their runtime.

use std::future::Future;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rkafka_client_core::{ClientOptions, ClientSettings as _, Dial, DialOptions, HostPort};
use rkafka_net::{DialError, DialFuture, Stream};
use rkafka_producer::{Producer, ProducerConfig, TransactionalProducer};
use rkafka_protocol::ApiKey;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::broker::{Act, Cluster, Step, now};

/// Brokers in memory, for a runtime whose clock is stopped.
pub struct Net {
    pub cluster: Arc<Cluster>,
    wires: Arc<Mutex<Wires>>,
}

#[derive(Debug, Default)]
struct Wires {
    /// When a connection to which broker was tried, and how long it was given.
    dials: Vec<(usize, Instant, Duration)>,
    down: Vec<usize>,
    /// Brokers that take connections and close them at once.
    hostile: Vec<usize>,
    /// Brokers behind a wall that swallows everything.
    walled: Vec<usize>,
    serving: Vec<(usize, AbortHandle)>,
    /// A frame of this kind, after so many others, breaks off after so many bytes.
    cut: Option<(ApiKey, usize, usize)>,
    /// The most produce requests that waited for answers on one connection.
    in_flight_max: usize,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Net")
    }
}

#[expect(clippy::disallowed_methods, reason = "brokers run beside the test")]
pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(task)
}

#[expect(clippy::disallowed_methods, reason = "on a clock that is stopped, or where nothing hangs on it")]
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

impl Net {
    /// Brokers `b0` and on, and partitions that they lead in turn.
    pub fn new(brokers: usize, partitions: usize) -> Arc<Self> {
        let addresses = (0..brokers).map(|id| (format!("b{id}"), 9092)).collect();
        Arc::new(Self { cluster: Arc::new(Cluster::new(addresses, partitions)), wires: Arc::default() })
    }

    fn wires(&self) -> std::sync::MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Settings that suit most tests: nothing lingers.
    pub fn config(&self) -> ProducerConfig {
        let addresses = self.cluster.state().addresses.clone();
        let servers = addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>();
        ProducerConfig::new().bootstrap_servers(servers).linger(Duration::ZERO)
    }

    pub async fn producer(self: &Arc<Self>, config: ProducerConfig) -> Producer {
        Producer::with_options(config, self.options()).await.expect("a producer")
    }

    pub async fn transactional(self: &Arc<Self>, config: ProducerConfig) -> TransactionalProducer {
        let config = if config.transactional_id.is_some() { config } else { config.transactional_id("tx") };
        TransactionalProducer::with_options(config, self.options()).await.expect("a transactional producer")
    }

    pub fn options(self: &Arc<Self>) -> ClientOptions {
        ClientOptions::default().dialer(self.clone())
    }

    /// When connections to a broker were tried, and how long each was given.
    pub fn dials(&self, node: usize) -> Vec<(Instant, Duration)> {
        self.wires().dials.iter().filter(|dial| dial.0 == node).map(|dial| (dial.1, dial.2)).collect()
    }

    /// The most produce requests that waited for answers on one connection.
    pub fn in_flight_max(&self) -> usize {
        self.wires().in_flight_max
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.wires().serving.iter().filter(|(_, task)| !task.is_finished()).count()
    }

    /// The broker is gone, and its connections with it.
    pub fn kill(&self, node: usize) {
        let mut wires = self.wires();
        wires.down.push(node);
        wires.serving.retain(|(of, task)| {
            if *of == node {
                task.abort();
            }
            *of != node
        });
    }

    pub fn revive(&self, node: usize) {
        self.wires().down.retain(|down| *down != node);
    }

    /// From now on the broker takes connections and closes them at once, or does so no more.
    pub fn set_hostile(&self, node: usize, hostile: bool) {
        let mut wires = self.wires();
        wires.hostile.retain(|one| *one != node);
        wires.hostile.extend(hostile.then_some(node));
    }

    /// Nobody answers at the broker's address.
    pub fn wall(&self, node: usize) {
        self.wires().walled.push(node);
    }

    /// The connection breaks after so many bytes of a request of this kind, after `skipped` others from now on.
    pub fn cut_request(&self, key: ApiKey, skipped: usize, length: usize) {
        self.wires().cut = Some((key, skipped, length));
    }

    fn node(&self, address: &HostPort) -> Option<usize> {
        self.cluster.state().addresses.iter().position(|(host, port)| *host == address.host && *port == address.port)
    }
}

impl Dial for Net {
    fn dial<'a>(&'a self, address: &'a HostPort, options: &'a DialOptions) -> DialFuture<'a> {
        Box::pin(async move {
            let failed = |kind: io::ErrorKind| {
                let nowhere = SocketAddr::from(([127, 0, 0, 1], address.port));
                Err(DialError::Connect { address: address.clone(), attempts: vec![(nowhere, kind.into())] })
            };
            let Some(node) = self.node(address) else { return failed(io::ErrorKind::NotFound) };
            let (is_down, is_hostile, is_walled) = {
                let mut wires = self.wires();
                wires.dials.push((node, now(), options.setup_timeout));
                (wires.down.contains(&node), wires.hostile.contains(&node), wires.walled.contains(&node))
            };
            if is_walled {
                pause(options.setup_timeout).await;
                return failed(io::ErrorKind::TimedOut);
            }
            if is_down {
                return failed(io::ErrorKind::ConnectionRefused);
            }
            let (near, far) = tokio::io::duplex(1 << 20);
            if is_hostile {
                drop(far);
                return Ok(Stream::boxed(near));
            }
            let connection = {
                let mut state = self.cluster.state();
                state.connections += 1;
                state.connections
            };
            let task = spawn(serve(self.cluster.clone(), node, connection, far, self.wires.clone()));
            self.wires().serving.push((node, task.abort_handle()));
            Ok(Stream::boxed(Wire { inner: near, wires: self.wires.clone(), frame: Frame::default() }))
        })
    }
}

/// A frame that the client is writing.
#[derive(Default)]
struct Frame {
    /// How many of its bytes were written, of how many.
    written: usize,
    length: usize,
    /// It breaks off after so many bytes.
    cut: Option<usize>,
    is_broken: bool,
}

/// The client's end of a connection, which can break within a request.
struct Wire {
    inner: DuplexStream,
    wires: Arc<Mutex<Wires>>,
    frame: Frame,
}

impl Wire {
    fn begin_frame(&mut self, bytes: &[u8]) {
        let Some((length, rest)) = bytes.split_first_chunk() else { panic!("a frame begins with its length") };
        let key = rest.first_chunk().map(|key| ApiKey::try_from(i16::from_be_bytes(*key)).expect("a known request"));
        let mut wires = self.wires.lock().unwrap();
        let cut = match &mut wires.cut {
            Some((of, skipped @ 1.., _)) if Some(*of) == key => {
                *skipped -= 1;
                None
            }
            Some((of, _, length)) if Some(*of) == key => Some(*length),
            _ => None,
        };
        if cut.is_some() {
            wires.cut = None;
        }
        self.frame = Frame { written: 0, length: 4 + u32::from_be_bytes(*length) as usize, cut, is_broken: false };
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.frame.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut this.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.frame.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if this.frame.written == this.frame.length && !bytes.is_empty() {
            this.begin_frame(bytes);
        }
        let end = this.frame.cut.unwrap_or(this.frame.length).min(this.frame.length);
        let part = bytes.len().min(end - this.frame.written);
        if part == 0 && !bytes.is_empty() {
            this.frame.is_broken = true;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = ready!(Pin::new(&mut this.inner).poll_write(context, &bytes[..part]))?;
        this.frame.written += written;
        // Where all of it went, the answer still does not come.
        this.frame.is_broken = this.frame.cut == Some(this.frame.written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

/// One connection at the broker: requests are done in their order, and answered in it.
async fn serve(cluster: Arc<Cluster>, node: usize, connection: u64, stream: DuplexStream, wires: Arc<Mutex<Wires>>) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (answers, mut to_answer) = mpsc::unbounded_channel::<(bool, Vec<Step>)>();
    let in_flight = Mutex::new(0);
    let read = async {
        loop {
            let Ok(length) = reader.read_u32().await else { return };
            let mut frame = vec![0; length as usize];
            if reader.read_exact(&mut frame).await.is_err() {
                return;
            }
            let act = cluster.begin(node, connection, &frame);
            let is_produce = frame[..2] == [0, 0];
            if is_produce {
                let mut in_flight = in_flight.lock().unwrap();
                *in_flight += 1;
                let mut wires = wires.lock().unwrap();
                wires.in_flight_max = wires.in_flight_max.max(*in_flight);
            }
            let steps = if let Act::DoAfter(time) = act {
                let cluster = cluster.clone();
                // It is done also where the connection is gone by then; what comes behind it is not read before.
                let done = spawn(async move {
                    pause(time).await;
                    cluster.finish(node, &frame, act)
                });
                done.await.expect("no panic")
            } else {
                cluster.finish(node, &frame, act)
            };
            if answers.send((is_produce, steps)).is_err() {
                return;
            }
        }
    };
    let write = async {
        let mut held = Vec::new();
        while let Some((is_produce, steps)) = to_answer.recv().await {
            for step in steps {
                match step {
                    Step::Write(bytes) => {
                        let held = std::mem::take(&mut held);
                        if writer.write_all(&bytes).await.is_err() || writer.write_all(&held).await.is_err() {
                            return;
                        }
                    }
                    Step::WriteAfterNext(bytes) => {
                        held = bytes;
                        continue;
                    }
                    Step::Wait(time) => pause(time).await,
                    Step::HangUp => return,
                    Step::Silence => std::future::pending().await,
                }
            }
            if is_produce {
                *in_flight.lock().unwrap() -= 1;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

/// One broker on TCP, served by threads: for tests whose runtimes end.
pub struct Loopback {
    pub cluster: Arc<Cluster>,
}

impl Loopback {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let cluster = Arc::new(Cluster::new(vec![address], 1));
        let served = cluster.clone();
        std::thread::spawn(move || {
            for (connection, stream) in (0..).zip(listener.incoming().flatten()) {
                let cluster = served.clone();
                std::thread::spawn(move || serve_blocking(&cluster, connection, stream));
            }
        });
        Self { cluster }
    }

    pub fn config(&self) -> ProducerConfig {
        let port = self.cluster.state().addresses[0].1;
        ProducerConfig::new().bootstrap_servers(format!("127.0.0.1:{port}")).linger(Duration::ZERO)
    }
}

fn serve_blocking(cluster: &Cluster, connection: u64, mut stream: TcpStream) -> Option<()> {
    cluster.state().connections += 1;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).ok()?;
        let act = cluster.begin(0, connection, &frame);
        for step in cluster.finish(0, &frame, act) {
            match step {
                Step::Write(bytes) => stream.write_all(&bytes).ok()?,
                Step::HangUp => return None,
                Step::Wait(_) | Step::WriteAfterNext(_) | Step::Silence => loop {
                    std::thread::park();
                },
            }
        }
    }
}
