//! `kill -9` at random moments, under load: what was acknowledged is there once, no committed offset is lost, and every
//! transaction is there as it ended, whole or not at all.
//!
//! `RKAFKA_KILLS` says how often (a few by default), `RKAFKA_KILLS_SEED` repeats the moments of an earlier run. What a
//! loss of power takes is tested with a simulated disk, in the broker's own tests.

#[path = "../common/mod.rs"]
mod common;

mod broker;
mod records;
mod transactions;
