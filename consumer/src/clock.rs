//! The one place that reads the clock, waits and spawns for this crate's drivers.

use std::future::Future;
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "the clock of this crate's drivers")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of this machine's clock, in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "records are asked for by how long ago they were written (KIP-1106)")]
pub(crate) fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Waits until `deadline`, or for ever.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for `duration`.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep_until(tokio::time::Instant::from_std(now()) + duration).await;
}

#[expect(clippy::disallowed_methods, reason = "a consumer's tasks run beside the application")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
}

/// Waits for `duration`, or for ever.
pub(crate) async fn sleep_for(duration: Option<Duration>) {
    match duration.and_then(|duration| now().checked_add(duration)) {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The runtime that this is called in.
pub(crate) fn runtime() -> tokio::runtime::Handle {
    tokio::runtime::Handle::current()
}

/// A task that ends with whoever waits for it.
pub(crate) struct Errand<T>(tokio::task::JoinHandle<T>);

impl<T: Send + 'static> Errand<T> {
    /// Runs a task on a runtime.
    pub(crate) fn begin(runtime: &tokio::runtime::Handle, task: impl Future<Output = T> + Send + 'static) -> Self {
        Self(spawn_on(runtime, task))
    }

    /// What came of it; `None` where the runtime is gone. Cancel safe: the task ends then.
    pub(crate) async fn end(mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }
}

impl<T> Drop for Errand<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a task on a runtime, wherever this is called: a consumer may be with a thread that has none. Where the runtime is
/// gone, so is the task.
pub(crate) fn spawn_on<T: Send + 'static>(
    runtime: &tokio::runtime::Handle,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    runtime.spawn(task)
}
