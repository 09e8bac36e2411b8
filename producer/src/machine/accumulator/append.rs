//! The record that comes in: into the open batch, or into a new one.

use std::sync::Arc;
use std::time::Instant;

use rkafka_protocol::records::{BATCH_OVERHEAD, BatchBuilder, BatchOptions, HeaderRef, RecordError};

use super::PartitionQueue;
use crate::delivery::BatchState;
use crate::machine::batch::{Charge, ClosedBatch, OpenBatch};
use crate::memory::Memory;
use crate::record::Record;

/// A record that was taken.
pub(crate) struct Appended {
    pub(crate) state: Arc<BatchState>,
    pub(crate) index: u32,
    /// The sender must look: a batch began, so that there is a linger timer to set, or one became full.
    pub(crate) wake: bool,
    /// The sticky partitioner should go on to another partition.
    pub(crate) switch: bool,
}

/// A record that was not taken.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The budget is spent; `wake` where this made a batch ready.
    Full { wake: bool },
    /// The record is above `setting`.
    TooLarge { size: usize, limit: usize, setting: &'static str },
    /// The record has no encoding.
    Encode(RecordError),
}

/// Upper bound of what a record adds to a batch: lengths and deltas as long as they can become.
fn size_bound(record: &Record<'_>) -> usize {
    let headers = record.headers.as_slice();
    let header_bytes: usize = if headers.is_empty() {
        0
    } else {
        headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len) + 10).sum()
    };
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + header_bytes + 36
}

impl PartitionQueue {
    /// Writes the record into the open batch. `now` is asked only where a batch begins or is full. `in_turn` says that the
    /// caller has waited for memory and is the first of those who do.
    pub(crate) fn append(
        &mut self,
        record: &Record<'_>,
        timestamp: i64,
        sticky: bool,
        memory: &Arc<Memory>,
        in_turn: bool,
        now: impl Fn() -> Instant,
    ) -> Result<Appended, AppendError> {
        let size = size_bound(record);
        // Also where a batch is open that has room: what `max.request.size` says holds for each record, as in Java.
        if BATCH_OVERHEAD + size > self.limits.record_size_max.min(memory.limit()) {
            return Err(self.too_large(size, memory.limit()));
        }
        let batch_size = self.fill.target();
        let mut wake = false;
        if let Some(open) = &self.open
            && open.builder.len() + size > batch_size
        {
            self.close_open(now());
            wake = true;
        }
        if let Some(open) = &mut self.open {
            let (length, capacity) = (open.builder.len() + size, open.builder.capacity());
            if length > capacity {
                // The buffer is about to double, or more if the record wants it. For what a batch takes beyond
                // `batch.size`, because it is compressed well, there is only memory that nobody waits for.
                let extra = capacity.saturating_mul(2).max(length) - capacity;
                let is_large = length > self.limits.batch_size;
                let granted =
                    if is_large { open.charge.grow_unless_waited_for(extra) } else { open.charge.grow(extra, in_turn) };
                if !granted {
                    self.close_open(now());
                    wake = true;
                    if !is_large {
                        return Err(AppendError::Full { wake });
                    }
                }
            }
        }
        if self.open.is_none() {
            let most = if memory.is_ample(batch_size) { batch_size } else { self.limits.batch_size };
            let expected = self.expected.clamp(BATCH_OVERHEAD + size, most.max(BATCH_OVERHEAD + size));
            let buffer = match memory.take(expected, in_turn) {
                Some(buffer) => buffer,
                None => memory.take(BATCH_OVERHEAD + size, in_turn).ok_or(AppendError::Full { wake })?,
            };
            let charge = Charge::new(memory.clone(), buffer.capacity());
            let builder = BatchBuilder::new(buffer, BatchOptions::default());
            let state = BatchState::new(self.topic.clone(), self.partition);
            self.open = Some(OpenBatch { builder, charge, state, created: now(), record_size_max: 0 });
            wake = true;
        }
        let Some(open) = &mut self.open else { return Err(AppendError::Full { wake }) };
        let headers =
            record.headers.as_slice().iter().map(|(name, value)| HeaderRef { key: name.as_bytes(), value: *value });
        let before = open.builder.len();
        let index = match open.builder.append(timestamp, record.key, record.value, headers) {
            Ok(index) => index,
            Err(error) => {
                if open.builder.is_empty() {
                    self.open = None;
                }
                return Err(AppendError::Encode(error));
            }
        };
        open.record_size_max = open.record_size_max.max(open.builder.len() - before);
        let state = open.state.clone();
        // The next record will be about as large as this one: where it would not fit, the batch is full now.
        let full = open.builder.len() + size > batch_size;
        if full {
            self.close_open(now());
            wake = true;
        }
        let mut switch = false;
        if sticky {
            self.sticky_bytes += size;
            switch = self.sticky_bytes >= batch_size || full;
            if switch {
                self.sticky_bytes = 0;
            }
        }
        Ok(Appended { state, index, wake, switch })
    }

    #[cold]
    fn too_large(&self, size: usize, buffer_memory: usize) -> AppendError {
        let size = BATCH_OVERHEAD + size;
        if size > self.limits.record_size_max {
            AppendError::TooLarge { size, limit: self.limits.record_size_max, setting: "max.request.size" }
        } else {
            AppendError::TooLarge { size, limit: buffer_memory, setting: "buffer.memory" }
        }
    }

    /// Closes the open batch, so that it goes without lingering.
    pub(crate) fn close_open(&mut self, now: Instant) {
        if let Some(open) = self.open.take() {
            self.expected = open.builder.len().max(self.expected / 2);
            let mut batch = ClosedBatch::from(open);
            // One that was left open for longer than it had to linger waited for its turn since then.
            batch.ready_at = now.min(batch.created + self.limits.linger);
            self.ready.push_back(batch);
        }
    }
}
