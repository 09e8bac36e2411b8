//! The one place that reads the clock, waits and spawns for this crate's drivers.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{Error, ErrorKind, Result};

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

/// Runs `task` on `home` and waits for it here, so that a socket that it opens and what it spawns outlive the runtime that
/// asked. Given up with this future.
///
/// # Errors
/// The task's own; or `home` has been shut down.
pub(crate) async fn run_on<T: Send + 'static>(
    home: &Handle,
    task: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut tasks = JoinSet::new();
    tasks.spawn_on(task, home);
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        _ => Err(Error::new(ErrorKind::Closed, "the runtime on which the client was made has been shut down")),
    }
}
