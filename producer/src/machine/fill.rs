//! How full a batch may become: by what it will be on the wire, where it is compressed.
//!
//! Records are written into a batch as they are and compressed when it is sealed. So that about `batch.size` bytes go
//! on the wire, a batch takes more than that before compression, by what the last batches of the topic were compressed
//! to. A guess that was wrong does no harm: no batch takes more than `max.request.size` before compression for it, which
//! is what one record may take, so that it is never above a limit that holds for records of that size.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rkafka_protocol::records::BATCH_OVERHEAD;

/// What a guess is multiplied with, as in Java: batches differ, and one that comes out a little smaller does no harm.
const CAUTION: f32 = 1.05;

/// How much of the way to a better ratio one batch brings the guess. A worse one is believed at once.
const IMPROVING: f32 = 0.125;

/// No batch takes more than this before compression for being compressed well: consumers unpack it as a whole
/// (`max.decompressed.batch.bytes`), and compressing it holds up the task that sends.
const GROWN_MAX: usize = 16 * 1024 * 1024;

/// What the batches of a topic are compressed to, by what the last ones were.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RatioEstimate {
    /// Compressed bytes by bytes; 1 until a batch was compressed.
    ratio: f32,
}

impl RatioEstimate {
    pub(crate) fn new() -> Self {
        Self { ratio: 1.0 }
    }

    /// A batch was compressed to `observed` of its size.
    pub(crate) fn observe(&mut self, observed: f32) {
        if observed >= self.ratio {
            self.ratio = observed;
        } else {
            self.ratio += (observed - self.ratio) * IMPROVING;
        }
    }

    /// A broker found a batch too large that was compressed to `observed` of its size: the guess begins anew.
    pub(crate) fn on_too_large(&mut self, observed: f32) {
        self.ratio = observed.max(1.0);
    }

    /// What `size` bytes of a batch, header included, will be on the wire.
    pub(crate) fn compressed(&self, size: usize) -> usize {
        let records = size.saturating_sub(BATCH_OVERHEAD) as f32 * self.ratio * CAUTION;
        (BATCH_OVERHEAD + records as usize).min(size)
    }

    /// How many bytes become `size` on the wire.
    fn uncompressed(&self, size: usize) -> usize {
        let records = size.saturating_sub(BATCH_OVERHEAD) as f32 / (self.ratio * CAUTION).max(f32::MIN_POSITIVE);
        BATCH_OVERHEAD.saturating_add(records as usize)
    }
}

/// The estimate of one topic, and what follows from it: read by each record, written by each batch.
#[derive(Debug)]
pub(crate) struct Fill {
    batch_size: usize,
    most: usize,
    estimate: Mutex<RatioEstimate>,
    /// How many bytes a batch may take now, before compression.
    target: AtomicUsize,
}

impl Fill {
    /// `batch_size` is `batch.size`, `request_size_max` `max.request.size`.
    pub(crate) fn new(batch_size: usize, request_size_max: usize) -> Self {
        let most = Self::most(batch_size, request_size_max);
        let (estimate, target) = (Mutex::new(RatioEstimate::new()), AtomicUsize::new(batch_size));
        Self { batch_size, most, estimate, target }
    }

    /// How many bytes a batch may ever take before compression, where it is more than one record.
    pub(crate) fn most(batch_size: usize, request_size_max: usize) -> usize {
        batch_size.max(request_size_max.min(GROWN_MAX))
    }

    fn lock(&self) -> MutexGuard<'_, RatioEstimate> {
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes a batch may take now, before compression: `batch.size` at least.
    pub(crate) fn target(&self) -> usize {
        self.target.load(Ordering::Relaxed)
    }

    /// What a batch of `size` bytes will be on the wire.
    pub(crate) fn compressed(&self, size: usize) -> usize {
        if self.target() == self.batch_size { size } else { self.lock().compressed(size) }
    }

    fn change(&self, change: impl FnOnce(&mut RatioEstimate)) {
        let mut estimate = self.lock();
        change(&mut estimate);
        // Under the lock, so that the target is that of the last change.
        let target = estimate.uncompressed(self.batch_size).clamp(self.batch_size, self.most);
        self.target.store(target, Ordering::Relaxed);
    }

    /// A batch was compressed to `observed` of its size.
    pub(crate) fn observe(&self, observed: f32) {
        self.change(|estimate| estimate.observe(observed));
    }

    /// A broker found a batch too large that was compressed to `observed` of its size.
    pub(crate) fn on_too_large(&self, observed: f32) {
        self.change(|estimate| estimate.on_too_large(observed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn batches_come_near_the_size_on_the_wire_soon_and_shrink_at_once() {
        let fill = Fill::new(100_000, 1_000_000);
        assert_eq!((fill.target(), fill.compressed(5000)), (100_000, 5000));
        for _ in 0..20 {
            fill.observe(0.25);
        }
        let wire = fill.target() / 4;
        assert!((75_000..=96_000).contains(&wire), "{wire}");
        assert!((90_000..=100_000).contains(&fill.compressed(fill.target())));
        fill.observe(0.5);
        let wire = fill.target() / 2;
        assert!((94_000..=96_000).contains(&wire), "{wire}");
        fill.on_too_large(0.3);
        assert_eq!(fill.target(), 100_000);
        // What grows by compression is no batch below `batch.size`.
        fill.observe(1.3);
        assert_eq!(fill.target(), 100_000);
    }

    #[test]
    fn no_guess_goes_beyond_what_a_record_may_take() {
        let fill = Fill::new(100_000, 300_000);
        for _ in 0..1000 {
            fill.observe(0.0);
        }
        assert_eq!(fill.target(), 300_000);
        assert_eq!(Fill::new(100_000, 2_000_000_000).most, GROWN_MAX);
        assert_eq!(Fill::new(20_000_000, 1_000_000).most, 20_000_000, "`batch.size` itself is the user's");
        assert_eq!(Fill::new(0, 1000).target(), 0);
    }

    proptest! {
        #[test]
        fn the_target_stays_within_its_bounds(
            batch_size in 0usize..1 << 31,
            request in 0usize..1 << 31,
            ratios in proptest::collection::vec((any::<bool>(), 0f32..2.0), 0..100),
        ) {
            let fill = Fill::new(batch_size, request);
            for (too_large, ratio) in ratios {
                if too_large { fill.on_too_large(ratio) } else { fill.observe(ratio) }
                prop_assert!((batch_size..=Fill::most(batch_size, request)).contains(&fill.target()));
                prop_assert!(fill.compressed(fill.target()) <= fill.target());
            }
        }
    }
}
