//! The cluster as a client sees it: bootstrap, metadata, routing, coordinators, retries, settings and errors.
//!
//! * [`Client`] knows the cluster and sends requests to where they belong, over connections that it shares.
//! * [`Link`] is one connection that one task owns: what producers and consumers send their records over. Nothing stands
//!   between the task and its socket, no lock, no channel and no other task.
//! * [`metrics`] is what clients measure of themselves.
//! * [`serialization`] turns values into the bytes of keys and values, and back.
//! * [`retry()`] repeats what may succeed later, with Kafka's backoff.

mod backoff;
mod client;
mod clock;
mod cluster;
mod config;
mod connection;
mod coordinator;
mod error;
mod group;
mod link;
mod metadata;
pub mod metrics;
mod pool;
#[cfg(feature = "raw")]
mod raw;
mod retry;
pub mod serialization;
mod versions;

pub use backoff::Backoff;
pub use client::{Client, ClientOptions, RequestOptions, Target};
pub use cluster::{Broker, Cluster, Partition, Topic};
pub use config::{ClientConfig, ClientSettings, MetadataRecovery, SecurityProtocol};
pub use connection::Connection;
pub use coordinator::CoordinatorKind;
pub use error::{Error, ErrorKind, Result};
pub use group::{CommittedOffset, GroupMetadata, TopicPartition};
pub use link::{Endpoint, Link, Response, Shared};
pub use metadata::Topics;
pub use pool::Lane;
pub use retry::{RetryPolicy, retry};
pub use versions::BrokerVersions;

pub use rkafka_config::ConfigError;
pub use rkafka_net::{Dial, DialOptions, HostPort, TcpDial};
pub use rkafka_protocol::ErrorCode;
