//! What the log says of one transactional id, and the steps from one such state to the next.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_protocol::ErrorCode;

use super::state::TransactionState;

/// Stands for no producer id.
pub(super) const NO_PRODUCER_ID: i64 = -1;
/// Stands for no epoch.
pub(super) const NO_EPOCH: i16 = -1;
/// The timeout of a transaction that never times out.
const NO_TIMEOUT_MS: i32 = i32::MAX;

/// Partitions by topic.
pub type TopicPartitions = BTreeMap<String, BTreeSet<i32>>;

/// A producer as partitions know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProducerIdentity {
    /// The producer id.
    pub id: i64,
    /// The epoch, which goes up so that older producers of this id are fenced.
    pub epoch: i16,
}

impl ProducerIdentity {
    /// Nobody, as answers with an error have it.
    pub const NONE: Self = Self { id: NO_PRODUCER_ID, epoch: NO_EPOCH };

    /// Whether the epoch cannot go up for another producer. The last one is kept to fence with.
    pub fn is_exhausted(self) -> bool {
        self.epoch >= i16::MAX - 1
    }
}

/// What the log says of one transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The producer that has the id.
    pub producer_id: i64,
    /// The producer id before the last step, for retries across a rotation.
    pub previous_producer_id: i64,
    /// The producer id that comes with the end of the transaction; -1 where it stays.
    pub next_producer_id: i64,
    /// The producer's epoch; -1 before the first producer.
    pub producer_epoch: i16,
    /// How long a transaction may take.
    pub timeout_ms: i32,
    /// Where it stands.
    pub state: TransactionState,
    /// The partitions of the present transaction.
    pub partitions: TopicPartitions,
    /// When the last transaction began; -1 before the first one of this producer.
    pub start_ms: i64,
    /// When the last step was.
    pub last_update_ms: i64,
    /// The `transaction.version` that the client of the last step speaks.
    pub client_version: i16,
}

impl Transaction {
    /// A transactional id that nobody has had.
    pub fn unborn(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer_id,
            previous_producer_id: NO_PRODUCER_ID,
            next_producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_EPOCH,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: TopicPartitions::new(),
            start_ms: -1,
            last_update_ms: now_ms,
            client_version: 0,
        }
    }

    /// The producer that has the id.
    pub fn producer(&self) -> ProducerIdentity {
        ProducerIdentity { id: self.producer_id, epoch: self.producer_epoch }
    }

    /// The producer that will have the id once all markers are written.
    pub fn producer_after_end(&self) -> ProducerIdentity {
        if self.bumps_epochs() && self.next_producer_id != NO_PRODUCER_ID {
            ProducerIdentity { id: self.next_producer_id, epoch: 0 }
        } else {
            self.producer()
        }
    }

    /// Whether the client of the last step gets a new epoch for each transaction (KIP-890).
    fn bumps_epochs(&self) -> bool {
        self.client_version >= 2
    }

    /// When the transaction times out, in milliseconds since the epoch; `None` where it does not.
    pub fn times_out_ms(&self) -> Option<i64> {
        let may = self.state == TransactionState::Ongoing && self.timeout_ms != NO_TIMEOUT_MS;
        may.then(|| self.start_ms.saturating_add(i64::from(self.timeout_ms)))
    }

    /// Whether the partition is in the present transaction.
    pub fn contains(&self, topic: &str, partition: i32) -> bool {
        self.partitions.get(topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// The next state, with everything else as it is.
    ///
    /// # Errors
    /// `UNKNOWN_SERVER_ERROR` where this state may not follow, which would be a fault of the callers.
    fn step(&self, state: TransactionState, now_ms: i64) -> Result<Self, ErrorCode> {
        if !state.may_follow(self.state) {
            tracing::error!(from = self.state.name(), to = state.name(), "a transaction cannot go that way");
            return Err(ErrorCode::UnknownServerError);
        }
        Ok(Self { state, previous_producer_id: self.producer_id, last_update_ms: now_ms, ..self.clone() })
    }

    /// A producer takes the id.
    pub fn initialized(&self, producer: ProducerIdentity, timeout_ms: i32, now_ms: i64) -> Result<Self, ErrorCode> {
        Ok(Self {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            timeout_ms,
            partitions: TopicPartitions::new(),
            start_ms: -1,
            ..self.step(TransactionState::Empty, now_ms)?
        })
    }

    /// Partitions come in.
    pub fn with_partitions(&self, added: &TopicPartitions, version: i16, now_ms: i64) -> Result<Self, ErrorCode> {
        let mut next = self.step(TransactionState::Ongoing, now_ms)?;
        for (topic, partitions) in added {
            next.partitions.entry(topic.clone()).or_default().extend(partitions);
        }
        if self.state != TransactionState::Ongoing {
            next.start_ms = now_ms;
        }
        next.client_version = version;
        Ok(next)
    }

    /// It is decided how the transaction ends. With version 2 the epoch goes up, so that nothing that is still on its
    /// way can reach the next transaction; where it cannot go up again after that, `next_producer_id` comes after it.
    pub fn ending(&self, commit: bool, version: i16, next_producer_id: i64, now_ms: i64) -> Result<Self, ErrorCode> {
        let state = if commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
        let mut next = self.step(state, now_ms)?;
        if version >= 2 {
            next.producer_epoch = self.producer_epoch.saturating_add(1);
        }
        if self.state != TransactionState::Ongoing {
            // Nothing began, so that nobody knows when.
            next.start_ms = now_ms;
        }
        next.next_producer_id = next_producer_id;
        next.client_version = version;
        Ok(next)
    }

    /// As [`Transaction::ending`] by an abort that fences the producer, also where its transactions are of version 1.
    pub fn fenced(&self, version: i16, now_ms: i64) -> Result<Self, ErrorCode> {
        let producer_epoch = self.producer_epoch.saturating_add(1);
        Ok(Self { producer_epoch, ..self.ending(false, version, NO_PRODUCER_ID, now_ms)? })
    }

    /// All markers are written.
    pub fn completed(&self, now_ms: i64) -> Result<Self, ErrorCode> {
        let commits = self.state == TransactionState::PrepareCommit;
        let state = if commits { TransactionState::CompleteCommit } else { TransactionState::CompleteAbort };
        let producer = self.producer_after_end();
        Ok(Self {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            next_producer_id: NO_PRODUCER_ID,
            partitions: TopicPartitions::new(),
            ..self.step(state, now_ms)?
        })
    }
}
