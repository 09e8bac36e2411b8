//! Attempts until one succeeds.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Backoff, ClientConfig, Error, ErrorKind, Result, clock};

/// How often and how long something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How long to wait between two attempts.
    pub backoff: Backoff,
    /// How long all attempts together may take.
    pub limit: Duration,
}

impl RetryPolicy {
    /// Attempts with `backoff` between them, for as long as `limit`.
    pub const fn new(backoff: Backoff, limit: Duration) -> Self {
        Self { backoff, limit }
    }
}

impl From<&ClientConfig> for RetryPolicy {
    /// `retry.backoff.ms`, `retry.backoff.max.ms` and `default.api.timeout.ms`.
    fn from(config: &ClientConfig) -> Self {
        Self::new(config.retry_policy(), config.default_api_timeout)
    }
}

/// Calls `operation` with the number of attempts that have failed, until it succeeds, fails with an error that is not
/// [retriable](Error::is_retriable), or the time is over. Cancel safe as far as `operation` is.
///
/// # Errors
/// The error that cannot be retried, as it is. When the time is over, [`ErrorKind::Timeout`] with the last error as its
/// source, and [`Error::maybe_written`] where that was so of any attempt.
pub async fn retry<T, F, O>(policy: RetryPolicy, mut operation: F) -> Result<T>
where
    F: FnMut(u32) -> O,
    O: Future<Output = Result<T>>,
{
    let deadline = clock::later(clock::now(), policy.limit);
    let mut maybe_written = false;
    let mut last: Option<Error> = None;
    for failures in 0.. {
        match tokio::time::timeout_at(deadline, operation(failures)).await {
            Ok(Err(error)) if error.is_retriable() => {
                maybe_written |= error.maybe_written();
                tracing::debug!(%error, failures, "attempt failed, another one follows");
                last = Some(error);
            }
            Ok(result) => return result,
            Err(_) => return Err(gave_up(policy.limit, failures, last, true)),
        }
        let delay = policy.backoff.delay(failures, &mut rand::rng());
        let next: Instant = clock::later(clock::now(), delay);
        if next >= deadline {
            return Err(gave_up(policy.limit, failures + 1, last, maybe_written));
        }
        tokio::time::sleep_until(next).await;
    }
    Err(gave_up(policy.limit, u32::MAX, last, maybe_written))
}

fn gave_up(limit: Duration, attempts: u32, last: Option<Error>, maybe_written: bool) -> Error {
    let times = if attempts == 1 { "attempt" } else { "attempts" };
    let message = format!("no success within {limit:?} ({attempts} failed {times})");
    let error = Error::new(ErrorKind::Timeout, message).with_maybe_written(maybe_written);
    match last {
        Some(last) => error.with_source(last),
        None => error,
    }
}
