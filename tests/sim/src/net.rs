//! The network: connections of ordered bytes between hosts, with delay, cuts in one direction, and ends in the middle of
//! a frame. It moves nothing by itself: [`Net::deliver`] does, between the steps of the hosts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use rkafka_net::{Accept, AcceptFuture, Dial, DialError, DialFuture, DialOptions, HostPort, Listener, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::rng::Rng;
use crate::trace::Trace;

/// The number of a host.
pub type HostId = u8;

/// How much may be under way in one direction of a connection, in bytes.
const WINDOW: usize = 256 * 1024;
/// Until when a packet that was lost is there after all, in microseconds.
const RETRANSMISSION_US: std::ops::Range<u64> = 50_000..500_000;

/// The address that a host has.
pub fn address(host: HostId, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), port)
}

fn host_of(address: SocketAddr) -> HostId {
    match address.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => 0,
    }
}

/// What the network does to everybody.
#[derive(Debug, Clone)]
pub struct Weather {
    /// How long a packet takes, in microseconds.
    pub delay_us: std::ops::Range<u64>,
    /// How many of a thousand packets are lost and sent again.
    pub lost_permille: u64,
}

#[derive(Debug)]
enum Parcel {
    Bytes(BytesMut),
    End,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    under_way: VecDeque<(u64, Parcel)>,
    bytes_under_way: usize,
    readable: BytesMut,
    has_ended: bool,
    /// The reader is gone: what comes is answered by a reset.
    is_deaf: bool,
    last_due_us: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Connection {
    ends: [HostId; 2],
    /// `pipes[n]` is what end `n` writes.
    pipes: [Pipe; 2],
    /// Which ends were dropped.
    gone: [bool; 2],
    /// Ends that lost power say nothing any more, not even that they are gone.
    is_mute: [bool; 2],
    is_reset: bool,
}

impl Connection {
    fn wake(&mut self, woken: &mut Vec<Waker>) {
        for pipe in &mut self.pipes {
            woken.extend(pipe.reader.take());
            woken.extend(pipe.writer.take());
        }
    }

