//! What the log knows of each idempotent producer (KIP-98), to tell a retry from a new batch, to see a missing one, and
//! to know where its open transaction begins.

use std::collections::{HashMap, VecDeque};

use rkafka_protocol::records::{EndTransactionMarker, TransactionResult, increment_sequence};

use super::batch::Header;
use super::transaction::{
    AbortedTransaction, TransactionMarker, Transactions, Unverified, VerificationGuard, Verifications,
};

/// How many batches of a producer are remembered; a producer has at most this many in flight.
const BATCHES_KEPT: usize = 5;

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMetadata {
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Offset of its last record less that of its first.
    pub offset_delta: i32,
    /// Its maximum timestamp in milliseconds.
    pub timestamp_ms: i64,
}

impl BatchMetadata {
    /// Sequence number of the first record.
    pub fn first_sequence(&self) -> i32 {
        // Going back on the 31-bit ring is the same as going on by its size less the distance.
        ((i64::from(self.last_sequence) - i64::from(self.offset_delta)) & i64::from(i32::MAX)) as i32
    }

    /// Offset of the first record.
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// What is known of one producer id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The newest epoch.
    pub epoch: i16,
    /// The last batches of this epoch, the oldest first, at most five.
    pub batches: VecDeque<BatchMetadata>,
    /// When the producer was last heard of, in the time of its batches, in milliseconds.
    pub last_timestamp_ms: i64,
    /// Epoch of the transaction coordinator that wrote the last marker, -1 if none.
    pub coordinator_epoch: i32,
    /// First offset of the transaction that is open, if one is.
    pub current_txn_first_offset: Option<i64>,
}

impl ProducerEntry {
    pub(super) fn new(epoch: i16) -> Self {
        ProducerEntry {
            epoch,
            batches: VecDeque::new(),
            last_timestamp_ms: -1,
            coordinator_epoch: -1,
            current_txn_first_offset: None,
        }
    }

    /// Sequence number of the last record in this epoch, -1 if there is none.
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }
}

/// The verdict on a batch that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It continues the sequence.
    New,
    /// It is in the log already.
    Duplicate(BatchMetadata),
}

/// The verdict on a batch that must not be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    InvalidProducerEpoch {
        known_epoch: i16,
    },
    OutOfOrderSequence {
        last_sequence: i32,
    },
    /// A batch outside of a transaction while one is open, or one that would begin a transaction nobody knows of.
    InvalidTxnState {
        reason: &'static str,
    },
    TransactionCoordinatorFenced {
        known_epoch: i32,
    },
}

/// Where a batch comes from that is checked against its producer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A producer, which numbers its records.
    Client,
    /// A coordinator, which writes for a producer without sequence numbers.
    Coordinator,
}

/// All producers of a log.
#[derive(Debug, Clone, Default)]
pub struct ProducerStates {
    pub(super) producers: HashMap<i64, ProducerEntry>,
    transactions: Transactions,
    verifications: Verifications,
}

impl ProducerStates {
    /// The state that consists of these entries.
    pub(super) fn from_entries(producers: HashMap<i64, ProducerEntry>) -> Self {
        let mut transactions = Transactions::default();
        for (id, entry) in &producers {
            if let Some(first_offset) = entry.current_txn_first_offset {
                transactions.begin(first_offset, *id);
            }
        }
        ProducerStates { producers, transactions, verifications: Verifications::default() }
    }

