//! A connection that many tasks share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rkafka_protocol::wire::Request;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::{BrokerVersions, Endpoint, Error, ErrorKind, Link, Response, Result, clock};

type Enqueue = Box<dyn FnOnce(&mut Link) -> Result<i32> + Send>;

struct Command {
    enqueue: Enqueue,
    timeout: Duration,
    deadline: Instant,
    reply: oneshot::Sender<Result<Response>>,
}

struct Waiting {
    timeout: Duration,
    deadline: Instant,
    reply: oneshot::Sender<Result<Response>>,
}

/// A handle of a connection that a task of its own drives; for requests about the cluster, groups and topics, which are
/// few. Requests are pipelined. It closes when it breaks, when an answer takes too long, and when it was idle for
/// `connections.max.idle.ms`; all handles being dropped closes it too.
#[derive(Debug, Clone)]
pub struct Connection {
    commands: mpsc::UnboundedSender<Command>,
    versions: Arc<BrokerVersions>,
    endpoint: Endpoint,
    in_flight: Arc<AtomicUsize>,
}

impl Connection {
    /// Shares `link`; closes it when nothing was asked for as long as `idle`, `None` never.
    pub fn new(link: Link, idle: Option<Duration>) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let in_flight = Arc::new(AtomicUsize::new(0));
        let (versions, endpoint) = (Arc::clone(link.versions()), link.endpoint().clone());
        let driver = Driver { link, waiting: HashMap::new(), earliest: None, in_flight: Arc::clone(&in_flight), idle };
        clock::spawn(driver.run(receiver));
        Self { commands, versions, endpoint, in_flight }
    }

    /// The same connection under the name of the broker that it turned out to lead to.
    pub(crate) fn at(&self, endpoint: Endpoint) -> Self {
        Self { endpoint, ..self.clone() }
    }

    /// Whether it has been closed, so that no request can succeed on it.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// The broker at the other end.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the broker can do.
    pub fn versions(&self) -> &Arc<BrokerVersions> {
        &self.versions
    }

    /// How many requests wait for their answers.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Sends a request in the newest version that both sides know, at most `max_version`, and waits for its answer as
    /// long as `timeout`. Where this future is dropped, the request may have been sent; its answer is then passed over.
    ///
    /// # Errors
    /// No common version; the request cannot be written; no answer in time, or the connection broke:
    /// [`Error::maybe_written`] says whether the broker may have got the request.
    pub async fn request<R>(&self, request: R, max_version: i16, timeout: Duration) -> Result<R::Response>
    where
        R: Request + Send + 'static,
    {
        let version = self.versions.highest::<R>(max_version).map_err(|error| error.with_broker(&self.endpoint))?;
        let enqueue: Enqueue = Box::new(move |link| link.enqueue(&request, version));
        let response = self.send(enqueue, timeout).await?;
        response.decode::<R>().map_err(|error| error.with_broker(&self.endpoint))
    }

    pub(crate) async fn send(&self, enqueue: Enqueue, timeout: Duration) -> Result<Response> {
        let (reply, answer) = oneshot::channel();
        let deadline = clock::later(clock::now(), timeout);
        let closed = || Error::new(ErrorKind::Disconnected, "the connection was closed").with_broker(&self.endpoint);
        self.commands.send(Command { enqueue, timeout, deadline, reply }).map_err(|_| closed())?;
        // The driver answers every command; only a runtime that shuts down leaves one without an answer.
        answer.await.unwrap_or_else(|_| Err(closed().with_maybe_written(true)))
    }
}

struct Driver {
    link: Link,
    waiting: HashMap<i32, Waiting>,
    /// No deadline of those that wait is before this. It is looked for anew only when it comes, for there may be many.
    earliest: Option<Instant>,
    in_flight: Arc<AtomicUsize>,
    idle: Option<Duration>,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut idle_since = clock::now();
        let error = loop {
            let idle_until = self.idle.map(|idle| clock::later(idle_since, idle));
            let deadline = if self.waiting.is_empty() { idle_until } else { self.earliest };
            let wake = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Commands first: those that wait are encoded together, and leave by one write.
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.start(command),
                    None => break Error::new(ErrorKind::Closed, "the connection is not needed any more"),
                },
                response = self.link.drive() => match response {
                    Ok(response) => self.finish(response),
                    Err(error) => break error,
                },
                () = wake => if self.waiting.is_empty() {
                    break Error::new(ErrorKind::Disconnected, "the connection was idle and has been closed");
                } else if self.time_out() {
                    break Error::new(
                        ErrorKind::Disconnected,
                        "the connection was closed, for an answer before this one did not come in time",
                    );
                },
            }
            idle_since = clock::now();
        };
        tracing::debug!(broker = %self.link.endpoint(), %error, "connection closed");
        // From here on no command comes in; those that are in the channel have not been written.
        commands.close();
        let error = error.with_broker(self.link.endpoint());
        for (correlation_id, waiting) in std::mem::take(&mut self.waiting) {
            let maybe_written = self.link.maybe_written(correlation_id);
            let _ = waiting.reply.send(Err(error.clone().with_maybe_written(maybe_written)));
        }
        self.in_flight.store(0, Ordering::Relaxed);
        while let Some(command) = commands.recv().await {
            let _ = command.reply.send(Err(error.clone().with_maybe_written(false)));
        }
    }

    fn start(&mut self, command: Command) {
        match (command.enqueue)(&mut self.link) {
            Ok(correlation_id) => {
                let Command { timeout, deadline, reply, .. } = command;
                self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
                self.waiting.insert(correlation_id, Waiting { timeout, deadline, reply });
                self.in_flight.store(self.waiting.len(), Ordering::Relaxed);
            }
            Err(error) => {
                let _ = command.reply.send(Err(error.with_broker(self.link.endpoint())));
            }
        }
    }

    fn finish(&mut self, response: Response) {
        if let Some(waiting) = self.waiting.remove(&response.correlation_id) {
            let _ = waiting.reply.send(Ok(response));
        }
        if self.waiting.is_empty() {
            self.earliest = None;
        }
        self.in_flight.store(self.waiting.len(), Ordering::Relaxed);
    }

    /// Answers the requests whose time is over, and says whether there were any. As in Java, the connection cannot go on after that: the answer may
    /// still come, and everything behind it waits for it.
    fn time_out(&mut self) -> bool {
        let now = clock::now();
        let late: Vec<i32> =
            self.waiting.iter().filter(|(_, waiting)| waiting.deadline <= now).map(|(id, _)| *id).collect();
        let any = !late.is_empty();
        for correlation_id in late {
            let Some(waiting) = self.waiting.remove(&correlation_id) else { continue };
            let message = format!("no answer within {:?}", waiting.timeout);
            let error = Error::new(ErrorKind::Timeout, message)
                .with_broker(self.link.endpoint())
                .with_maybe_written(self.link.maybe_written(correlation_id));
            let _ = waiting.reply.send(Err(error));
        }
        self.earliest = self.waiting.values().map(|waiting| waiting.deadline).min();
        any
    }
}
