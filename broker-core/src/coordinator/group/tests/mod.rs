//! The machine over virtual time: a world with one shard, its log, and clients who behave or do not.

mod consumer_property;
mod consumers;
mod course;
mod expiry;
mod migration;
mod offsets;
mod property;
mod shares;
mod statics;
mod transactions;
mod world;