    fn reset(&mut self, woken: &mut Vec<Waker>) {
        self.is_reset = true;
        for pipe in &mut self.pipes {
            pipe.under_way.clear();
            pipe.bytes_under_way = 0;
        }
        self.wake(woken);
    }
}

#[derive(Debug)]
struct Attempt {
    from: HostId,
    to: SocketAddr,
    due_us: u64,
    opened: oneshot::Sender<io::Result<SimStream>>,
}

#[derive(Debug, Default)]
struct Door {
    waiting: VecDeque<(SimStream, SocketAddr)>,
    acceptor: Option<Waker>,
}

#[derive(Debug)]
struct State {
    now_us: u64,
    rng: Rng,
    weather: Weather,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    attempts: Vec<Attempt>,
    doors: BTreeMap<SocketAddr, Door>,
    /// Who reaches whom no more.
    cuts: BTreeSet<(HostId, HostId)>,
    /// Hosts without power.
    dark: BTreeSet<HostId>,
    trace: Trace,
}

/// The network. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Net(Arc<Mutex<State>>);

impl Net {
    /// A network on which nothing is yet.
    pub fn new(rng: Rng, weather: Weather) -> Self {
        Self(Arc::new(Mutex::new(State {
            now_us: 0,
            rng,
            weather,
            connections: BTreeMap::new(),
            next_connection: 1,
            attempts: Vec::new(),
            doors: BTreeMap::new(),
            cuts: BTreeSet::new(),
            dark: BTreeSet::new(),
            trace: Trace::default(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a host opens connections by.
    pub fn dialer(&self, host: HostId) -> Arc<dyn Dial> {
        Arc::new(SimDial { net: self.clone(), host })
    }

    /// A listener on a host's port. It takes the place of one that a host that died has left.
    pub fn listen(&self, host: HostId, port: u16) -> Listener {
        let at = address(host, port);
        let before = {
            let mut state = self.lock();
            state.doors.insert(at, Door::default())
        };
        drop(before);
        Listener::new(SimListener { net: self.clone(), at })
    }

    /// Takes note of what happened elsewhere.
    pub fn note(&self, kind: &str, numbers: &[u64], bytes: &[u8]) {
        let mut state = self.lock();
        let now_us = state.now_us;
        state.trace.note(kind, now_us, numbers, bytes);
    }

    /// The hash of all that happened, and of how much.
    pub fn trace(&self) -> (u64, u64) {
        self.lock().trace.so_far()
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// Cuts one direction between two hosts. What is under way waits.
    pub fn cut(&self, from: HostId, to: HostId) {
        self.lock().cuts.insert((from, to));
    }

    /// Ends all cuts.
    pub fn mend(&self) {
        self.lock().cuts.clear();
    }

    /// A host loses its power, or has it again: without, nobody hears of it, not even that its connections ended.
    pub fn set_dark(&self, host: HostId, is_dark: bool) {
        let mut state = self.lock();
        if is_dark {
            state.dark.insert(host);
            for connection in state.connections.values_mut() {
                for end in 0..2 {
                    connection.is_mute[end] |= connection.ends[end] == host;
                }
            }
        } else {
            state.dark.remove(&host);
        }
    }

    /// Forgets the ports of a host that is down.
    pub fn close_doors(&self, host: HostId) {
        let mut state = self.lock();
        let (gone, kept) = std::mem::take(&mut state.doors).into_iter().partition(|(at, _)| host_of(*at) == host);
        state.doors = kept;
        drop(state);
        let gone: BTreeMap<SocketAddr, Door> = gone;
        drop(gone);
    }

    /// Ends one connection that has bytes under way, if there is one, somewhere in these bytes. Says which.
    pub fn reset_one(&self, choice: &mut Rng) -> Option<u64> {
        let mut woken = Vec::new();
        let mut state = self.lock();
        let busy = state.connections.iter().filter(|(_, connection)| {
            !connection.is_reset && connection.pipes.iter().any(|pipe| pipe.bytes_under_way > 0)
        });
        let busy: Vec<u64> = busy.map(|(number, _)| *number).collect();
        let number = *choice.choose(&busy)?;
        let connection = state.connections.get_mut(&number)?;
        for pipe in &mut connection.pipes {
            // Some of what is under way still arrives, and is the torn beginning of a frame.
            if let Some((_, Parcel::Bytes(bytes))) = pipe.under_way.pop_front() {
                let kept = usize::try_from(choice.within(0..bytes.len() as u64 + 1)).unwrap_or(0);
                pipe.readable.extend_from_slice(bytes.get(..kept).unwrap_or_default());
            }
        }
        connection.reset(&mut woken);
        drop(state);
        wake(woken);
        Some(number)
    }

    /// Moves what is due by now to where it can be read.
    pub fn deliver(&self, now_us: u64) {
        let mut woken = Vec::new();
        let mut opened = Vec::new();
        let mut over = Vec::new();
        let mut state = self.lock();
        let state_now = &mut *state;
        state_now.now_us = now_us;
        let State { connections, cuts, dark, trace, .. } = state_now;
        for (number, connection) in connections.iter_mut() {
            for end in 0..2 {
                let (from, to) = (connection.ends[end], connection.ends[1 - end]);
                if cuts.contains(&(from, to)) || dark.contains(&to) {
                    continue;
                }
                let mut resets = false;
                let pipe = &mut connection.pipes[end];
                let is_mute = connection.is_mute[1 - end];
                while pipe.under_way.front().is_some_and(|(due_us, _)| *due_us <= now_us) {
                    let Some((_, parcel)) = pipe.under_way.pop_front() else { break };
                    match parcel {
                        Parcel::Bytes(bytes) => {
                            trace.note("bytes", now_us, &[*number, end as u64, bytes.len() as u64], &bytes);
                            pipe.bytes_under_way -= bytes.len();
                            // Who was without power in between does not know the connection.
                            if pipe.is_deaf || is_mute {
                                resets = true;
                                break;
                            }
                            pipe.readable.extend_from_slice(&bytes);
                        }
                        Parcel::End => {
                            trace.note("end", now_us, &[*number, end as u64], &[]);
                            pipe.has_ended = true;
                        }
                    }
                    woken.extend(pipe.reader.take());
                    woken.extend(pipe.writer.take());
                }
                if resets {
                    trace.note("reset", now_us, &[*number, end as u64], &[]);
                    connection.reset(&mut woken);
                }
            }
            let is_silent = connection.pipes.iter().all(|pipe| pipe.under_way.is_empty());
            let left = |end: usize| connection.gone[end] || connection.is_mute[end];
            if left(0) && left(1) && is_silent || connection.is_reset && connection.gone == [true, true] {
                over.push(*number);
            }
        }
        for number in over {
            state.connections.remove(&number);
        }
        self.open_connections(&mut state, now_us, &mut opened, &mut woken);
        drop(state);
        for (attempt, result) in opened {
            // Whoever dialled may have given up; then the stream is dropped, which closes it.
            drop(attempt.send(result));
        }
        wake(woken);
    }

    fn open_connections(
        &self,
        state: &mut State,
        now_us: u64,
        opened: &mut Vec<(oneshot::Sender<io::Result<SimStream>>, io::Result<SimStream>)>,
        woken: &mut Vec<Waker>,
    ) {
        let mut later = Vec::new();
        for attempt in std::mem::take(&mut state.attempts) {
            if attempt.opened.is_closed() {
                continue;
            }
            let (from, to) = (attempt.from, host_of(attempt.to));
            let is_cut = state.cuts.contains(&(from, to)) || state.cuts.contains(&(to, from));
            if attempt.due_us > now_us || is_cut || state.dark.contains(&to) {
                later.push(attempt);
                continue;
            }
            let Some(door) = state.doors.get_mut(&attempt.to) else {
                state.trace.note("refused", now_us, &[u64::from(from), u64::from(to)], &[]);
                opened.push((attempt.opened, Err(io::ErrorKind::ConnectionRefused.into())));
                continue;
            };
            let number = state.next_connection;
            state.next_connection += 1;
            state.trace.note("open", now_us, &[number, u64::from(from), u64::from(to)], &[]);
            let stream = |end| SimStream { net: self.clone(), connection: number, end };
            let port = 30_000 + u16::try_from(number % 30_000).unwrap_or(0);
            door.waiting.push_back((stream(1), address(from, port)));
            woken.extend(door.acceptor.take());
            state.connections.insert(
                number,
                Connection {
                    ends: [from, to],
                    pipes: [Pipe::default(), Pipe::default()],
                    gone: [false; 2],
                    is_mute: [false; 2],
                    is_reset: false,
                },
            );
            opened.push((attempt.opened, Ok(stream(0))));
        }
        state.attempts = later;
    }
}

fn wake(woken: Vec<Waker>) {
    for waker in woken {
        waker.wake();
    }
}

/// One end of a connection.
#[derive(Debug)]
struct SimStream {
    net: Net,
    connection: u64,
    end: usize,
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut replaced = None;
        let mut state = self.net.lock();
        let result = match state.connections.get_mut(&self.connection) {
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(connection) => {
                let is_reset = connection.is_reset;
                let pipe = &mut connection.pipes[1 - self.end];
                if !pipe.readable.is_empty() {
                    let len = pipe.readable.len().min(buffer.remaining());
                    buffer.put_slice(&pipe.readable[..len]);
                    pipe.readable.advance(len);
                    Poll::Ready(Ok(()))
                } else if is_reset {
                    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
                } else if pipe.has_ended {
                    Poll::Ready(Ok(()))
                } else {
                    replaced = pipe.reader.replace(context.waker().clone());
                    Poll::Pending
                }
            }
        };
        drop(state);
        // Not under the lock: the last waker of a task may take the task along, and its streams.
        drop(replaced);
        result
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut replaced = None;
        let mut state = self.net.lock();
        let state_now = &mut *state;
        let (now_us, weather, rng) = (state_now.now_us, &state_now.weather, &mut state_now.rng);
        let result = match state_now.connections.get_mut(&self.connection) {
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(connection) if connection.is_reset => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(connection) if connection.is_mute[self.end] => Poll::Ready(Ok(bytes.len())),
            Some(connection) => {
                let pipe = &mut connection.pipes[self.end];
                if pipe.bytes_under_way >= WINDOW {
                    replaced = pipe.writer.replace(context.waker().clone());
                    Poll::Pending
                } else {
                    let due_us = due(now_us, weather, rng).max(pipe.last_due_us);
                    pipe.last_due_us = due_us;
                    pipe.bytes_under_way += bytes.len();
                    pipe.under_way.push_back((due_us, Parcel::Bytes(BytesMut::from(bytes))));
                    Poll::Ready(Ok(bytes.len()))
                }
            }
        };
        drop(state);
        drop(replaced);
        result
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

fn due(now_us: u64, weather: &Weather, rng: &mut Rng) -> u64 {
    let lost = if rng.permille(weather.lost_permille) { rng.within(RETRANSMISSION_US) } else { 0 };
    now_us + rng.within(weather.delay_us.clone()) + lost
}

impl SimStream {
    /// Says that nothing more comes from here.
    fn end(&self) {
        let mut state = self.net.lock();
        let state = &mut *state;
        let (now_us, weather, rng) = (state.now_us, &state.weather, &mut state.rng);
        if let Some(connection) = state.connections.get_mut(&self.connection)
            && !connection.is_mute[self.end]
            && !connection.is_reset
        {
            let pipe = &mut connection.pipes[self.end];
            let due_us = due(now_us, weather, rng).max(pipe.last_due_us);
            pipe.last_due_us = due_us;
            pipe.under_way.push_back((due_us, Parcel::End));
        }
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.end();
        let mut state = self.net.lock();
        let wakers = state.connections.get_mut(&self.connection).map(|connection| {
            connection.gone[self.end] = true;
            let incoming = &mut connection.pipes[1 - self.end];
            incoming.is_deaf = true;
            let reader = incoming.reader.take();
            (reader, connection.pipes[self.end].writer.take())
        });
        drop(state);
        drop(wakers);
    }
}

#[derive(Debug)]
struct SimDial {
    net: Net,
    host: HostId,
}

impl Dial for SimDial {
    fn dial<'a>(&'a self, address: &'a HostPort, options: &'a DialOptions) -> DialFuture<'a> {
        Box::pin(async move {
            let failed =
                |to: SocketAddr, error| DialError::Connect { address: address.clone(), attempts: vec![(to, error)] };
            let ip: IpAddr = address.host.parse().map_err(|_| DialError::Resolve {
                host: address.host.clone(),
                source: io::ErrorKind::NotFound.into(),
            })?;
            let to = SocketAddr::new(ip, address.port);
            let (opened, opening) = oneshot::channel();
            {
                let mut state = self.net.lock();
                let state = &mut *state;
                // There and back.
                let there = due(state.now_us, &state.weather, &mut state.rng);
                let due_us = due(there, &state.weather, &mut state.rng);
                state.attempts.push(Attempt { from: self.host, to, due_us, opened });
            }
            match tokio::time::timeout(options.setup_timeout, opening).await {
                Ok(Ok(Ok(stream))) => Ok(Stream::boxed(stream)),
                Ok(Ok(Err(error))) => Err(failed(to, error)),
                Ok(Err(_)) => Err(failed(to, io::ErrorKind::ConnectionRefused.into())),
                Err(_) => Err(failed(to, io::ErrorKind::TimedOut.into())),
            }
        })
    }
}

#[derive(Debug)]
struct SimListener {
    net: Net,
    at: SocketAddr,
}

impl Accept for SimListener {
    fn accept(&self) -> AcceptFuture<'_> {
        Box::pin(std::future::poll_fn(|context| {
            let mut replaced = None;
            let mut state = self.net.lock();
            let result = match state.doors.get_mut(&self.at) {
                None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
                Some(door) => match door.waiting.pop_front() {
                    Some((stream, peer)) => Poll::Ready(Ok((Stream::boxed(stream), peer))),
                    None => {
                        replaced = door.acceptor.replace(context.waker().clone());
                        Poll::Pending
                    }
                },
            };
            drop(state);
            drop(replaced);
            result
        }))
    }

    fn local_addr(&self) -> SocketAddr {
        self.at
    }
}
