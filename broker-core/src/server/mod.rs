//! Frames in and out: listeners, connections, and what has to be done from time to time. Drivers, all of it.

mod address;
mod cleaner;
mod connection;
mod limits;
mod listener;
mod maintenance;
mod recovery;

pub(crate) use address::{Advertised, Endpoint, ListenerAddress, advertised, listener_addresses};
pub(crate) use cleaner::clean_logs;
pub(crate) use connection::{Connection, serve};
pub(crate) use limits::{Limits, connections_max};
pub(crate) use listener::accept_all;
pub(crate) use maintenance::maintain;
pub(crate) use recovery::recover_in_background;

/// Why a listener address is of no use.
pub use address::ListenerError;
