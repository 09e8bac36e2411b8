//! The client's side of a fetch session (KIP-227): what a broker remembers of earlier fetches need not be said again, and
//! what has not changed is not answered.
//!
//! A broker is silent about a partition that has neither records, nor an error, nor another high watermark or beginning
//! than it told last. So what it told last is remembered here, and silence means that it still holds.

use std::collections::HashMap;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

/// The epoch that asks for a new session, in the place of the one that is named with it.
const FIRST_EPOCH: i32 = 0;

/// What a session calls a partition: by its topic's id, else (with a nil id) by its topic's name. A topic that was deleted
/// and made anew is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) topic_id: Uuid,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// Where a partition is to be read, as the broker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
}

/// What the broker told last of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
}

/// What the next request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) session_id: i32,
    pub(crate) session_epoch: i32,
    /// Which of the wanted partitions, in their order, are to be named.
    pub(crate) named: Vec<bool>,
    /// What the broker is to forget.
    pub(crate) forgotten: Vec<Key>,
}

/// What an answer as a whole means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It speaks of every partition.
    Full,
    /// It is silent of what has not changed.
    Incremental,
    /// The broker has no such session: the same is asked again at once, of a new one.
    Again,
    /// The broker refuses.
    Refused(ErrorCode),
}

#[derive(Debug)]
struct Known {
    place: Place,
    told: Option<Told>,
}

/// The client's side of one session with one broker.
#[derive(Debug, Default)]
pub(crate) struct FetchSession {
    /// The session's id, or 0 where there is none.
    id: i32,
    /// The epoch of the next request. A new session is asked for wherever it is not certain that the broker knows what
    /// is known here: from the moment a request is made to its answer, for one.
    epoch: i32,
    /// The epoch of the request that is on its way.
    sent: Option<i32>,
    by_id: bool,
    known: HashMap<Key, Known>,
}

impl FetchSession {
    /// Makes the next request, which is to read exactly what is wanted. Partitions must not repeat; `by_id` is whether the
    /// request names topics by their ids, for a session does the one or the other.
    pub(crate) fn begin(&mut self, wanted: &[(Key, Place)], by_id: bool) -> Plan {
        if self.by_id != by_id {
            self.epoch = FIRST_EPOCH;
            self.by_id = by_id;
        }
        if self.epoch == FIRST_EPOCH {
            self.known.clear();
        }
        let mut before = std::mem::take(&mut self.known);
        let mut named = Vec::with_capacity(wanted.len());
        for (key, place) in wanted {
            let known = before.remove(key);
            named.push(known.as_ref().is_none_or(|known| known.place != *place));
            let told = known.and_then(|known| known.told);
            self.known.insert(key.clone(), Known { place: *place, told });
        }
        let forgotten = before.into_keys().collect();
        let session_epoch = std::mem::replace(&mut self.epoch, FIRST_EPOCH);
        self.sent = Some(session_epoch);
        Plan { session_id: self.id, session_epoch, named, forgotten }
    }

    /// Takes the head of the answer to the last request.
    pub(crate) fn on_answer(&mut self, code: Option<ErrorCode>, session_id: i32) -> Answer {
        let sent = self.sent.take().unwrap_or(FIRST_EPOCH);
        match code {
            Some(code) => {
                if code == ErrorCode::FetchSessionIdNotFound {
                    self.id = 0;
                }
                let is_of_session = matches!(
                    code,
                    ErrorCode::FetchSessionIdNotFound
                        | ErrorCode::InvalidFetchSessionEpoch
                        | ErrorCode::FetchSessionTopicIdError
                );
                // A first fetch of a session that is refused all the same is not asked again at once, and so for ever.
                if is_of_session && sent != FIRST_EPOCH { Answer::Again } else { Answer::Refused(code) }
            }
            None if sent == FIRST_EPOCH => {
                // A broker that has no room for a session says 0; the next full fetch asks for one again.
                self.id = session_id;
                self.epoch = if session_id == 0 { FIRST_EPOCH } else { FIRST_EPOCH + 1 };
                Answer::Full
            }
            None => {
                if session_id == self.id {
                    self.epoch = sent.checked_add(1).unwrap_or(FIRST_EPOCH + 1);
                } else {
                    // The broker has ended it with this answer.
                    self.id = 0;
                }
                Answer::Incremental
            }
        }
    }

    /// Remembers what the answer says of a partition; `None` where that is an error, after which it is told anew.
    pub(crate) fn note(&mut self, key: &Key, told: Option<Told>) {
        if let Some(known) = self.known.get_mut(key) {
            known.told = told;
        }
    }

    /// What the silence of an incremental answer means for a partition. `None` is against the rules: nothing was told
    /// before either. The session is then given up, so that the next answer speaks of everything.
    pub(crate) fn on_silence(&mut self, key: &Key) -> Option<Told> {
        let told = self.known.get(key).and_then(|known| known.told);
        if told.is_none() {
            self.epoch = FIRST_EPOCH;
        }
        told
    }
}

#[cfg(test)]
#[path = "fetch_session_tests.rs"]
mod tests;
