//! The machine under requests, timeouts, failing appends and restarts.

mod course;
mod property;
mod world;
