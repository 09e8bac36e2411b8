//! Fetch sessions (KIP-227): a client names all of its partitions once, and then only those that it asks something new
//! of, and is answered only those that have something new.
//!
//! [`Session`] and [`Cache`] are machines: what they know of partitions and of the time they are told. The driver is the
//! handler of the Fetch request.

mod cache;
mod reader;
mod session;
#[cfg(test)]
mod tests;

use cache::Cache;
pub(crate) use reader::{FetchSessions, Pass, SharedSession, Turn, Wants, locked};
use session::{Answered, Asked, Entry, Session};
pub(crate) use session::{Topic, TopicKey};

/// The id that stands for no session.
pub(crate) const NO_SESSION: i32 = 0;
/// The epoch of a request that names all partitions and wants a session.
pub(crate) const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that names all partitions and wants no session, or that ends one.
pub(crate) const FINAL_EPOCH: i32 = -1;

/// The epoch that follows another in a session. Epochs wrap around to 1, because 0 would begin a new session.
pub(crate) fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        ..0 => FINAL_EPOCH,
        i32::MAX => 1,
        epoch => epoch + 1,
    }
}
