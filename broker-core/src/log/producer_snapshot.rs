//! Kafka's producer snapshots: `<offset>.snapshot` holds the producers' state from all batches below that offset.

use std::collections::HashMap;

use crc32c::crc32c;

use super::producer_state::{BatchMetadata, ProducerEntry, ProducerStates};

/// Version of the snapshot file.
const SNAPSHOT_VERSION: i16 = 1;
/// Where the checksummed part of a snapshot begins: behind the version and the checksum itself.
const SNAPSHOT_CRC_START: usize = 6;
/// Bytes of one producer in a snapshot.
const SNAPSHOT_ENTRY_BYTES: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;

impl ProducerStates {
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
        Ok(ProducerStates::from_entries(producers))
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
    use super::*;

    #[test]
    fn snapshots_round_trip_and_are_checked() {
        let mut entry = ProducerEntry::new(3);
        entry.batches.push_back(BatchMetadata {
            last_sequence: 20,
            last_offset: 103,
            offset_delta: 3,
            timestamp_ms: 9,
        });
        (entry.last_timestamp_ms, entry.coordinator_epoch, entry.current_txn_first_offset) = (9, 5, Some(100));
        let states = ProducerStates::from_entries(HashMap::from([(7, entry.clone()), (8, ProducerEntry::new(0))]));
        let bytes = states.encode();
        let decoded = ProducerStates::decode(&bytes).unwrap();
        assert_eq!(decoded.producers, states.producers);
        assert_eq!(decoded.first_unstable_offset(), Some(100));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(ProducerStates::decode(&bad).is_err(), "flipped byte {at}");
            assert!(ProducerStates::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
