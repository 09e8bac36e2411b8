//! Which brokers are heard of: a machine over virtual time that the active controller keeps beside the log.
//!
//! A broker that is not heard of for `broker.session.timeout.ms` is fenced. A controller that becomes the active one
//! gives every broker a whole session before it judges.

use std::collections::BTreeMap;
use std::time::Duration;

use rkafka_protocol::messages::BrokerHeartbeatRequest;
use tokio::time::Instant;

use super::image::MetadataImage;
use super::view::View;
use super::{MetadataRecord, brokers};

#[derive(Debug, Clone, Copy)]
struct Session {
    epoch: i64,
    /// When a heartbeat came last; `None` before the first.
    heard: Option<Instant>,
    /// How far the broker has read the metadata.
    metadata_offset: i64,
    /// Behind which offset others know that the broker leads nothing any more; `Some` while it is about to stop.
    shutdown_offset: Option<i64>,
}

/// What a broker is told when it is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub is_caught_up: bool,
    pub is_fenced: bool,
    pub should_shut_down: bool,
}

/// The sessions of all brokers.
#[derive(Debug)]
pub(crate) struct Sessions {
    timeout: Duration,
    sessions: BTreeMap<i32, Session>,
}

impl Sessions {
    /// Begins to listen: brokers that are not fenced are taken to have been heard of just now.
    pub fn new(image: &MetadataImage, timeout: Duration, now: Instant) -> Self {
        let sessions = image.brokers().iter().map(|(id, broker)| {
            let heard = (!broker.fenced).then_some(now);
            (*id, Session { epoch: broker.epoch, heard, metadata_offset: -1, shutdown_offset: None })
        });
        Self { timeout, sessions: sessions.collect() }
    }

    /// Whether the broker of this id is alive, as far as one knows.
    pub fn is_alive(&self, image: &MetadataImage, id: i32, now: Instant) -> bool {
        let Some((session, broker)) = self.sessions.get(&id).zip(image.broker(id)) else { return false };
        session.epoch == broker.epoch && !broker.fenced && session.heard.is_some_and(|it| !self.is_over(it, now))
    }

    /// Takes note that a broker registered itself under an epoch.
    pub fn registered(&mut self, id: i32, epoch: i64) {
        let session = Session { epoch, heard: None, metadata_offset: -1, shutdown_offset: None };
        let known = self.sessions.entry(id).or_insert(session);
        if known.epoch != epoch {
            *known = session;
        }
    }

    /// Takes note of a heartbeat of a broker whose epoch is the present one, and decides what becomes of the broker.
    pub fn heartbeat(
        &mut self,
        view: &View<'_>,
        request: &BrokerHeartbeatRequest,
        now: Instant,
    ) -> (Vec<MetadataRecord>, Verdict) {
        let id = request.broker_id;
        self.registered(id, request.broker_epoch);
        let lowest = self.lowest_offset_of_others(view.image, id);
        // Both are there: the epoch was checked, and the session was made.
        let (Some(broker), Some(session)) = (view.image.broker(id), self.sessions.get_mut(&id)) else {
            return (Vec::new(), Verdict { is_caught_up: false, is_fenced: true, should_shut_down: false });
        };
        session.heard = Some(now);
        session.metadata_offset = request.current_metadata_offset;
        // The registration is the record at the offset of the epoch.
        let is_caught_up = request.current_metadata_offset >= broker.epoch;
        let mut verdict = Verdict { is_caught_up, is_fenced: broker.fenced, should_shut_down: false };
        let mut records = Vec::new();
        let leads = || brokers::leads(view, id);
        if broker.fenced {
            session.shutdown_offset = None;
            if request.want_shut_down {
                verdict.should_shut_down = true;
            } else if !request.want_fence && is_caught_up {
                verdict.is_fenced = false;
                records = brokers::unfence(view, id);
            }
        } else if let Some(offset) = session.shutdown_offset {
            // The others must know their new leaders before the old one is gone.
            verdict.should_shut_down = !leads() && lowest.is_none_or(|lowest| offset <= lowest);
        } else if request.want_shut_down {
            verdict.should_shut_down = request.want_fence || !leads();
            if !verdict.should_shut_down {
                records = brokers::begin_shutdown(view, id);
                let end = view.image.next_offset().saturating_add(i64::try_from(records.len()).unwrap_or(i64::MAX));
                session.shutdown_offset = Some(end.saturating_sub(1));
            }
        } else if request.want_fence {
            verdict.is_fenced = true;
            records = brokers::fence(view, id);
        }
        if verdict.should_shut_down && !broker.fenced {
            verdict.is_fenced = true;
            records = brokers::fence(view, id);
        }
        if verdict.is_fenced {
            session.shutdown_offset = None;
        }
        if records.is_empty() {
            // In a step of its own, for it is decided on the partitions as they are.
            records = brokers::told_of_directories(view, request);
        }
        (records, verdict)
    }

    /// The records that fence a broker whose session is over, if there is one. To be asked again until there is none.
    pub fn fence_one(&mut self, view: &View<'_>, now: Instant) -> Option<Vec<MetadataRecord>> {
        self.sessions.retain(|id, session| view.image.broker(*id).is_some_and(|broker| broker.epoch == session.epoch));
        let mut over = self.sessions.iter().filter(|(id, session)| {
            let is_fenced = view.image.broker(**id).is_none_or(|broker| broker.fenced);
            !is_fenced && session.heard.is_none_or(|heard| self.is_over(heard, now))
        });
        let (&id, session) = over.next()?;
        let unheard_ms = session.heard.map(|heard| now.saturating_duration_since(heard).as_millis());
        tracing::info!(broker = id, epoch = session.epoch, unheard_ms, "a broker is fenced, for it is not heard of");
        if let Some(session) = self.sessions.get_mut(&id) {
            session.heard = None;
            session.shutdown_offset = None;
        }
        Some(brokers::fence(view, id))
    }

    /// When a session is over next, unless the broker is heard of before.
    pub fn deadline(&self, image: &MetadataImage) -> Option<Instant> {
        let open = self.sessions.iter().filter(|(id, _)| image.broker(**id).is_some_and(|broker| !broker.fenced));
        // A session is over behind its time, not at it.
        open.filter_map(|(_, session)| session.heard?.checked_add(self.timeout + Duration::from_millis(1))).min()
    }

    /// Takes note that a broker is there, without a word of it.
    pub fn heard_of(&mut self, id: i32, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.heard = Some(now);
        }
    }

    fn is_over(&self, heard: Instant, now: Instant) -> bool {
        now.saturating_duration_since(heard) > self.timeout
    }

    fn lowest_offset_of_others(&self, image: &MetadataImage, but: i32) -> Option<i64> {
        let active = |id: &i32, session: &Session| {
            session.shutdown_offset.is_none() && image.broker(*id).is_some_and(|broker| !broker.fenced)
        };
        let others = self.sessions.iter().filter(|(id, session)| **id != but && active(id, session));
        others.map(|(_, session)| session.metadata_offset).min()
    }
}
