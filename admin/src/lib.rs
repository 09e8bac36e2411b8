//! The admin client of rkafka: one method per operation, with a result per item.
//!
//! ```no_run
//! use rkafka_admin::{Admin, AdminConfig, ClientSettings, CreateTopicsOptions, NewTopic};
//!
//! # async fn run() -> Result<(), rkafka_admin::Error> {
//! let admin = Admin::connect(AdminConfig::new().bootstrap_servers("localhost:9092")).await?;
//! let topic = NewTopic::new("orders").partitions(6).config("retention.ms", "86400000");
//! for (name, outcome) in admin.create_topics(&[topic], CreateTopicsOptions::default()).await? {
//!     let created = outcome?;
//!     println!("{name}: {:?} partitions", created.partitions);
//! }
//! # Ok(())
//! # }
//! ```

mod admin;
mod config;
mod ops;

pub use admin::Admin;
pub use config::AdminConfig;
pub use ops::{
    BrokerDescription, ClusterDescription, ConfigEntry, ConfigSource, CreateTopicsOptions, CreatedTopic, NewTopic,
    PartitionDescription, PerItem, TopicDescription, TopicListing,
};
pub use rkafka_client_core::{ClientConfig, ClientSettings, ConfigError, Error, ErrorCode, ErrorKind, Result};

/// The id of a topic (KIP-516).
pub type TopicId = uuid::Uuid;
