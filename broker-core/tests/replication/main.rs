//! Replication on three brokers in one process: what is acknowledged stays, whoever goes and however it comes back.

#[path = "../common/mod.rs"]
mod common;
mod elections;
mod hints;
mod in_sync;
mod moving;
mod returning;
mod support;
mod trimming;
