//! The tools of the test rings: brokers to test against, and what tests wait and compare with.
//!
//! A test panics where something is wrong, and so do these tools: each panic says what was expected and what came.
//!
//! * [`TestCluster`] is an embedded broker that can be stopped, crashed and started again.
//! * [`RealKafka`] is Apache Kafka from its published jars; [`kafka_tool`] runs its tools.
//! * [`BrokerProcesses`] are brokers of either kind, each a process that can be killed, held and started again.
//! * [`Cluster`] is either of them, so that one test body runs on both.
//! * [`RawClient`] and [`RawProducer`] send bare messages, for tests that look at every error.
//! * [`Child`] is a process that never outlives the test.

mod child;
mod cluster;
mod lines;
mod processes;
mod raw;
mod real_kafka;
mod test_cluster;
mod topics;
mod transactions;
mod wait;

pub use child::Child;
pub use cluster::Cluster;
pub use lines::log_lines;
pub use processes::{BrokerProcesses, Host, Program};
pub use raw::{Committed, RawClient, RawError};
pub use real_kafka::{KAFKA_VERSION, RealKafka, kafka_jars, kafka_program, kafka_tool, kafka_tool_command, skipped};
pub use test_cluster::{TestCluster, TestClusterBuilder};
pub use topics::create_topic;
pub use transactions::{RawProducer, TransactionProtocol};
pub use wait::{eventually, pause};

// The types of the broker's settings, for tests that change them.
pub use rkafka_broker_core::BrokerConfig;
