//! The rkafka consumer: reads records, alone or as a member of a group.
//!
//! ```no_run
//! use rkafka_client_core::ClientSettings;
//! use rkafka_consumer::{Consumer, ConsumerConfig, OffsetReset};
//!
//! # async fn read() -> Result<(), rkafka_consumer::ConsumerError> {
//! let config = ConsumerConfig::new()
//!     .bootstrap_servers("localhost:9092")
//!     .group_id("orders")
//!     .auto_offset_reset(OffsetReset::Earliest);
//! let mut consumer = Consumer::connect(config).await?;
//! consumer.subscribe(["orders"])?;
//! for _ in 0..10 {
//!     let record = consumer.recv().await?;
//!     println!("{}-{}@{}: {:?}", record.topic(), record.partition(), record.offset(), record.value());
//! }
//! consumer.close().await
//! # }
//! ```
//!
//! Machines decide (`machine/`): positions, inbox, membership, over a time that they are told. Drivers move bytes and
//! wait (`driver/`): one fetcher per broker, the steward, the committer, the member.

mod batch;
pub mod blocking;
mod clock;
mod config;
mod consumer;
mod driver;
mod error;
mod faces;
mod framing;
mod handle;
mod interceptor;
mod listener;
mod machine;
mod metrics;
mod options;
mod parallel;
mod pattern;
mod record;
mod retry;
mod share;
mod shared;
mod strategy;
mod subscription;
mod tasks;
mod typed;
mod unpack;
mod waiting;
mod wire;

pub use batch::{Batch, Records};
pub use config::{ConsumerConfig, GroupProtocol, IsolationLevel, OffsetReset};
pub use consumer::Consumer;
pub use error::{ConsumerError, PartitionError, Result};
pub use faces::Batches;
pub use handle::ConsumerHandle;
pub use interceptor::ConsumerInterceptor;
pub use listener::{HookFuture, RebalanceListener};
pub use metrics::all_specs as metric_specs;
pub use options::ConsumerOptions;
pub use parallel::{
    Failure, Order, ParallelConsumer, ParallelError, ParallelOptions, RecordHandler, TypedFailure, TypedHandler,
};
pub use record::ConsumerRecord;
pub use retry::{Burial, Cause, CauseKind, DeadLetterError, DeadLetters, LastResort, Retries};
pub use share::all_specs as share_metric_specs;
pub use share::{
    AcknowledgeError, AcknowledgeType, AcknowledgementMode, AcknowledgementResult, AcquireMode, DeliveredRecord,
    ShareBatch, ShareConsumer, ShareConsumerConfig, ShareConsumerError, ShareConsumerHandle, ShareDeserializationError,
    ShareRecord, ShareRecords, ShareResult, TypedShareConsumer, TypedShareError, TypedShareRecord,
};
pub use subscription::{CommittedOffset, GroupMembershipOperation, OffsetAndTimestamp, Start, TopicPartition};
pub use typed::{DeserializationError, Deserialize, TypedConsumer, TypedError, TypedRecord};

pub use rkafka_assignor as assignor;
pub use rkafka_client_core::serialization;
pub use rkafka_client_core::{ClientConfig, ClientOptions, ClientSettings, ConfigError, GroupMetadata};