    /// What is known of this producer id.
    pub fn get(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    /// All producers in no particular order, as `DescribeProducers` lists them.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    /// How many producer ids are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Says whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Takes over another state. Guards that were given out are void from then on.
    pub(super) fn replace(&mut self, other: ProducerStates) {
        self.verifications.clear_all();
        (self.producers, self.transactions) = (other.producers, other.transactions);
    }

    /// Whether this producer has a transaction open in this epoch.
    pub fn has_ongoing_transaction(&self, producer_id: i64, epoch: i16) -> bool {
        self.get(producer_id).is_some_and(|entry| entry.epoch == epoch && entry.current_txn_first_offset.is_some())
    }

    /// First offset and producer id of each open transaction, the oldest first.
    pub fn ongoing_transactions(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.transactions.ongoing()
    }

    /// The first offset below which all transactions are decided, by markers that are below the high watermark.
    pub(crate) fn first_unstable_offset(&self) -> Option<i64> {
        self.transactions.first_unstable_offset()
    }

    /// Takes note that all below `high_watermark` is replicated.
    pub(crate) fn replicated_up_to(&mut self, high_watermark: i64) {
        self.transactions.replicated_up_to(high_watermark);
    }

    /// Asks for permission to begin a transaction by the batch with this sequence. `None` where it is open already.
    pub(crate) fn begin_verification(
        &mut self,
        producer_id: i64,
        epoch: i16,
        sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> Option<VerificationGuard> {
        if self.has_ongoing_transaction(producer_id, epoch) {
            return None;
        }
        Some(self.verifications.begin(producer_id, epoch, sequence, supports_epoch_bump, now_ms))
    }

    /// Judges a batch by its producer id, epoch and sequence. A batch that would begin a transaction needs a guard.
    pub(crate) fn check(
        &self,
        header: &Header,
        writer: Writer,
        guard: Option<VerificationGuard>,
    ) -> Result<Verdict, Refusal> {
        let found = self.producers.get(&header.producer_id);
        let same = |batch: &&BatchMetadata| {
            batch.first_sequence() == header.base_sequence && batch.last_sequence == header.last_sequence()
        };
        if writer == Writer::Client
            && let Some(entry) = found.filter(|entry| entry.epoch == header.producer_epoch)
            && let Some(duplicate) = entry.batches.iter().find(same)
        {
            return Ok(Verdict::Duplicate(*duplicate));
        }
        let is_transactional = header.attributes.is_transactional();
        if is_transactional && !self.has_ongoing_transaction(header.producer_id, header.producer_epoch) {
            let sequence = if writer == Writer::Client { header.base_sequence } else { -1 };
            let has_batches = found.is_some_and(|entry| !entry.batches.is_empty());
            match self.verifications.check(header.producer_id, guard, sequence, has_batches) {
                Ok(()) => {}
                Err(Unverified::NoGuard) => {
                    return Err(Refusal::InvalidTxnState { reason: "it is not part of an ongoing transaction" });
                }
                Err(Unverified::OutOfOrder { expected }) => {
                    return Err(Refusal::OutOfOrderSequence { last_sequence: expected - 1 });
                }
            }
        }
        let Some(entry) = found else {
            // Its state may have expired, or its records been deleted, so any sequence may be the next.
            return Ok(Verdict::New);
        };
        if header.producer_epoch < entry.epoch {
            return Err(Refusal::InvalidProducerEpoch { known_epoch: entry.epoch });
        }
        if writer == Writer::Client {
            let last_sequence = if header.producer_epoch > entry.epoch { -1 } else { entry.last_sequence() };
            // After a marker only the epoch is known, and the producer begins at zero.
            let expected = if last_sequence < 0 { 0 } else { increment_sequence(last_sequence, 1) };
            if header.base_sequence != expected {
                return Err(Refusal::OutOfOrderSequence { last_sequence });
            }
        }
        if !is_transactional && entry.current_txn_first_offset.is_some() {
            return Err(Refusal::InvalidTxnState {
                reason: "its producer has a transaction open, and it is outside of it",
            });
        }
        Ok(Verdict::New)
    }

    /// Judges a marker by what is known of its producer.
    pub(crate) fn check_marker(&self, marker: &TransactionMarker) -> Result<(), Refusal> {
        let Some(entry) = self.producers.get(&marker.producer_id) else { return Ok(()) };
        // From transaction.version 2 on the coordinator bumps the epoch before it writes markers, so that one with the
        // epoch of an open transaction belongs to an earlier one. With nothing open it is the same marker once more: its
        // answer was lost, or the coordinator was restarted.
        let is_late = if marker.transaction_version >= 2 && entry.current_txn_first_offset.is_some() {
            marker.producer_epoch <= entry.epoch
        } else {
            marker.producer_epoch < entry.epoch
        };
        if is_late {
            return Err(Refusal::InvalidProducerEpoch { known_epoch: entry.epoch });
        }
        if marker.coordinator_epoch < entry.coordinator_epoch {
            return Err(Refusal::TransactionCoordinatorFenced { known_epoch: entry.coordinator_epoch });
        }
        Ok(())
    }

    /// Takes note of a batch that is in the log, with its offsets as they are there, and of the marker in it, if it is a
    /// control batch with one. What lies below `high_watermark` is replicated. Returns the transaction that the batch
    /// aborts, unless nothing was written in it.
    pub(crate) fn update(
        &mut self,
        header: &Header,
        marker: Option<EndTransactionMarker>,
        high_watermark: i64,
    ) -> Option<AbortedTransaction> {
        // A control batch without its marker is what compaction leaves of a transaction that is wholly gone.
        if !header.has_producer_id() || (header.attributes.is_control() && marker.is_none()) {
            return None;
        }
        let id = header.producer_id;
        let entry = self.producers.entry(id).or_insert_with(|| ProducerEntry::new(header.producer_epoch));
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        entry.last_timestamp_ms = header.max_timestamp;
        if let Some(marker) = marker {
            entry.coordinator_epoch = marker.coordinator_epoch;
            self.verifications.clear(id);
            let (first_offset, last_offset) = (entry.current_txn_first_offset.take()?, header.base_offset);
            let last_stable_offset = self.transactions.end(first_offset, last_offset, high_watermark);
            let aborted = AbortedTransaction { producer_id: id, first_offset, last_offset, last_stable_offset };
            return (marker.result == TransactionResult::Abort).then_some(aborted);
        }
        // An empty batch is what compaction leaves of a producer's last one; its transaction is decided.
        if header.attributes.is_transactional() && header.record_count > 0 && entry.current_txn_first_offset.is_none() {
            entry.current_txn_first_offset = Some(header.base_offset);
            self.transactions.begin(header.base_offset, id);
            self.verifications.clear(id);
        }
        if header.base_sequence < 0 {
            return None;
        }
        if entry.batches.len() == BATCHES_KEPT {
            entry.batches.pop_front();
        }
        entry.batches.push_back(BatchMetadata {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp_ms: header.max_timestamp,
        });
        None
    }

    /// Whether of some producer fewer batches are known than are kept, as after a snapshot, which has only the last.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.producers.values().any(|entry| (1..BATCHES_KEPT).contains(&entry.batches.len()))
    }

    /// Takes the batches before the last one of each producer from `seen`, which has seen the same end of the log.
    pub(crate) fn complete_from(&mut self, seen: ProducerStates) {
        for (id, other) in seen.producers {
            let Some(entry) = self.producers.get_mut(&id) else { continue };
            let last = |entry: &ProducerEntry| {
                entry.batches.back().map(|batch| (entry.epoch, batch.last_sequence, batch.last_offset))
            };
            if last(entry) == last(&other) && other.batches.len() > entry.batches.len() {
                entry.batches = other.batches;
            }
        }
    }

    /// Forgets the producers that were silent for `producer.id.expiration.ms`, except those with an open transaction.
    /// Says how many.
    pub(crate) fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        self.verifications.remove_expired(now_ms, expiration_ms);
        let before = self.producers.len();
        self.producers.retain(|_, entry| {
            entry.current_txn_first_offset.is_some() || now_ms.saturating_sub(entry.last_timestamp_ms) < expiration_ms
        });
        before - self.producers.len()
    }
}

