//! The buffer that keys and values are serialized into before they are copied into the batch.

use std::cell::Cell;

/// A buffer that one large record has blown up is not kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's buffer, empty. A call within a call (a serializer that sends) gets another one.
pub(super) fn with<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let result = work(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES_MAX {
        // A thread that ends has no buffer any more.
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_used_again_and_calls_may_nest() {
        let first = with(|outer| {
            outer.extend([1; 100]);
            with(|inner| {
                assert!(inner.is_empty());
                inner.push(2);
            });
            assert_eq!(outer.len(), 100);
            outer.as_ptr()
        });
        with(|again| assert!(again.is_empty() && again.as_ptr() == first && again.capacity() >= 100));
        with(|large| large.resize(KEPT_BYTES_MAX + 1, 0));
        with(|other| assert_eq!(other.capacity(), 0));
    }
}
