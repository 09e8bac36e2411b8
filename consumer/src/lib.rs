//! The rkafka consumer.

mod batch;
mod config;
mod error;
mod machine;
mod record;
mod subscription;
mod unpack;

pub use batch::{Batch, Records};
pub use config::{IsolationLevel, OffsetReset};
pub use error::PartitionError;
pub use record::ConsumerRecord;
pub use subscription::{CommittedOffset, OffsetAndTimestamp, Start, TopicPartition};
