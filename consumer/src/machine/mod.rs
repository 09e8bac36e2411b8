//! What decides: no I/O, no clock, no randomness. Events go in with `now`, actions come out, `deadline()` says when to
//! ask again. The drivers next door move the bytes.

pub(crate) mod fetch_session;
pub(crate) mod inbox;
pub(crate) mod lanes;
pub(crate) mod marks;
pub(crate) mod membership;
pub(crate) mod positions;
pub(crate) mod progress;
