//! The rkafka producer: batches, retries and idempotence behind one `send`.
//!
//! [`Producer::send`] writes the record straight into the open batch of its partition, and gives a [`Delivery`] that
//! tells where it was written. Whatever decides is a machine that is told the time; the tasks that move bytes are thin.

pub mod blocking;
mod clock;
mod config;
mod coordination;
mod delivery;
mod driver;
mod error;
mod interceptor;
mod machine;
mod memory;
mod metrics;
mod options;
mod owned_record;
mod partition;
mod partitioner;
mod producer;
mod record;
mod send_many;
mod shared;
mod sink;
mod topic;
mod transaction;
mod transaction_error;
mod typed;

pub use config::{Acks, CompressionType, Idempotence, ProducerConfig};
pub use delivery::{Delivery, DeliveryResult};
pub use error::{ProducerError, TrySendError};
pub use interceptor::{Acknowledgement, InterceptedRecord, Interceptors, ProducerInterceptor};
pub use metrics::producer_specs;
pub use options::ProducerOptions;
pub use owned_record::OwnedRecord;
pub use partitioner::{CustomPartitioner, Partitioner, TopicPartitions, murmur2};
pub use producer::{Producer, TopicHandle};
pub use record::{Headers, Record, RecordMetadata};
pub use sink::ProducerSink;
pub use transaction::{Transaction, TransactionTopic, TransactionalProducer};
pub use transaction_error::TransactionError;
pub use typed::{Serializers, TypedProducer, TypedRecord, TypedTransaction};

pub use rkafka_client_core::serialization;
pub use rkafka_client_core::{
    ClientConfig, ClientOptions, ClientSettings, CommittedOffset, ConfigError, GroupMetadata, TopicPartition,
};
