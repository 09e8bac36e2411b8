//! Clients against a broker on loopback: the embedded one, and, where one body serves for both, Apache Kafka.

mod admin;
mod consumer_metrics;
mod edges;
mod exactly_once;
mod failures;
mod files;
mod followers;
mod groups;
mod interceptors;
mod memberships;
mod parallel;
mod producer_metrics;
mod restarts;
mod round_trip;
mod seek;
mod shares;
mod support;
mod transactions;
mod typed;
mod ways_to_send;
