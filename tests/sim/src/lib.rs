//! Whole clusters and their clients on one thread, under one seed.
//!
//! A [`run`] is a process of its own with one thread. Each machine in it is a tokio runtime whose clock stands still but
//! for the steps that it is given ([`host`]), brokers keep their files on a disk with faults ([`disk`]), and everybody talks
//! over a network in memory ([`net`]); `chance.c` gives the whole process its random numbers. So a seed says everything
//! that will happen, and the hash of what happened ([`trace`]) is the same each time.

pub mod clients;
pub mod disk;
pub mod history;
pub mod host;
pub mod net;
pub mod node;
pub mod plan;
pub mod process;
pub mod rng;
mod run;
pub mod trace;
pub mod watch;

pub use run::{Outcome, run};