#[cfg(test)]
mod tests {
    use rkafka_protocol::records::Attributes;

    use super::*;

    fn batch(epoch: i16, sequence: i32, count: i32, base_offset: i64) -> Header {
        Header {
            base_offset,
            batch_length: 100,
            partition_leader_epoch: 0,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 1000,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: count,
        }
    }

    fn check(states: &ProducerStates, header: &Header) -> Result<Verdict, Refusal> {
        states.check(header, Writer::Client, None)
    }

    #[test]
    fn five_batches_are_told_from_new_ones() {
        let mut states = ProducerStates::default();
        for n in 0..6 {
            let header = batch(0, n * 10, 10, i64::from(n) * 10);
            assert_eq!(check(&states, &header), Ok(Verdict::New));
            states.update(&header, None, i64::MAX);
        }
        for n in 1..6 {
            let Ok(Verdict::Duplicate(found)) = check(&states, &batch(0, n * 10, 10, 999)) else { panic!("batch {n}") };
            assert_eq!((found.first_offset(), found.last_offset), (i64::from(n) * 10, i64::from(n) * 10 + 9));
        }
        // The sixth from the end is forgotten, a part of a batch is no duplicate, and a gap is a gap.
        for sequence in [0, 70] {
            let refused = check(&states, &batch(0, sequence, 10, 999));
            assert_eq!(refused, Err(Refusal::OutOfOrderSequence { last_sequence: 59 }));
        }
        assert!(check(&states, &batch(0, 50, 9, 999)).is_err());
        assert_eq!(check(&states, &batch(0, 60, 1, 999)), Ok(Verdict::New));
    }

