//! The share session with one broker (KIP-932): which request goes next, and what its answer means.
//!
//! The broker remembers the partitions of a session and the locks of its member; requests name what changed and bear an
//! epoch that counts them. One request is under way at a time. The session ends with its connection: the broker then
//! gives what the member had to others, so a new session begins with nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::hold::Hold;
use super::ledger::{Ledger, Saying};
use crate::share::acknowledgement::AcknowledgeError;

/// A partition by its topic's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
}

/// The epoch that opens a session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that closes it.
pub(crate) const FINAL_EPOCH: i32 = -1;
/// How long what was said waits for a fetch to travel with.
pub(crate) const LINGER: Duration = Duration::from_millis(250);
/// The lock that is assumed where a broker does not tell: Kafka's default of `share.record.lock.duration.ms`.
const LOCK_DEFAULT: Duration = Duration::from_secs(30);
/// How long a pause between two attempts grows.
const BACKOFF_DOUBLINGS_MAX: u32 = 10;

/// How much the application wants records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hunger {
    /// Not now.
    None,
    /// It has some, and more may be fetched ahead if they are there.
    Ahead,
    /// It waits for them.
    Waiting,
}

/// What a session is told at its birth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionTerms {
    pub(crate) broker: i32,
    pub(crate) is_implicit: bool,
    pub(crate) retry_backoff: Duration,
    pub(crate) retry_backoff_max: Duration,
}

/// A request to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// ShareFetch.
    Fetch {
        epoch: i32,
        add: Vec<Place>,
        forget: Vec<Place>,
        sayings: BTreeMap<Place, Vec<Saying>>,
        /// Whether the broker may wait for records.
        may_wait: bool,
    },
    /// ShareAcknowledge.
    Acknowledge { epoch: i32, sayings: BTreeMap<Place, Vec<Saying>>, renews: bool },
}

/// What an answer says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionAnswer {
    pub(crate) place: Place,
    /// Of the fetch.
    pub(crate) error: ErrorCode,
    /// Of what was said.
    pub(crate) said: Result<(), AcknowledgeError>,
    /// First and last offsets of what was acquired.
    pub(crate) acquired: Vec<(i64, i64)>,
}

/// What a broker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) error: ErrorCode,
    pub(crate) message: Option<String>,
    pub(crate) lock: Option<Duration>,
    pub(crate) partitions: Vec<PartitionAnswer>,
}

/// What whoever drives the session must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The metadata is old.
    Stale,
    /// A partition cannot be read, and the application must know.
    Trouble { place: Place, code: ErrorCode },
    /// The broker refuses the whole session for a reason that the application must know.
    Refused { code: ErrorCode, message: Option<String> },
}

#[derive(Debug)]
struct UnderWay {
    epoch: i32,
    said: BTreeSet<Place>,
}

/// The session with one broker.
#[derive(Debug)]
pub(crate) struct Session {
    terms: SessionTerms,
    /// Counts the sessions with this broker.
    serial: u64,
    epoch: i32,
    in_session: BTreeSet<Place>,
    wanted: BTreeSet<Place>,
    /// Partitions that met an error, and when they are tried again.
    resting: BTreeMap<Place, Instant>,
    pub(crate) ledger: Ledger,
    under_way: Option<UnderWay>,
    not_before: Option<Instant>,
    failures: u32,
    said_since: Option<Instant>,
    last_collected: Option<Instant>,
    /// A commit waits.
    flush: bool,
    lock: Option<Duration>,
    is_closing: bool,
    is_closed: bool,
    events: Vec<Event>,
}

impl Session {
    pub(crate) fn new(terms: SessionTerms, commit: u64) -> Self {
        Self {
            terms,
            serial: 0,
            epoch: INITIAL_EPOCH,
            in_session: BTreeSet::new(),
            wanted: BTreeSet::new(),
            resting: BTreeMap::new(),
            ledger: Ledger::new(terms.is_implicit, commit),
            under_way: None,
            not_before: None,
            failures: 0,
            said_since: None,
            last_collected: None,
            flush: false,
            lock: None,
            is_closing: false,
            is_closed: false,
            events: Vec::new(),
        }
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether the broker has nothing of this member, and nothing is wanted of it.
    pub(crate) fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.epoch == INITIAL_EPOCH && self.under_way.is_none()
    }

    /// Whether the next request opens a session.
    pub(crate) fn is_at_beginning(&self) -> bool {
        self.epoch == INITIAL_EPOCH
    }

    /// Whether it was closed for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether records could be fetched now.
    pub(crate) fn can_fetch(&self, now: Instant) -> bool {
        self.under_way.is_none()
            && !self.is_closing
            && self.not_before.is_none_or(|at| now >= at)
            && self.fetchable(now).next().is_some()
    }

