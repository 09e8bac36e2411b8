//! The admin client of rkafka: one method per operation, with a result per item.
//!
//! ```no_run
//! use rkafka_admin::{Admin, AdminConfig, ClientSettings, NewTopic};
//!
//! # async fn run() -> Result<(), rkafka_admin::Error> {
//! let admin = Admin::connect(AdminConfig::new().bootstrap_servers("localhost:9092")).await?;
//! let topic = NewTopic::new("orders").partitions(6).config("retention.ms", "86400000");
//! for (name, outcome) in admin.create_topics([topic]).validate_only(true).await? {
//!     let created = outcome?;
//!     println!("{name}: {:?} partitions", created.partitions);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Methods have the names of Java's `Admin`. [`Admin`] says what holds for all of them.

mod admin;
mod codes;
mod config;
mod driver;
mod group_job;
mod operation;
mod ops;
mod single;

pub use admin::Admin;
pub use config::AdminConfig;
pub use ops::*;
pub use rkafka_client_core::{
    ClientConfig, ClientSettings, CommittedOffset, ConfigError, Error, ErrorCode, ErrorKind, Result, TopicPartition,
};

/// The id of a topic (KIP-516).
pub type TopicId = uuid::Uuid;