    #[test]
    fn epochs_fence_and_begin_at_zero() {
        let mut states = ProducerStates::default();
        assert_eq!(check(&states, &batch(3, 17, 1, 0)), Ok(Verdict::New));
        states.update(&batch(3, 17, 1, 0), None, i64::MAX);
        assert_eq!(check(&states, &batch(2, 0, 1, 1)), Err(Refusal::InvalidProducerEpoch { known_epoch: 3 }));
        assert_eq!(check(&states, &batch(4, 18, 1, 1)), Err(Refusal::OutOfOrderSequence { last_sequence: -1 }));
        assert_eq!(check(&states, &batch(4, 0, 1, 1)), Ok(Verdict::New));
        states.update(&batch(4, 0, 1, 1), None, i64::MAX);
        assert!(check(&states, &batch(3, 18, 1, 2)).is_err());
    }

    #[test]
    fn sequences_wrap_around() {
        let mut states = ProducerStates::default();
        states.update(&batch(0, i32::MAX - 1, 4, 0), None, i64::MAX);
        let entry = states.get(7).unwrap();
        assert_eq!(entry.last_sequence(), 1);
        assert_eq!(entry.batches[0].first_sequence(), i32::MAX - 1);
        assert!(matches!(check(&states, &batch(0, i32::MAX - 1, 4, 9)), Ok(Verdict::Duplicate(_))));
        assert_eq!(check(&states, &batch(0, 2, 1, 4)), Ok(Verdict::New));
        states.update(&batch(0, i32::MAX, 1, 4), None, i64::MAX);
        assert_eq!(check(&states, &batch(0, 0, 1, 5)), Ok(Verdict::New));
    }

    #[test]
    fn silent_producers_expire() {
        let mut states = ProducerStates::default();
        states.update(&batch(0, 0, 1, 0), None, i64::MAX);
        assert_eq!(states.remove_expired(1999, 1000), 0);
        assert_eq!(states.remove_expired(2000, 1000), 1);
        assert!(states.is_empty());
    }

    fn transactional(epoch: i16, sequence: i32, count: i32, base_offset: i64) -> Header {
        Header {
            attributes: Attributes::default().with_transactional(true),
            ..batch(epoch, sequence, count, base_offset)
        }
    }

    fn end(
        states: &mut ProducerStates,
        epoch: i16,
        result: TransactionResult,
        offset: i64,
    ) -> Option<AbortedTransaction> {
        let attributes = Attributes::default().with_transactional(true).with_control(true);
        let header = Header { attributes, ..batch(epoch, -1, 1, offset) };
        states.update(&header, Some(EndTransactionMarker { result, coordinator_epoch: 4 }), i64::MAX)
    }

    fn marker(producer_epoch: i16, coordinator_epoch: i32, transaction_version: i16) -> TransactionMarker {
        TransactionMarker { producer_id: 7, producer_epoch, coordinator_epoch, commit: true, transaction_version }
    }

