//! Waiting for conditions, with limits that a busy machine does not reach.

use std::time::{Duration, Instant};

/// How long a test waits for something that must happen before it says that it does not.
const LIMIT: Duration = Duration::from_secs(120);

/// Asks until the answer is `Ok`, which is given back.
///
/// # Panics
/// Two minutes pass; the panic says `what` was waited for and the last `Err`.
#[expect(clippy::disallowed_methods, reason = "a test waits for what happens elsewhere")]
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(why) if begun.elapsed() > LIMIT => panic!("{what}: not within {LIMIT:?}; last: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Gives others a moment; never what a test's outcome hangs on.
#[expect(clippy::disallowed_methods, reason = "a test gives others a moment")]
pub async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
