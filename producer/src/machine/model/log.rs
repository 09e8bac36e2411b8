//! The log of one partition as a broker keeps it.

use std::collections::{HashMap, VecDeque};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::{DecompressArena, RecordBatch, increment_sequence};

/// One replicated log, with the producer state that brokers keep for it.
#[derive(Default)]
pub(super) struct Log {
    pub(super) leader: usize,
    pub(super) records: Vec<u32>,
    pub(super) producers: HashMap<i64, ProducerState>,
}

/// What a broker knows of a producer: its epoch, and the last five batches as (base sequence, last sequence, offset).
#[derive(Default)]
pub(super) struct ProducerState {
    pub(super) epoch: i16,
    pub(super) batches: VecDeque<(i32, i32, i64)>,
    /// A transaction's marker has told of the epoch, which begins with sequence 0 then.
    pub(super) marked: bool,
}

impl Log {
    /// Kafka's `ProducerAppendInfo` and `UnifiedLog.analyzeAndValidateProducerState`.
    pub(super) fn append(&mut self, bytes: &[u8], records_max: usize) -> Result<i64, ErrorCode> {
        let batch = RecordBatch::read(bytes).unwrap();
        batch.verify_crc().unwrap();
        let mut arena = DecompressArena::default();
        let ids = batch
            .records(&mut arena)
            .unwrap()
            .map(|record| u32::from_be_bytes(record.unwrap().value.unwrap()[..4].try_into().unwrap()))
            .collect::<Vec<_>>();
        if ids.len() > records_max {
            return Err(ErrorCode::MessageTooLarge);
        }
        if ids.iter().any(|id| id % 97 == 96) {
            return Err(ErrorCode::InvalidRecord);
        }
        let header = batch.header();
        let offset = self.records.len() as i64;
        if header.producer_id >= 0 {
            let mut fresh = ProducerState { epoch: header.producer_epoch, ..ProducerState::default() };
            let state = self.producers.get_mut(&header.producer_id).unwrap_or(&mut fresh);
            let first = header.base_sequence;
            let last = increment_sequence(first, header.record_count - 1);
            if header.producer_epoch < state.epoch {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            if header.producer_epoch == state.epoch
                && let Some((.., offset)) = state.batches.iter().find(|known| (known.0, known.1) == (first, last))
            {
                return Ok(*offset);
            }
            let fits = match state.batches.back() {
                Some((_, previous, _)) if header.producer_epoch == state.epoch => {
                    first == increment_sequence(*previous, 1)
                }
                // A producer that the partition never heard of may begin anywhere.
                None => !state.marked || first == 0,
                _ => first == 0,
            };
            if !fits {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            if header.producer_epoch != state.epoch {
                state.batches.clear();
            }
            state.epoch = header.producer_epoch;
            state.batches.push_back((first, last, offset));
            if state.batches.len() > 5 {
                state.batches.pop_front();
            }
            if !fresh.batches.is_empty() {
                self.producers.insert(header.producer_id, fresh);
            }
        }
        self.records.extend(ids);
        Ok(offset)
    }
}
