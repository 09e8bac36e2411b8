//! The task that sends to one broker. It owns its connection: nothing stands between it and the socket.

mod answers;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rkafka_client_core::{Error, Link, Response};
use rkafka_protocol::messages::ProduceRequest;
use rkafka_protocol::records::{Compressor, DecompressArena};
use uuid::Uuid;

use super::produce::{self, Sent};
use crate::clock;
use crate::config::Acks;
use crate::machine::accumulator::{Answer, Resolutions};
use crate::machine::batch::Load;
use crate::machine::outbox::{Collect, Conditions, Outbox};
use crate::partition::Mailbox;
use crate::shared::Shared;

/// A request that waits for its answer.
struct InFlight {
    correlation_id: i32,
    batches: Vec<Sent>,
    deadline: Instant,
    /// When it was handed to the connection.
    queued_at: Instant,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Box<Link>, Error>> + Send>>;

/// The connection, or what there is of it.
enum Connection {
    None,
    Connecting(Connecting),
    Up(Box<Link>),
}

struct Sender {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    outbox: Outbox,
    /// Counts connections over all senders' lives, so that each has a number of its own.
    route: u64,
    in_flight: VecDeque<InFlight>,
    compressor: Compressor,
    arena: DecompressArena,
    resolved: Resolutions,
    /// Failures in a row: the pause before a retry grows with them.
    failures: u32,
    /// Why nothing can be sent at present.
    trouble: Option<Arc<str>>,
    /// A broker that enforces a quota asks for silence until then.
    throttled_until: Option<Instant>,
    /// Whether batches wait for a producer id.
    wants_identity: bool,
    /// No connection is opened before: the last one ended without an answer.
    connect_at: Option<Instant>,
    /// Whether the present connection brought an answer.
    has_answered: bool,
    /// When the connection was of use last.
    used_at: Instant,
}

/// What ended a wait.
enum Event {
    Woken,
    Connected(Result<Box<Link>, Error>),
    Answered(Result<Response, Error>),
}

pub(super) async fn run(shared: Arc<Shared>, mailbox: Arc<Mailbox>) {
    let mut sender = Sender {
        outbox: Outbox::new(mailbox.broker),
        shared,
        mailbox,
        route: 0,
        in_flight: VecDeque::new(),
        compressor: Compressor::new(),
        arena: DecompressArena::default(),
        resolved: Resolutions::new(),
        failures: 0,
        trouble: None,
        throttled_until: None,
        wants_identity: false,
        connect_at: None,
        has_answered: false,
        used_at: clock::now(),
    };
    let mut connection = Connection::None;
    while !sender.shared.is_stopped() {
        sender.step(&mut connection).await;
    }
}

impl Sender {
    async fn step(&mut self, connection: &mut Connection) {
        for listing in self.mailbox.drain() {
            self.outbox.accept(listing);
        }
        let now = clock::now();
        let trouble = if self.wants_identity { self.shared.identity_trouble() } else { None };
        self.outbox.expire(now, trouble.as_ref().or(self.trouble.as_ref()), &mut self.resolved);
        self.shared.resolve(&mut self.resolved);
        self.connect_at = self.connect_at.filter(|at| *at > now);
        if matches!(connection, Connection::None) && !self.outbox.is_idle() && self.connect_at.is_none() {
            let (client, broker) = (self.shared.client.clone(), self.mailbox.broker);
            *connection = Connection::Connecting(Box::pin(async move { client.link(broker).await.map(Box::new) }));
        }
        let mut sent = false;
        if self.idle_until(connection).is_some_and(|until| until <= now) {
            tracing::debug!(broker = self.mailbox.broker, "the connection was idle and is closed");
            *connection = Connection::None;
        }
        self.note_availability(connection, now);
        if let Connection::Up(link) = connection {
            if self.in_flight.front().is_some_and(|oldest| oldest.deadline <= now) {
                let limit = self.shared.client.config().request_timeout;
                self.lose(link, &format!("no answer within {} ms (`request.timeout.ms`)", limit.as_millis()));
                *connection = Connection::None;
                return;
            }
            match self.send_one(link, now).await {
                Ok(any) => {
                    sent = any;
                    if any {
                        self.used_at = now;
                    }
                }
                Err(error) => {
                    self.lose(link, &error.to_string());
                    *connection = Connection::None;
                    return;
                }
            }
        }
        let deadline = [self.deadline(now), self.connect_at, self.idle_until(connection)].into_iter().flatten().min();
        match self.wait(connection, deadline, sent).await {
            Event::Woken => {}
            Event::Connected(Ok(link)) => {
                self.route = next_route();
                self.has_answered = false;
                self.used_at = clock::now();
                *connection = Connection::Up(link);
            }
            Event::Connected(Err(error)) => {
                tracing::warn!(%error, broker = self.mailbox.broker, "no connection to send over");
                self.trouble = Some(error.to_string().into());
                *connection = Connection::None;
                // The client paces attempts itself, but not one that fails at once, such as for an unknown broker.
                let pause = self.pause();
                tokio::select! {
                    () = clock::sleep(pause) => {}
                    () = self.shared.stopped.notified() => {}
                }
            }
            Event::Answered(Ok(response)) => {
                if let Err(reason) = self.answered(connection, response) {
                    self.fail(connection, &reason);
                }
            }
            Event::Answered(Err(error)) => self.fail(connection, &error.to_string()),
        }
    }

