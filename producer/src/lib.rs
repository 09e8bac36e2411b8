//! The rkafka producer: batches, retries and idempotence behind one `send`.
//!
//! [`Producer::send`] writes the record straight into the open batch of its partition, and gives a [`Delivery`] that
//! tells where it was written. Whatever decides is a machine that is told the time; the tasks that move bytes are thin.

mod clock;
mod config;
mod coordination;
mod delivery;
mod driver;
mod error;
mod machine;
mod memory;
mod metrics;
mod options;
mod partition;
mod partitioner;
mod producer;
mod record;
mod shared;
mod topic;
mod transaction;
mod transaction_error;

pub use config::{Acks, CompressionType, Idempotence, ProducerConfig};
pub use delivery::{Delivery, DeliveryResult};
pub use error::{ProducerError, TrySendError};
pub use metrics::producer_specs;
pub use options::ProducerOptions;
pub use partitioner::{CustomPartitioner, Partitioner, TopicPartitions, murmur2};
pub use producer::{Producer, TopicHandle};
pub use record::{Headers, Record, RecordMetadata};
pub use transaction::{Transaction, TransactionalProducer};
pub use transaction_error::TransactionError;

pub use rkafka_client_core::serialization;
pub use rkafka_client_core::{
    ClientConfig, ClientOptions, ClientSettings, CommittedOffset, ConfigError, GroupMetadata, TopicPartition,
};
