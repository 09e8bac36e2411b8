//! Work that waits for the disk.

use tokio::task::JoinError;

use crate::storage::Storage;

/// Runs what may wait long for the disk: on a thread that is there for such work, or at once where the storage is
/// simulated, whose disk never waits.
///
/// Not cancel safe: work that was begun is done.
///
/// # Errors
/// The work panicked.
pub(crate) async fn run<R: Send + 'static>(
    storage: &dyn Storage,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, JoinError> {
    if storage.is_simulated() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
