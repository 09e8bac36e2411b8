//! Coordinators on a cluster of three brokers, one of which is killed and comes back again and again: groups,
//! transactions and share groups of our own clients go on, and nothing that was acknowledged is lost.

mod groups;
mod transactions;
mod trio;
