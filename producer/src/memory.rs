//! `buffer.memory`: what open and unacknowledged batches may take, and the pool that their buffers come from.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Buffers come in sizes of `batch.size`, its half, its quarter and so on, and its double and so on where batches may
/// grow beyond it, so that a buffer that doubles as it grows comes to `batch.size` exactly.
const SIZES: usize = 16;

/// The smallest buffer that a batch begins in, in bytes.
const SMALLEST: usize = 1024;

/// The budget and the pool. It is asked once per batch and when a buffer grows, never per record.
pub(crate) struct Memory {
    limit: usize,
    /// The size of the largest buffers that are pooled.
    largest: usize,
    state: Mutex<State>,
    /// Told whenever memory comes back while somebody waits.
    freed: Notify,
    /// Held by the one whose turn it is, of those who wait: the lock is fair, so that they are served as they came.
    turn: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Bytes charged to batches.
    used: usize,
    /// Bytes of the buffers that lie idle. `used + idle` stays within the limit.
    idle: usize,
    buffers: [Vec<Vec<u8>>; SIZES],
}

impl Memory {
    /// For batches that are full at `batch_size` bytes, or as compression has it at up to `most`.
    pub(crate) fn new(limit: usize, batch_size: usize, most: usize) -> Self {
        let mut largest = batch_size.max(SMALLEST);
        while largest < most && largest <= usize::MAX / 2 {
            largest *= 2;
        }
        Self {
            limit,
            largest,
            state: Mutex::default(),
            freed: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of the buffer to begin with where `expected` bytes are expected.
    fn step(&self, expected: usize) -> (usize, usize) {
        let mut class = 0;
        while class + 1 < SIZES && self.largest >> (class + 1) >= expected.max(SMALLEST) {
            class += 1;
        }
        (class, (self.largest >> class).max(expected))
    }

    /// Whether memory that is free is not the caller's: others wait for it, and it is not its turn. What is freed would
    /// else go to small records for ever, while a large one waits.
    fn is_anothers(&self, in_turn: bool) -> bool {
        !in_turn && self.is_waited_for()
    }

    /// A buffer with room for `expected` bytes at least; its capacity is charged. `None` where the budget is spent, or
    /// waited for by others than the caller, who is `in_turn` or not.
    pub(crate) fn take(&self, expected: usize, in_turn: bool) -> Option<Vec<u8>> {
        if self.is_anothers(in_turn) {
            return None;
        }
        let (class, size) = self.step(expected);
        let mut state = self.lock();
        let fits = |used: usize, size: usize| used.checked_add(size).is_some_and(|sum| sum <= self.limit);
        if let Some(buffer) = self.pooled(&mut state, class, size)
            && fits(state.used, buffer.capacity())
        {
            state.used += buffer.capacity();
            return Some(buffer);
        }
        // Near the limit a smaller buffer will do: the batch is then closed early.
        let size = if fits(state.used, size) { size } else { expected };
        if !fits(state.used, size) {
            return None;
        }
        self.evict(&mut state, size);
        state.used += size;
        drop(state);
        let buffer = Vec::with_capacity(size);
        let surplus = buffer.capacity().saturating_sub(size);
        if surplus > 0 {
            self.lock().used += surplus;
        }
        Some(buffer)
    }

    /// An idle buffer of `class`, where that holds `size` bytes.
    fn pooled(&self, state: &mut State, class: usize, size: usize) -> Option<Vec<u8>> {
        if size != self.largest >> class {
            return None;
        }
        let buffer = state.buffers.get_mut(class).and_then(Vec::pop)?;
        state.idle = state.idle.saturating_sub(buffer.capacity());
        Some(buffer)
    }

    /// A buffer for `size` bytes whatever the budget says: what is in one of `capacity` bytes moves into it, and that
    /// one goes back to the pool. What is charged is no more than `capacity`, unless `size` is.
    pub(crate) fn lend(&self, size: usize, capacity: usize) -> Vec<u8> {
        let (class, step) = self.step(size);
        let size = if step <= capacity { step } else { size };
        let mut state = self.lock();
        let buffer = self.pooled(&mut state, class, size).unwrap_or_else(|| {
            self.evict(&mut state, size);
            Vec::with_capacity(size)
        });
        state.used += buffer.capacity();
        buffer
    }

    /// Whether `extra` more bytes leave half of the budget free: only then a batch begins in a buffer above `batch.size`.
    pub(crate) fn is_ample(&self, extra: usize) -> bool {
        self.lock().used.checked_add(extra).is_some_and(|sum| sum <= self.limit / 2)
    }

    /// Frees idle buffers until `wanted` more bytes fit.
    fn evict(&self, state: &mut State, wanted: usize) {
        for class in 0..SIZES {
            while state.used.saturating_add(state.idle).saturating_add(wanted) > self.limit {
                let Some(buffer) = state.buffers.get_mut(class).and_then(Vec::pop) else { break };
                state.idle = state.idle.saturating_sub(buffer.capacity());
            }
        }
    }

    /// Charges `extra` bytes, because a buffer is about to grow. False where the budget is spent, or waited for by
    /// others.
    pub(crate) fn charge(&self, extra: usize, in_turn: bool) -> bool {
        if self.is_anothers(in_turn) {
            return false;
        }
        let mut state = self.lock();
        if state.used.checked_add(extra).is_none_or(|sum| sum > self.limit) {
            return false;
        }
        self.evict(&mut state, extra);
        state.used += extra;
        true
    }

    /// Gives back what was charged, and the buffer where it is still there.
    pub(crate) fn release(&self, charged: usize, buffer: Option<Vec<u8>>) {
        let mut state = self.lock();
        state.used = state.used.saturating_sub(charged);
        if let Some(mut buffer) = buffer {
            let capacity = buffer.capacity();
            let class = (0..SIZES).find(|class| self.largest >> class <= capacity);
            let fits = state.used.saturating_add(state.idle).saturating_add(capacity) <= self.limit;
            // A buffer that a large record needed is not worth keeping.
            if let Some(class) = class.filter(|_| fits && capacity <= self.largest.saturating_mul(2)) {
                buffer.clear();
                state.idle += capacity;
                state.buffers[class].push(buffer);
            }
        }
        drop(state);
        if self.is_waited_for() {
            self.freed.notify_waiters();
        }
    }

    /// Whether somebody waits for memory: then every batch leaves at once, lingering or not.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// How many wait for memory.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Marks the caller as waiting until the guard is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// Bytes charged to batches.
    pub(crate) fn used(&self) -> usize {
        self.lock().used
    }
}

/// Somebody who waits for memory.
pub(crate) struct Waiting<'a>(&'a Memory);

impl Waiting<'_> {
    /// Completes when the caller is the first of those who wait, as it is until what comes back is dropped. Cancel safe.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.turn.lock().await
    }

    /// Completes when memory was freed after this call. Enable it before trying once more.
    pub(crate) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds_idle_buffers_too() {
        let memory = Memory::new(256 * 1024, 128 * 1024, 128 * 1024);
        let first = memory.take(128 * 1024, false).unwrap();
        let second = memory.take(100_000, false).unwrap();
        assert_eq!((first.capacity(), second.capacity()), (128 * 1024, 128 * 1024));
        assert!(memory.take(1, false).is_none() && !memory.charge(1, false));
        let pointer = first.as_ptr();
        memory.release(first.capacity(), Some(first));
        let again = memory.take(128 * 1024, false).unwrap();
        assert_eq!(again.as_ptr(), pointer, "the buffer came from the pool");
        memory.release(again.capacity(), Some(again));
        // A small one does not fit beside the idle one, which is freed.
        let small = memory.take(2000, false).unwrap();
        assert_eq!(small.capacity(), 2048);
        assert!(memory.lock().idle == 0 && memory.used() == 128 * 1024 + 2048);
    }

    #[test]
    fn what_was_compressed_moves_into_a_small_buffer_and_the_large_one_is_free_again() {
        let memory = Memory::new(1 << 20, 128 * 1024, 500_000);
        assert_eq!(memory.largest, 512 * 1024);
        let large = memory.take(400_000, false).unwrap();
        assert_eq!(large.capacity(), 512 * 1024);
        assert!(!memory.is_ample(1) && memory.charge(1, false), "more than half is for those who need it");
        memory.release(1, None);
        let small = memory.lend(100_000, large.capacity());
        assert_eq!((small.capacity(), memory.used()), (128 * 1024, 640 * 1024));
        assert_eq!(memory.lend(100_000, 110_000).capacity(), 100_000, "never more than before");
        memory.release(100_000, None);
        let pointer = large.as_ptr();
        memory.release(large.capacity(), Some(large));
        assert!(memory.is_ample(384 * 1024) && !memory.is_ample(384 * 1024 + 1));
        let again = memory.take(300_000, false).unwrap();
        assert_eq!(again.as_ptr(), pointer);
    }

    #[test]
    fn near_the_limit_a_smaller_buffer_will_do() {
        let memory = Memory::new(100_000, 128 * 1024, 128 * 1024);
        assert!((70_000..100_000).contains(&memory.take(70_000, false).unwrap().capacity()));
        assert!(memory.take(70_000, false).is_none());
    }
}