    /// Waits for whatever comes first. After a request was queued it is only looked whether something is there, so that
    /// the request is on its way while the next one is compressed.
    async fn wait(&self, connection: &mut Connection, deadline: Option<Instant>, look_only: bool) -> Event {
        if look_only {
            let Connection::Up(link) = connection else { return Event::Woken };
            return std::future::poll_fn(|context| {
                Poll::Ready(match link.poll_drive(context) {
                    Poll::Ready(result) => Event::Answered(result),
                    Poll::Pending => Event::Woken,
                })
            })
            .await;
        }
        tokio::select! {
            biased;
            event = progress(connection) => event,
            () = self.mailbox.woken() => Event::Woken,
            () = clock::sleep_until(deadline) => Event::Woken,
        }
    }

    /// When a connection that nobody needs has stood idle for `connections.max.idle.ms`.
    fn idle_until(&self, connection: &Connection) -> Option<Instant> {
        let is_idle = matches!(connection, Connection::Up(_)) && self.in_flight.is_empty() && self.outbox.is_idle();
        let limit = self.shared.client.config().connections_max_idle.filter(|_| is_idle)?;
        self.used_at.checked_add(limit)
    }

    /// Tells the sticky partitioner whether the broker takes what there is for it, where that counts
    /// (`partitioner.availability.timeout.ms`).
    fn note_availability(&self, connection: &Connection, now: Instant) {
        if self.shared.config.partitioner_availability_timeout.is_zero() {
            return;
        }
        let is_throttled = self.throttled_until.is_some_and(|until| until > now);
        if (matches!(connection, Connection::Up(_)) && self.has_room() && !is_throttled) || self.outbox.is_idle() {
            self.mailbox.set_stuck(None);
        } else if self.outbox.has_pressing(now, self.shared.is_in_a_hurry()) {
            self.mailbox.set_stuck(Some(now));
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < self.shared.config.max_in_flight as usize
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let throttled = self.throttled_until.filter(|until| *until > now);
        let can_send = self.has_room() && throttled.is_none();
        let answer = self.in_flight.front().map(|oldest| oldest.deadline);
        [self.outbox.deadline(now, can_send), answer, throttled].into_iter().flatten().min()
    }

    /// Queues one request, if there is one to send and the connection may take it.
    async fn send_one(&mut self, link: &mut Link, now: Instant) -> Result<bool, Error> {
        if !self.has_room() || self.throttled_until.is_some_and(|until| until > now) {
            return Ok(false);
        }
        let conditions = Conditions {
            route: self.route,
            hurry: self.shared.is_in_a_hurry(),
            identity: *self.shared.identity.borrow(),
            request_size_max: self.shared.config.max_request_size,
        };
        let transactional = self.shared.coordination.is_some();
        let (codec, compressor) = (self.shared.codec, &mut self.compressor);
        let collected =
            self.outbox.collect(now, &conditions, |load, stamp| load.seal(codec, compressor, stamp, transactional));
        self.wants_identity = collected.wants_identity.is_some();
        if let Some(other_than) = collected.wants_identity {
            self.shared.identity_wanted.send_replace(Some(other_than));
        }
        if !collected.wants_partitions.is_empty()
            && let Some(coordination) = &self.shared.coordination
        {
            coordination.want(collected.wants_partitions);
        }
        for (partition, id, error) in collected.unsendable {
            let detail = error.to_string().into();
            self.complete(&partition, id, Answer::Unsendable { detail });
        }
        if let Some(Collect { partition, id, payload, .. }) = collected.left_over {
            self.complete(&partition, id, Answer::Unsent { load: Load::Sealed(payload) });
        }
        let mut batches: Vec<Sent> = Vec::with_capacity(collected.batches.len());
        let mut records = 0;
        for Collect { partition, id, payload, journey, is_retry } in collected.batches {
            let topic_id = match batches.iter().rev().find(|sent| sent.partition.topic == partition.topic) {
                // One request has one id for a topic.
                Some(sent) => sent.topic_id,
                None => self.shared.known_topic(&partition.topic).map_or(Uuid::nil(), |topic| topic.id()),
            };
            self.shared.metrics.batch_sent(now, &partition.topic, journey, is_retry, &payload);
            records += u64::from(journey.count);
            batches.push(Sent { partition, id, payload, topic_id, created: journey.created });
        }
        self.shared.resolve(&mut self.resolved);
        if batches.is_empty() {
            return Ok(false);
        }
        self.enqueue(link, batches, records, now).await?;
        Ok(true)
    }

    async fn enqueue(&mut self, link: &mut Link, batches: Vec<Sent>, records: u64, now: Instant) -> Result<(), Error> {
        let (request, version_max) = produce::request(&self.shared, &batches);
        let answered = self.shared.config.acks != Acks::None;
        let queued = link.version_for::<ProduceRequest>(version_max).and_then(|version| {
            if answered { link.enqueue(&request, version) } else { link.enqueue_unanswered(&request, version) }
        });
        let correlation_id = match queued {
            Ok(correlation_id) => correlation_id,
            Err(error) => {
                // Nothing of it was written.
                let detail: Arc<str> = error.to_string().into();
                self.give_back(batches, false, &detail);
                return Err(error);
            }
        };
        let queued_at = clock::now();
        self.shared.metrics.request_sent(now, queued_at, records);
        let timeout = self.shared.client.config().request_timeout;
        if answered {
            self.in_flight.push_back(InFlight { correlation_id, batches, deadline: now + timeout, queued_at });
            return Ok(());
        }
        let written = tokio::time::timeout(timeout, link.flush()).await;
        match written {
            Ok(Ok(())) => {
                let now = clock::now();
                for Sent { partition, id, created, .. } in batches {
                    self.shared.metrics.delivered(now, created);
                    self.complete(&partition, id, Answer::Written { base_offset: -1, log_append_time: -1 });
                }
                self.shared.resolve(&mut self.resolved);
                Ok(())
            }
            failed => {
                let error = match failed {
                    Ok(Err(error)) => error,
                    _ => Error::new(rkafka_client_core::ErrorKind::Timeout, "the broker takes no bytes"),
                };
                self.give_back(batches, true, &error.to_string().into());
                Err(error)
            }
        }
    }

    fn pause(&mut self) -> Duration {
        let pause = self.shared.client.config().retry_policy().delay(self.failures, &mut rand::rng());
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

/// Makes progress on the connection; never completes where there is none.
async fn progress(connection: &mut Connection) -> Event {
    match connection {
        Connection::None => std::future::pending().await,
        Connection::Connecting(connecting) => Event::Connected(connecting.await),
        Connection::Up(link) => Event::Answered(link.drive().await),
    }
}

/// A number that no other connection of this process has.
fn next_route() -> u64 {
    static ROUTES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    ROUTES.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
