//! One partition's transactional ids: what the log says, and what lives beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use rkafka_protocol::ErrorCode;

use super::entry::{NO_EPOCH, TopicPartitions, Transaction};
use super::records::{self, TransactionRecordError};
use super::{TransactionSettings, TransactionState};
use crate::InternalRecord;
use crate::coordinator::Moment;

/// How long the driver waits before it tries again what could not be written, in milliseconds.
pub(super) const RETRY_MS: i64 = 1_000;

/// A step of a transactional id. It counts once its record is appended and replayed, and is then to be told to
/// [`TransactionShard::stepped`].
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Whose step it is.
    pub transactional_id: String,
    /// To be appended.
    pub record: InternalRecord,
    /// The epoch before the producer's, by which a retry is told from an older producer; `None` where it stays.
    pub(super) last_epoch: Option<i16>,
}

/// At most one step, and what the client is told after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<R> {
    /// To be appended, replayed and told to [`TransactionShard::stepped`].
    pub step: Option<Step>,
    /// The answer after that.
    pub reply: R,
}

/// The markers that a transaction lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerWork {
    /// Whose transaction it is.
    pub transactional_id: String,
    /// The producer id of the markers.
    pub producer_id: i64,
    /// The epoch of the markers.
    pub producer_epoch: i16,
    /// Whether it commits.
    pub commit: bool,
    /// The `transaction.version` of the transaction, which tells partitions how to compare epochs.
    pub transaction_version: i16,
    /// Where they belong.
    pub partitions: TopicPartitions,
}

/// The second move of a transaction's end.
#[derive(Debug, Clone, PartialEq)]
struct Ending {
    unmarked: TopicPartitions,
    /// Somebody is writing markers right now.
    in_flight: bool,
    /// When to try again, on the monotonic clock.
    retry_ms: i64,
}

/// The machine of one `__transaction_state` partition.
#[derive(Debug)]
pub struct TransactionShard {
    pub(super) settings: TransactionSettings,
    transactions: BTreeMap<String, Transaction>,
    /// The epochs before the producers' own. Not in the log: as in Kafka, a retry across a restart is fenced.
    last_epochs: HashMap<String, i16>,
    endings: BTreeMap<String, Ending>,
    /// When transactions time out, on the monotonic clock.
    timeouts: BTreeSet<(i64, String)>,
    timeout_of: HashMap<String, i64>,
    /// When to look for expired ids, on the monotonic clock.
    pub(super) expiration_check_ms: i64,
}

impl TransactionShard {
    /// A machine that knows no transactional id.
    pub fn new(settings: TransactionSettings) -> Self {
        Self {
            settings,
            transactions: BTreeMap::new(),
            last_epochs: HashMap::new(),
            endings: BTreeMap::new(),
            timeouts: BTreeSet::new(),
            timeout_of: HashMap::new(),
            expiration_check_ms: i64::MAX,
        }
    }

    /// Takes a record for true.
    ///
    /// # Errors
    /// It is not in Kafka's format; nothing was changed.
    pub fn replay(&mut self, key: Bytes, value: Option<Bytes>) -> Result<(), TransactionRecordError> {
        match records::read(key, value)? {
            Some((transactional_id, Some(transaction))) => {
                self.transactions.insert(transactional_id, transaction);
            }
            Some((transactional_id, None)) => {
                self.transactions.remove(&transactional_id);
            }
            None => tracing::warn!("a record of a newer kind was skipped in __transaction_state"),
        }
        Ok(())
    }

    /// Begins to live once the log is replayed: markers that may be missing are due at once.
    pub fn start(&mut self, now: Moment) {
        self.last_epochs.clear();
        self.endings.clear();
        self.timeouts.clear();
        self.timeout_of.clear();
        let ids: Vec<String> = self.transactions.keys().cloned().collect();
        for transactional_id in ids {
            self.note(now, &transactional_id);
        }
        self.expiration_check_ms = now.monotonic_ms.saturating_add(self.settings.expiration_check_ms);
    }

    /// What follows from a step whose record was appended and replayed.
    pub fn stepped(&mut self, now: Moment, step: &Step) {
        match step.last_epoch {
            Some(NO_EPOCH) => {
                self.last_epochs.remove(&step.transactional_id);
            }
            Some(epoch) => {
                self.last_epochs.insert(step.transactional_id.clone(), epoch);
            }
            None => {}
        }
        self.note(now, &step.transactional_id);
    }

    fn note(&mut self, now: Moment, transactional_id: &str) {
        let transaction = self.transactions.get(transactional_id);
        let times_out_ms = transaction.and_then(Transaction::times_out_ms).map(|date_ms| {
            // The date may jump while the transaction goes on; how long it may take does not.
            now.monotonic_ms.saturating_add(date_ms.saturating_sub(now.date_ms)).max(now.monotonic_ms)
        });
        let unmarked = transaction.filter(|transaction| transaction.state.is_ending());
        match unmarked.map(|transaction| transaction.partitions.clone()) {
            Some(unmarked) => {
                let begun = Ending { unmarked, in_flight: false, retry_ms: now.monotonic_ms };
                self.endings.entry(transactional_id.to_owned()).or_insert(begun);
            }
            None => {
                self.endings.remove(transactional_id);
            }
        }
        if transaction.is_none() {
            self.last_epochs.remove(transactional_id);
        }
        self.set_timeout(transactional_id, times_out_ms);
    }

