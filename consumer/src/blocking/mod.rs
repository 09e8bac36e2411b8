//! Consumers for threads: no call needs a runtime, and each may be made inside of one (where it blocks that thread).

mod consumer;
mod share;
mod thread;

pub use consumer::{Consumer, Records};
pub use share::ShareConsumer;
pub use thread::Waker;
