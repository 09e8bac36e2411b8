//! The whole producer against brokers that do as they are told, on a clock that does not wait: what each setting does,
//! and what comes of everything that can go wrong on the way.

mod basics;
mod broker;
mod interceptors;
mod memory;
mod metrics;
mod model;
mod net;
mod partitioning;
mod random;
mod requests;
mod settings;
mod settings_of_connections;
mod settings_of_time;
mod transactions;
mod trouble;
mod trouble_at_each_byte;
