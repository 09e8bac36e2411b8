//! The clocks of the hot path.

#![expect(clippy::disallowed_methods, reason = "this is where the producer's drivers read the time for its machines")]

use std::time::Instant;

/// Milliseconds since 1970, as records are stamped.
///
/// On Linux the kernel's coarse clock: about 4 ns instead of 17, behind by up to one tick of the kernel (1 to 10 ms,
/// mostly 4), which is the unit of the timestamps within a few.
#[cfg(target_os = "linux")]
pub(crate) fn timestamp_ms() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

/// Milliseconds since 1970, as records are stamped.
#[cfg(not(target_os = "linux"))]
pub(crate) fn timestamp_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The monotonic clock: that of the runtime, which tests can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago `instant` was.
pub(crate) fn since(instant: Instant) -> std::time::Duration {
    now().saturating_duration_since(instant)
}

/// Waits.
pub(crate) async fn sleep(duration: std::time::Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits where there is something to wait for, else for ever.
pub(crate) async fn sleep_if(duration: Option<std::time::Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Waits until `instant`; without one, for ever.
pub(crate) async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
