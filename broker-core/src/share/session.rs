//! Which partitions a member of a share group fetches from, from one request to the next (KIP-932).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

/// A partition by its topic's id.
pub type TopicPartition = (Uuid, i32);

/// The epoch that opens a session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that closes it.
const FINAL_EPOCH: i32 = -1;

/// Why a request has no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    /// `SHARE_SESSION_NOT_FOUND`.
    NotFound,
    /// `INVALID_SHARE_SESSION_EPOCH`.
    WrongEpoch,
    /// `SHARE_SESSION_LIMIT_REACHED`.
    LimitReached,
    /// `INVALID_REQUEST`: a session is neither opened with acknowledgements nor closed with new partitions.
    NotNow,
}

impl SessionError {
    /// The error of the protocol.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::ShareSessionNotFound,
            Self::WrongEpoch => ErrorCode::InvalidShareSessionEpoch,
            Self::LimitReached => ErrorCode::ShareSessionLimitReached,
            Self::NotNow => ErrorCode::InvalidRequest,
        }
    }
}

#[derive(Debug)]
struct Session {
    /// The epoch that the next request has to bear.
    epoch: i32,
    /// In the order in which the next fetch looks at them.
    partitions: VecDeque<TopicPartition>,
    /// The same, for one request may name as many as fit into it.
    known: HashSet<TopicPartition>,
    connection_id: u64,
}

/// What a request is to do with its session.
#[derive(Debug, PartialEq, Eq)]
pub struct SessionStep {
    /// The partitions to fetch from, the one that has waited longest first; none where the session ends.
    pub fetch: Vec<TopicPartition>,
    /// The partitions that the member gives up: all that it holds there comes back.
    pub released: Vec<TopicPartition>,
}

/// A session's group and member.
pub type SessionKey = (Arc<str>, Arc<str>);

/// The sessions of all share groups on a broker. A session ends with its connection.
#[derive(Debug)]
pub struct ShareSessions {
    max_sessions: usize,
    sessions: HashMap<SessionKey, Session>,
}

impl ShareSessions {
    /// No sessions, and room for so many (`group.share.max.share.sessions`).
    pub fn new(max_sessions: usize) -> Self {
        Self { max_sessions, sessions: HashMap::new() }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Takes a ShareFetch.
    ///
    /// # Errors
    /// [`SessionError`], and nothing has changed.
    pub fn fetch(
        &mut self,
        key: &SessionKey,
        epoch: i32,
        connection_id: u64,
        added: &[TopicPartition],
        forgotten: &[TopicPartition],
        acknowledges: bool,
    ) -> Result<SessionStep, SessionError> {
        match epoch {
            INITIAL_EPOCH if acknowledges => Err(SessionError::NotNow),
            INITIAL_EPOCH => {
                if !self.sessions.contains_key(key) && self.sessions.len() >= self.max_sessions {
                    return Err(SessionError::LimitReached);
                }
                let mut session =
                    Session { epoch: 1, partitions: VecDeque::new(), known: HashSet::new(), connection_id };
                session.add(added);
                let fetch = session.in_order();
                self.sessions.insert(key.clone(), session);
                Ok(SessionStep { fetch, released: Vec::new() })
            }
            FINAL_EPOCH => self.close(key),
            epoch => {
                let session = self.sessions.get_mut(key).ok_or(SessionError::NotFound)?;
                session.advance(epoch)?;
                session.connection_id = connection_id;
                session.forget(forgotten);
                session.add(added);
                // Who was first is last the next time, so that a partition with much to give starves no other.
                let fetch = session.in_order();
                if !session.partitions.is_empty() {
                    session.partitions.rotate_left(1);
                }
                Ok(SessionStep { fetch, released: Vec::new() })
            }
        }
    }

    /// Takes a ShareAcknowledge.
    ///
    /// # Errors
    /// [`SessionError`], and nothing has changed.
    pub fn acknowledge(&mut self, key: &SessionKey, epoch: i32) -> Result<SessionStep, SessionError> {
        match epoch {
            INITIAL_EPOCH => Err(SessionError::WrongEpoch),
            FINAL_EPOCH => self.close(key),
            epoch => {
                self.sessions.get_mut(key).ok_or(SessionError::NotFound)?.advance(epoch)?;
                Ok(SessionStep { fetch: Vec::new(), released: Vec::new() })
            }
        }
    }

    /// Ends what a connection had open that is gone. Answers whose sessions they were, and where their records are.
    pub fn disconnected(&mut self, connection_id: u64) -> Vec<(SessionKey, Vec<TopicPartition>)> {
        let mut ended = Vec::new();
        self.sessions.retain(|key, session| {
            let stays = session.connection_id != connection_id;
            if !stays {
                ended.push((key.clone(), std::mem::take(&mut session.partitions).into()));
            }
            stays
        });
        ended
    }

    fn close(&mut self, key: &SessionKey) -> Result<SessionStep, SessionError> {
        let session = self.sessions.remove(key).ok_or(SessionError::NotFound)?;
        Ok(SessionStep { fetch: Vec::new(), released: session.partitions.into() })
    }
}

impl Session {
    fn add(&mut self, added: &[TopicPartition]) {
        for partition in added {
            if self.known.insert(*partition) {
                self.partitions.push_back(*partition);
            }
        }
    }

    fn forget(&mut self, forgotten: &[TopicPartition]) {
        let mut is_any_gone = false;
        for partition in forgotten {
            is_any_gone |= self.known.remove(partition);
        }
        if is_any_gone {
            self.partitions.retain(|partition| self.known.contains(partition));
        }
    }

    fn in_order(&self) -> Vec<TopicPartition> {
        self.partitions.iter().copied().collect()
    }

    fn advance(&mut self, epoch: i32) -> Result<(), SessionError> {
        if epoch != self.epoch {
            return Err(SessionError::WrongEpoch);
        }
        // Behind the greatest epoch comes 1: 0 opens a session.
        self.epoch = epoch.checked_add(1).unwrap_or(1);
        Ok(())
    }
}
