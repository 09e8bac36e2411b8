//! The one place where the broker learns the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::config::milliseconds;

/// The broker's clock: milliseconds since the epoch for records, and moments for waiting.
///
/// Moments are always tokio's, so that a paused runtime moves them. The date is the system's, unless the clock was made
/// by [`Clock::simulated`]: then it moves with tokio's clock too.
#[derive(Debug, Clone)]
pub struct Clock {
    /// What the date was at a moment; clones share it.
    simulated_from: Option<(Arc<AtomicI64>, Instant)>,
}

impl Clock {
    /// The system's date.
    pub fn system() -> Self {
        Self { simulated_from: None }
    }

    /// A date that begins at `start_ms` since the epoch and moves with tokio's clock, so that a simulation under
    /// `tokio::time::pause` is the same in each run. To be called inside a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "this is the driver that tells the machines the time")]
    pub fn simulated(start_ms: i64) -> Self {
        Self { simulated_from: Some((Arc::new(AtomicI64::new(start_ms)), Instant::now())) }
    }

    /// Sets a simulated date forward, or back, as somebody who sets a computer's clock does: for this clock and its clones.
    /// Moments for waiting go on as before. The system's date stays as it is.
    pub fn jump(&self, by_ms: i64) {
        if let Some((start_ms, _)) = &self.simulated_from {
            start_ms.fetch_add(by_ms, Ordering::Relaxed);
        }
    }

    /// The date in milliseconds since the epoch.
    #[expect(clippy::disallowed_methods, reason = "this is the driver that tells the machines the time")]
    pub fn now_ms(&self) -> i64 {
        match &self.simulated_from {
            Some((start_ms, from)) => start_ms.load(Ordering::Relaxed).saturating_add(milliseconds(from.elapsed())),
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, milliseconds),
        }
    }

    /// The present moment on tokio's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the driver that tells the machines the time")]
    pub fn now(&self) -> Instant {
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_date_moves_with_tokio() {
        let clock = Clock::simulated(1_000);
        assert_eq!(clock.now_ms(), 1_000);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(clock.now_ms(), 1_250);
        clock.clone().jump(-300);
        assert_eq!(clock.now_ms(), 950);
    }
}
