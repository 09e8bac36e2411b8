//! Kafka for Rust: the one dependency.
//!
//! Each part stands behind a feature of its own; `producer`, `consumer` and `admin` are on by default.
//!
//! | feature | module | what it is |
//! |---|---|---|
//! | `producer` | [`producer`] | sends records: idempotent, batched, compressed |
//! | `consumer` | [`consumer`] | reads records: in a group, or partitions of its own choice |
//! | `admin` | [`admin`] | topics, settings, groups, offsets, replicas, transactions, users and the cluster |
//! | `schema-registry` | `schema_registry` | a schema registry's client, and Avro |
//! | `broker` | `broker` | a broker to embed in a test or a program |
//! | `json` | [`serialization`] | JSON for keys and values, by serde |
//! | `raw` | `client::Client::request_raw` | any request, by the types of the `kafka-protocol` crate |
//!
//! [`ExactlyOnce`] puts a consumer and a transactional producer together: consume, process, produce. [`DeadLetterTopic`]
//! takes the records that cannot be dealt with.
//!
//! Keys and values are bytes, or typed by the [`serialization`] that both sides share.
//!
//! Beneath lie [`client`] (the cluster as a client sees it), [`protocol`] (messages and record batches) and [`config`]
//! (settings under Kafka's own names).

#[cfg(all(feature = "producer", feature = "consumer"))]
mod dead_letter;
#[cfg(all(feature = "producer", feature = "consumer"))]
mod exactly_once;

#[cfg(all(feature = "producer", feature = "consumer"))]
pub use dead_letter::DeadLetterTopic;
#[cfg(all(feature = "producer", feature = "consumer"))]
pub use exactly_once::{ExactlyOnce, ExactlyOnceError, Processor};

#[cfg(feature = "admin")]
#[doc(inline)]
pub use rkafka_admin as admin;
#[cfg(feature = "broker")]
#[doc(inline)]
pub use rkafka_broker_core as broker;
#[doc(inline)]
pub use rkafka_client_core as client;
#[doc(inline)]
pub use rkafka_client_core::serialization;
#[doc(inline)]
pub use rkafka_config as config;
#[cfg(feature = "consumer")]
#[doc(inline)]
pub use rkafka_consumer as consumer;
#[cfg(feature = "producer")]
#[doc(inline)]
pub use rkafka_producer as producer;
#[doc(inline)]
pub use rkafka_protocol as protocol;
#[cfg(feature = "schema-registry")]
#[doc(inline)]
pub use rkafka_schema_registry_client as schema_registry;

/// What most programs name: `use rkafka::prelude::*;`.
pub mod prelude {
    #[cfg(all(feature = "producer", feature = "consumer"))]
    pub use crate::{ExactlyOnce, ExactlyOnceError, Processor};
    #[cfg(feature = "admin")]
    pub use rkafka_admin::{Admin, AdminConfig, NewTopic};
    pub use rkafka_client_core::{ClientConfig, ClientSettings};
    #[cfg(feature = "consumer")]
    pub use rkafka_consumer::{
        AcknowledgeType, Consumer, ConsumerConfig, OffsetReset, ShareConsumer, ShareConsumerConfig, Start,
        TopicPartition,
    };
    #[cfg(feature = "producer")]
    pub use rkafka_producer::{
        Delivery, Producer, ProducerConfig, ProducerError, Record, Transaction, TransactionalProducer,
    };
}

/// The programs of the README, which are compiled with the tests of this crate's documentation.
#[cfg(all(doctest, feature = "producer", feature = "consumer", feature = "broker"))]
#[doc = include_str!("../../README.md")]
struct Readme;