    /// What whoever drives the session must do.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// These partitions are this member's, and this broker leads them. `elsewhere` says which others another broker
    /// leads now: what was acquired there is lost with the leadership.
    pub(crate) fn want(&mut self, wanted: BTreeSet<Place>, elsewhere: impl Fn(Place) -> bool) {
        if wanted == self.wanted {
            return;
        }
        let gone: Vec<Place> = self.wanted.difference(&wanted).copied().collect();
        for place in gone {
            if elsewhere(place) {
                let broker = self.terms.broker;
                let reason = "another broker leads the partition now".to_owned();
                self.ledger.lose(Some(place), false, &AcknowledgeError::SessionLost { broker, reason });
            } else {
                self.ledger.release_waiting(place);
            }
            self.resting.remove(&place);
        }
        self.wanted = wanted;
    }

    /// Says what was said so far at once.
    pub(crate) fn flush(&mut self) {
        self.flush = true;
    }

    /// Says what is left to say, and ends the session. What is still with the member comes back.
    pub(crate) fn close(&mut self) {
        self.is_closing = true;
    }

    fn fetchable(&self, now: Instant) -> impl Iterator<Item = Place> {
        self.wanted.iter().copied().filter(move |place| self.resting.get(place).is_none_or(|until| now >= *until))
    }

