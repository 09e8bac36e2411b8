//! What the log knows of each idempotent producer (KIP-98), to tell a retry from a new batch and to see a missing one.
//!
//! The files are Kafka's producer snapshots: `<offset>.snapshot` holds the state from all batches below that offset.

use std::collections::{HashMap, VecDeque};

use crc32c::crc32c;

use rkafka_protocol::records::increment_sequence;

use super::batch::Header;

/// How many batches of a producer are remembered; a producer has at most this many in flight.
const BATCHES_KEPT: usize = 5;
/// Version of the snapshot file.
const SNAPSHOT_VERSION: i16 = 1;
/// Where the checksummed part of a snapshot begins: behind the version and the checksum itself.
const SNAPSHOT_CRC_START: usize = 6;
/// Bytes of one producer in a snapshot.
const SNAPSHOT_ENTRY_BYTES: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;

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
    fn new(epoch: i16) -> Self {
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
    InvalidProducerEpoch { known_epoch: i16 },
    OutOfOrderSequence { last_sequence: i32 },
}

/// All producers of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: HashMap<i64, ProducerEntry>,
}

impl ProducerStates {
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

    /// Judges a batch from a client by its producer id, epoch and sequence.
    pub(crate) fn check(&self, header: &Header) -> Result<Verdict, Refusal> {
        let Some(entry) = self.producers.get(&header.producer_id) else {
            // Its state may have expired, or its records been deleted, so any sequence may be the next.
            return Ok(Verdict::New);
        };
        if header.producer_epoch < entry.epoch {
            return Err(Refusal::InvalidProducerEpoch { known_epoch: entry.epoch });
        }
        if header.producer_epoch > entry.epoch {
            return match header.base_sequence {
                0 => Ok(Verdict::New),
                _ => Err(Refusal::OutOfOrderSequence { last_sequence: -1 }),
            };
        }
        let same = |batch: &&BatchMetadata| {
            batch.first_sequence() == header.base_sequence && batch.last_sequence == header.last_sequence()
        };
        if let Some(duplicate) = entry.batches.iter().find(same) {
            return Ok(Verdict::Duplicate(*duplicate));
        }
        let last_sequence = entry.last_sequence();
        // After a marker only the epoch is known, and the producer begins at zero.
        let expected = if last_sequence < 0 { 0 } else { increment_sequence(last_sequence, 1) };
        if header.base_sequence == expected {
            Ok(Verdict::New)
        } else {
            Err(Refusal::OutOfOrderSequence { last_sequence })
        }
    }

    /// Takes note of a batch that is in the log, with its offsets as they are there.
    pub(crate) fn update(&mut self, header: &Header) {
        if !header.has_producer_id() {
            return;
        }
        let entry =
            self.producers.entry(header.producer_id).or_insert_with(|| ProducerEntry::new(header.producer_epoch));
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        entry.last_timestamp_ms = header.max_timestamp;
        if header.attributes.is_control() {
            entry.current_txn_first_offset = None;
            return;
        }
        if header.attributes.is_transactional() && entry.current_txn_first_offset.is_none() {
            entry.current_txn_first_offset = Some(header.base_offset);
        }
        if header.base_sequence < 0 {
            return;
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
        let before = self.producers.len();
        self.producers.retain(|_, entry| {
            entry.current_txn_first_offset.is_some() || now_ms.saturating_sub(entry.last_timestamp_ms) < expiration_ms
        });
        before - self.producers.len()
    }

    /// The bytes of a snapshot file. Of each producer it holds the last batch only, as Kafka's does.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut ids: Vec<i64> = self.producers.keys().copied().collect();
        ids.sort_unstable();
        let mut bytes = Vec::with_capacity(SNAPSHOT_CRC_START + 4 + ids.len() * SNAPSHOT_ENTRY_BYTES);
        bytes.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&i32::try_from(ids.len()).unwrap_or(i32::MAX).to_be_bytes());
        for id in ids {
            let Some(entry) = self.producers.get(&id) else { continue };
            let last = entry.batches.back();
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.extend_from_slice(&entry.epoch.to_be_bytes());
            bytes.extend_from_slice(&entry.last_sequence().to_be_bytes());
            bytes.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset).to_be_bytes());
            bytes.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
            bytes.extend_from_slice(&entry.last_timestamp_ms.to_be_bytes());
            bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
            bytes.extend_from_slice(&entry.current_txn_first_offset.unwrap_or(-1).to_be_bytes());
        }
        let crc = crc32c(&bytes[SNAPSHOT_CRC_START..]);
        bytes[2..SNAPSHOT_CRC_START].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads a snapshot file; says what is wrong where it cannot be trusted.
    pub(crate) fn decode(bytes: &[u8]) -> Result<ProducerStates, &'static str> {
        let mut fields = Fields { bytes };
        let version = i16::from_be_bytes(fields.take()?);
        let crc = u32::from_be_bytes(fields.take()?);
        if version != SNAPSHOT_VERSION {
            return Err("its version is not 1");
        }
        if crc32c(fields.bytes) != crc {
            return Err("its checksum does not match");
        }
        let count = usize::try_from(i32::from_be_bytes(fields.take()?)).map_err(|_| "its count is negative")?;
        if count.checked_mul(SNAPSHOT_ENTRY_BYTES) != Some(fields.bytes.len()) {
            return Err("its count does not match its size");
        }
        let mut producers = HashMap::with_capacity(count);
        for _ in 0..count {
            let id = i64::from_be_bytes(fields.take()?);
            let mut entry = ProducerEntry::new(i16::from_be_bytes(fields.take()?));
            let last_sequence = i32::from_be_bytes(fields.take()?);
            let last_offset = i64::from_be_bytes(fields.take()?);
            let offset_delta = i32::from_be_bytes(fields.take()?);
            let timestamp_ms = i64::from_be_bytes(fields.take()?);
            entry.last_timestamp_ms = timestamp_ms;
            entry.coordinator_epoch = i32::from_be_bytes(fields.take()?);
            let txn = i64::from_be_bytes(fields.take()?);
            entry.current_txn_first_offset = (txn >= 0).then_some(txn);
            if last_sequence >= 0 && offset_delta >= 0 && last_offset >= i64::from(offset_delta) {
                entry.batches.push_back(BatchMetadata { last_sequence, last_offset, offset_delta, timestamp_ms });
            }
            producers.insert(id, entry);
        }
        Ok(ProducerStates { producers })
    }
}

struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (field, rest) = self.bytes.split_first_chunk::<N>().ok_or("it is cut off")?;
        self.bytes = rest;
        Ok(*field)
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

    #[test]
    fn five_batches_are_told_from_new_ones() {
        let mut states = ProducerStates::default();
        for n in 0..6 {
            let header = batch(0, n * 10, 10, i64::from(n) * 10);
            assert_eq!(states.check(&header), Ok(Verdict::New));
            states.update(&header);
        }
        for n in 1..6 {
            let Ok(Verdict::Duplicate(found)) = states.check(&batch(0, n * 10, 10, 999)) else { panic!("batch {n}") };
            assert_eq!((found.first_offset(), found.last_offset), (i64::from(n) * 10, i64::from(n) * 10 + 9));
        }
        // The sixth from the end is forgotten, a part of a batch is no duplicate, and a gap is a gap.
        for sequence in [0, 70] {
            let refused = states.check(&batch(0, sequence, 10, 999));
            assert_eq!(refused, Err(Refusal::OutOfOrderSequence { last_sequence: 59 }));
        }
        assert!(states.check(&batch(0, 50, 9, 999)).is_err());
        assert_eq!(states.check(&batch(0, 60, 1, 999)), Ok(Verdict::New));
    }

    #[test]
    fn epochs_fence_and_begin_at_zero() {
        let mut states = ProducerStates::default();
        assert_eq!(states.check(&batch(3, 17, 1, 0)), Ok(Verdict::New));
        states.update(&batch(3, 17, 1, 0));
        assert_eq!(states.check(&batch(2, 0, 1, 1)), Err(Refusal::InvalidProducerEpoch { known_epoch: 3 }));
        assert_eq!(states.check(&batch(4, 18, 1, 1)), Err(Refusal::OutOfOrderSequence { last_sequence: -1 }));
        assert_eq!(states.check(&batch(4, 0, 1, 1)), Ok(Verdict::New));
        states.update(&batch(4, 0, 1, 1));
        assert!(states.check(&batch(3, 18, 1, 2)).is_err());
    }

    #[test]
    fn sequences_wrap_around() {
        let mut states = ProducerStates::default();
        states.update(&batch(0, i32::MAX - 1, 4, 0));
        let entry = states.get(7).unwrap();
        assert_eq!(entry.last_sequence(), 1);
        assert_eq!(entry.batches[0].first_sequence(), i32::MAX - 1);
        assert!(matches!(states.check(&batch(0, i32::MAX - 1, 4, 9)), Ok(Verdict::Duplicate(_))));
        assert_eq!(states.check(&batch(0, 2, 1, 4)), Ok(Verdict::New));
        states.update(&batch(0, i32::MAX, 1, 4));
        assert_eq!(states.check(&batch(0, 0, 1, 5)), Ok(Verdict::New));
    }

    #[test]
    fn snapshots_round_trip_and_are_checked() {
        let mut states = ProducerStates::default();
        states.update(&batch(3, 17, 4, 100));
        let bytes = states.encode();
        assert_eq!(ProducerStates::decode(&bytes).unwrap(), states);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(ProducerStates::decode(&bad).is_err(), "flipped byte {at}");
            assert!(ProducerStates::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn silent_producers_expire() {
        let mut states = ProducerStates::default();
        states.update(&batch(0, 0, 1, 0));
        assert_eq!(states.remove_expired(1999, 1000), 0);
        assert_eq!(states.remove_expired(2000, 1000), 1);
        assert!(states.is_empty());
    }
}