    #[test]
    fn a_transaction_begins_with_a_guard_and_ends_with_its_marker() {
        let mut states = ProducerStates::default();
        let first = transactional(0, 0, 5, 100);
        assert!(matches!(check(&states, &first), Err(Refusal::InvalidTxnState { .. })));
        let guard = states.begin_verification(7, 0, 0, false, 0);
        assert_eq!(states.check(&first, Writer::Client, guard), Ok(Verdict::New));
        states.update(&first, None, i64::MAX);
        assert_eq!(states.begin_verification(7, 0, 5, false, 0), None);
        assert!(states.has_ongoing_transaction(7, 0) && !states.has_ongoing_transaction(7, 1));
        assert_eq!(states.first_unstable_offset(), Some(100));
        assert_eq!(check(&states, &transactional(0, 5, 2, 105)), Ok(Verdict::New));
        assert!(matches!(check(&states, &first), Ok(Verdict::Duplicate(_))));
        assert!(matches!(check(&states, &batch(0, 5, 2, 105)), Err(Refusal::InvalidTxnState { .. })));
        assert_eq!(states.remove_expired(i64::MAX, 1), 0, "the transaction is open");
        let aborted = end(&mut states, 0, TransactionResult::Abort, 105);
        let expected =
            AbortedTransaction { producer_id: 7, first_offset: 100, last_offset: 105, last_stable_offset: 106 };
        assert_eq!(aborted, Some(expected));
        assert_eq!(states.first_unstable_offset(), None);
        // Its sequence goes on over the marker, and with nothing written there is nothing to abort.
        assert_eq!(check(&states, &batch(0, 5, 2, 106)), Ok(Verdict::New));
        assert_eq!(end(&mut states, 0, TransactionResult::Abort, 106), None);
        assert_eq!(states.get(7).unwrap().coordinator_epoch, 4);
        // A late answer to the first question opens nothing.
        assert!(matches!(
            states.check(&transactional(0, 5, 1, 107), Writer::Client, guard),
            Err(Refusal::InvalidTxnState { .. })
        ));
    }

    #[test]
    fn late_markers_are_refused() {
        let mut states = ProducerStates::default();
        assert_eq!(states.check_marker(&marker(3, 1, 2)), Ok(()));
        states.update(&transactional(3, 0, 1, 0), None, i64::MAX);
        // Before version 2 the marker has the epoch of the records, since then a newer one.
        assert_eq!(states.check_marker(&marker(3, 1, 1)), Ok(()));
        for (late, version) in [(2, 0), (2, 1), (2, 2), (3, 2)] {
            let refused = states.check_marker(&marker(late, 1, version));
            assert_eq!(refused, Err(Refusal::InvalidProducerEpoch { known_epoch: 3 }), "{late} {version}");
        }
        assert_eq!(states.check_marker(&marker(4, 1, 2)), Ok(()));
        end(&mut states, 4, TransactionResult::Commit, 1);
        // The same once more is no harm when nothing is open.
        assert_eq!(states.check_marker(&marker(4, 4, 2)), Ok(()));
        assert_eq!(states.check_marker(&marker(3, 4, 2)), Err(Refusal::InvalidProducerEpoch { known_epoch: 4 }));
        let fenced = Err(Refusal::TransactionCoordinatorFenced { known_epoch: 4 });
        assert_eq!(states.check_marker(&marker(4, 3, 2)), fenced);
        // The marker's epoch is the producer's next one, which begins at zero.
        assert_eq!(check(&states, &batch(3, 1, 1, 2)), Err(Refusal::InvalidProducerEpoch { known_epoch: 4 }));
        assert_eq!(check(&states, &batch(4, 1, 1, 2)), Err(Refusal::OutOfOrderSequence { last_sequence: -1 }));
        assert_eq!(check(&states, &batch(4, 0, 1, 2)), Ok(Verdict::New));
    }

    #[test]
    fn coordinators_write_without_sequences() {
        let mut states = ProducerStates::default();
        let unnumbered = |epoch, offset| Header { base_sequence: -1, ..transactional(epoch, -1, 1, offset) };
        assert!(matches!(
            states.check(&unnumbered(1, 0), Writer::Coordinator, None),
            Err(Refusal::InvalidTxnState { .. })
        ));
        let guard = states.begin_verification(7, 1, -1, true, 0);
        assert_eq!(states.check(&unnumbered(1, 0), Writer::Coordinator, guard), Ok(Verdict::New));
        states.update(&unnumbered(1, 0), None, i64::MAX);
        assert_eq!(states.check(&unnumbered(1, 1), Writer::Coordinator, None), Ok(Verdict::New));
        states.update(&unnumbered(1, 1), None, i64::MAX);
        assert_eq!(states.get(7).unwrap().batches.len(), 0);
        let fenced = states.check(&batch(0, -1, 1, 2), Writer::Coordinator, None);
        assert_eq!(fenced, Err(Refusal::InvalidProducerEpoch { known_epoch: 1 }));
    }
}
