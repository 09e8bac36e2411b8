//! Calls that wait for records, and may be dropped while they do.

use std::task::{Context, Poll};

/// Who can be waited for, and is told when nobody does any more.
pub(crate) trait Waits {
    /// The call came to its end, or was dropped.
    fn stop_waiting(&mut self);
}

/// A call: however it ends, nobody waits any longer.
struct Call<'a, C: Waits>(&'a mut C);

impl<C: Waits> Drop for Call<'_, C> {
    fn drop(&mut self) {
        self.0.stop_waiting();
    }
}

/// Waits for what `poll` gives.
pub(crate) async fn waiting<C: Waits, T>(
    consumer: &mut C,
    mut poll: impl FnMut(&mut C, &mut Context<'_>) -> Poll<T>,
) -> T {
    let call = Call(consumer);
    std::future::poll_fn(|context| poll(&mut *call.0, context)).await
}
