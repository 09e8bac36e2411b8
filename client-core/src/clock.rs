//! The one place that reads the clock, waits and spawns for this crate's drivers.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the clock of this crate's drivers")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// `instant + duration`, or the far future where that cannot be said.
pub(crate) fn later(instant: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    instant.checked_add(duration.min(FAR)).unwrap_or(instant)
}

#[expect(clippy::disallowed_methods, reason = "drivers of connections and of metadata run beside the application")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