    /// Takes what the application has come back from, and ends what time has ended.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.ledger.collect();
        self.ledger.expire(now);
    }

    /// The next request, if any.
    pub(crate) fn next(&mut self, now: Instant, hunger: Hunger) -> Option<Order> {
        if self.is_closed {
            return None;
        }
        self.expire(now);
        self.last_collected = Some(now);
        self.resting.retain(|_, until| now < *until);
        if self.under_way.is_some() {
            return None;
        }
        self.said_since = if self.ledger.has_said() { Some(self.said_since.unwrap_or(now)) } else { None };
        if self.is_closing {
            if self.epoch == INITIAL_EPOCH {
                self.is_closed = true;
                return None;
            }
            return Some(self.acknowledge(FINAL_EPOCH, false));
        }
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        let fetchable: BTreeSet<Place> = self.fetchable(now).collect();
        let is_open = self.epoch != INITIAL_EPOCH;
        let has_said = self.ledger.has_said();
        self.flush &= has_said;
        if is_open && has_said {
            // A fetch asks for every partition that it names, so what is said of others goes without one; and one that
            // renews fetches nothing.
            let apart = self.ledger.has_renewals() || self.ledger.said().any(|(place, _)| !fetchable.contains(&place));
            let is_late = self.said_since.is_some_and(|since| now >= since + LINGER);
            if self.flush || apart || (hunger == Hunger::None && is_late) {
                return Some(self.acknowledge(self.epoch, true));
            }
        }
        if hunger != Hunger::None && !fetchable.is_empty() {
            return Some(self.fetch(fetchable, hunger));
        }
        if is_open && self.wanted.is_empty() && self.ledger.is_empty() {
            return Some(self.acknowledge(FINAL_EPOCH, false));
        }
        None
    }

    fn fetch(&mut self, fetchable: BTreeSet<Place>, hunger: Hunger) -> Order {
        let sayings = self.ledger.take_off(false);
        self.said_since = None;
        let add = fetchable.difference(&self.in_session).copied().collect();
        let forget = self.in_session.difference(&fetchable).copied().collect();
        self.in_session = fetchable;
        self.under_way = Some(UnderWay { epoch: self.epoch, said: sayings.keys().copied().collect() });
        Order::Fetch { epoch: self.epoch, add, forget, sayings, may_wait: hunger == Hunger::Waiting }
    }

    fn acknowledge(&mut self, epoch: i32, may_renew: bool) -> Order {
        let renews = may_renew && self.ledger.has_renewals();
        let sayings = self.ledger.take_off(renews);
        self.said_since = None;
        self.flush = false;
        self.under_way = Some(UnderWay { epoch, said: sayings.keys().copied().collect() });
        Order::Acknowledge { epoch, sayings, renews }
    }

    /// The broker does not know renewals, and nothing was sent: what asks for them has failed, and the rest is said
    /// again.
    pub(crate) fn on_no_renewals(&mut self) {
        self.under_way = None;
        self.ledger.refuse_renewals();
    }

    /// Whether nothing was said since the last request.
    pub(crate) fn is_quiet(&self) -> bool {
        self.said_since.is_none()
    }

    /// The broker answered. Gives the holds of what was acquired, in the order of the answer's partitions.
    pub(crate) fn on_answer(&mut self, now: Instant, answer: Answer) -> Vec<Option<Arc<Hold>>> {
        let Some(under_way) = self.under_way.take() else { return Vec::new() };
        if !answer.error.is_none() {
            self.on_refusal(now, under_way.epoch, answer.error, answer.message);
            return Vec::new();
        }
        self.failures = 0;
        self.lock = answer.lock.filter(|lock| !lock.is_zero()).or(self.lock);
        let lock = self.lock.unwrap_or(LOCK_DEFAULT);
        let (lock_until, hand_out_until) = (now + lock, now + (lock - lock / 10));
        let mut said = under_way.said;
        let mut holds = Vec::with_capacity(answer.partitions.len());
        let mut is_repeated = false;
        for partition in answer.partitions {
            let place = partition.place;
            if said.remove(&place) {
                is_repeated |= partition.said.is_err();
                self.ledger.land(place, partition.said, lock_until);
            }
            holds.push(None);
            if !partition.error.is_none() {
                self.on_partition_error(now, place, partition.error);
            } else if let Some((first, _)) = partition.acquired.first() {
                let hold = Arc::new(Hold::new(self.terms.broker, self.serial, place, *first));
                self.ledger.acquire(&hold, partition.acquired, lock_until, hand_out_until);
                if let Some(last) = holds.last_mut() {
                    *last = Some(hold);
                }
            }
        }
        for place in said {
            self.ledger.land(place, Err(AcknowledgeError::NotAnswered), lock_until);
        }
        if is_repeated && self.ledger.has_said() {
            // The share coordinator could not be reached, say; what was said is said again.
            self.not_before = Some(now + self.terms.retry_backoff);
            self.flush = true;
        }
        if under_way.epoch == FINAL_EPOCH {
            self.end("it was closed");
        } else {
            // Behind the greatest epoch comes 1: 0 opens a session.
            self.epoch = under_way.epoch.checked_add(1).unwrap_or(1);
        }
        holds
    }

    /// No answer came, and the connection is gone.
    pub(crate) fn on_lost(&mut self, now: Instant, reason: &str) {
        self.under_way = None;
        self.end(reason);
        self.pause(now);
        self.events.push(Event::Stale);
    }

    fn on_refusal(&mut self, now: Instant, epoch: i32, code: ErrorCode, message: Option<String>) {
        self.end(&message.clone().map_or_else(|| code.to_string(), |text| format!("{code}: {text}")));
        let is_of_the_session = matches!(code, ErrorCode::ShareSessionNotFound | ErrorCode::InvalidShareSessionEpoch);
        if !is_of_the_session || self.failures > 0 || epoch == INITIAL_EPOCH {
            self.pause(now);
        } else {
            self.failures = 1;
        }
        if !code.is_retriable() {
            self.events.push(Event::Refused { code, message });
        }
    }

    fn on_partition_error(&mut self, now: Instant, place: Place, code: ErrorCode) {
        self.resting.insert(place, now + self.terms.retry_backoff_max.min(self.terms.retry_backoff.saturating_mul(5)));
        if code.is_stale_metadata() {
            self.events.push(Event::Stale);
        } else if !code.is_retriable() {
            self.events.push(Event::Trouble { place, code });
        }
    }

    /// All that the member had from the broker is over.
    fn end(&mut self, reason: &str) {
        let error = AcknowledgeError::SessionLost { broker: self.terms.broker, reason: reason.to_owned() };
        self.ledger.lose(None, self.is_closing, &error);
        self.in_session.clear();
        self.epoch = INITIAL_EPOCH;
        self.serial += 1;
        self.said_since = None;
        self.is_closed |= self.is_closing;
    }

    fn pause(&mut self, now: Instant) {
        let grown = self.terms.retry_backoff.saturating_mul(1 << self.failures.min(BACKOFF_DOUBLINGS_MAX));
        self.not_before = Some(now + grown.min(self.terms.retry_backoff_max));
        self.failures = self.failures.saturating_add(1);
    }

    /// How long the broker said that records stay with a member, once it has.
    pub(crate) fn lock(&self) -> Option<Duration> {
        self.lock
    }

    /// When [`Session::next`] should be asked again although nothing came in.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let lingering = self.said_since.map(|since| since + LINGER);
        let returning = self.last_collected.filter(|_| self.ledger.awaits_return()).map(|last| last + LINGER);
        let resting = self.resting.values().min().copied();
        let waiting = [self.ledger.deadline(), lingering, returning, resting];
        let earliest = waiting.into_iter().flatten().min();
        match self.not_before {
            // Nothing is sent before, but records expire.
            Some(at) if self.under_way.is_none() => Some(earliest.map_or(at, |earliest| earliest.max(at))),
            _ => earliest,
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
