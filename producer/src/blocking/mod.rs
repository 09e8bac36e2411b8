//! Producers for programs without an async runtime: the same as the others, with calls that block the thread.
//!
//! Each producer has one thread of its own, on which everything runs that the async producers run on tokio. The calls block
//! the thread that makes them until they are done, and may be made from any thread, within a runtime too; there they hold
//! up whatever else the thread would run, and the async [`Producer`](crate::Producer) is the better one.
//!
//! A callback runs on the producer's own thread. It may send, but nothing may wait there, for nobody would end the wait:
//! such a call fails with [`ProducerError::InCallback`].
//!
//! ```no_run
//! use rkafka_producer::{ClientSettings, ProducerConfig, Record, blocking};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let producer = blocking::Producer::new(ProducerConfig::new().bootstrap_servers("localhost:9092"))?;
//! let written = producer.send(Record::to("orders").key("customer-7").value("3 apples"))?.blocking_wait()?;
//! println!("written to partition {} at offset {}", written.partition, written.offset);
//! # Ok(())
//! # }
//! ```

mod producer;
mod thread;
mod transaction;
mod typed;

pub use producer::Producer;
pub use transaction::{Transaction, TransactionalProducer};
pub use typed::{TypedProducer, TypedTransaction};

pub(crate) use thread::{block_on, may_wait};

use crate::ProducerError;

/// What waits would wait for ever.
pub(crate) const IN_CALLBACK: ProducerError = ProducerError::InCallback;