    pub(super) fn set_timeout(&mut self, transactional_id: &str, at_ms: Option<i64>) {
        if let Some(old_ms) = self.timeout_of.remove(transactional_id) {
            self.timeouts.remove(&(old_ms, transactional_id.to_owned()));
        }
        if let Some(at_ms) = at_ms {
            self.timeout_of.insert(transactional_id.to_owned(), at_ms);
            self.timeouts.insert((at_ms, transactional_id.to_owned()));
        }
    }

    /// When there is something to do, on the monotonic clock.
    pub fn deadline_ms(&self) -> Option<i64> {
        let timeout = self.timeouts.first().map(|(at_ms, _)| *at_ms);
        let markers = self.endings.values().filter(|ending| !ending.in_flight).map(|ending| ending.retry_ms).min();
        let expiration = (!self.transactions.is_empty()).then_some(self.expiration_check_ms);
        [timeout, markers, expiration].into_iter().flatten().min()
    }

    /// The transactions that have taken too long.
    pub fn timed_out(&self, now: Moment) -> Vec<String> {
        let due = self.timeouts.iter().take_while(|(at_ms, _)| *at_ms <= now.monotonic_ms);
        due.map(|(_, transactional_id)| transactional_id.clone()).collect()
    }

    /// The transactions whose missing markers are due to be written.
    pub fn unmarked(&self, now: Moment) -> Vec<String> {
        let due = self.endings.iter().filter(|(_, ending)| !ending.in_flight && ending.retry_ms <= now.monotonic_ms);
        due.map(|(transactional_id, _)| transactional_id.clone()).collect()
    }

    /// The partitions that lack the marker of a transaction that was decided; `None` where it is over, or goes on.
    pub fn ending(&self, transactional_id: &str) -> Option<&TopicPartitions> {
        self.endings.get(transactional_id).map(|ending| &ending.unmarked)
    }

    /// The markers that a transaction lacks, for one caller at a time, who is to report to
    /// [`TransactionShard::marked`] whatever came of them.
    pub fn take_markers(&mut self, transactional_id: &str) -> Option<MarkerWork> {
        let transaction = self.transactions.get(transactional_id)?;
        let ending = self.endings.get_mut(transactional_id).filter(|ending| !ending.in_flight)?;
        ending.in_flight = true;
        Some(MarkerWork {
            transactional_id: transactional_id.to_owned(),
            producer_id: transaction.producer_id,
            producer_epoch: transaction.producer_epoch,
            commit: transaction.state == TransactionState::PrepareCommit,
            transaction_version: transaction.client_version,
            partitions: ending.unmarked.clone(),
        })
    }

    /// Takes note of what markers are still missing.
    pub fn marked(&mut self, now: Moment, transactional_id: &str, left: TopicPartitions) {
        if let Some(ending) = self.endings.get_mut(transactional_id) {
            *ending = Ending { unmarked: left, in_flight: false, retry_ms: now.monotonic_ms.saturating_add(RETRY_MS) };
        }
    }

    /// The last move of a transaction's end, once no marker is missing.
    ///
    /// # Errors
    /// `UNKNOWN_SERVER_ERROR` where it cannot be written in Kafka's format.
    pub fn decide_complete(
        &self,
        now: Moment,
        transactional_id: &str,
        server_version: i16,
    ) -> Result<Option<Step>, ErrorCode> {
        let is_marked = |ending: &Ending| ending.unmarked.is_empty() && !ending.in_flight;
        let (Some(transaction), true) =
            (self.transactions.get(transactional_id), self.endings.get(transactional_id).is_some_and(is_marked))
        else {
            return Ok(None);
        };
        let completed = transaction.completed(now.date_ms)?;
        Self::step(transactional_id, &completed, None, server_version).map(Some)
    }

    /// A step to `next`.
    ///
    /// # Errors
    /// `UNKNOWN_SERVER_ERROR` where it cannot be written in Kafka's format.
    pub(super) fn step(
        transactional_id: &str,
        next: &Transaction,
        last_epoch: Option<i16>,
        server_version: i16,
    ) -> Result<Step, ErrorCode> {
        let record = records::state(transactional_id, next, server_version).map_err(|error| {
            tracing::error!(transactional_id, %error, "the transaction cannot be written");
            ErrorCode::UnknownServerError
        })?;
        Ok(Step { transactional_id: transactional_id.to_owned(), record, last_epoch })
    }

    /// What the log says of a transactional id.
    pub fn transaction(&self, transactional_id: &str) -> Option<&Transaction> {
        self.transactions.get(transactional_id)
    }

    /// What the log says of all transactional ids.
    pub fn transactions(&self) -> &BTreeMap<String, Transaction> {
        &self.transactions
    }

    /// The partitions of the present transaction that have not got a marker.
    pub(super) fn open_partitions<'a>(
        &'a self,
        transactional_id: &str,
        transaction: &'a Transaction,
    ) -> &'a TopicPartitions {
        self.endings.get(transactional_id).map_or(&transaction.partitions, |ending| &ending.unmarked)
    }

    pub(super) fn forget_last_epoch(&mut self, transactional_id: &str) {
        self.last_epochs.remove(transactional_id);
    }

    pub(super) fn last_epoch(&self, transactional_id: &str) -> i16 {
        self.last_epochs.get(transactional_id).copied().unwrap_or(NO_EPOCH)
    }
}
