//! A client for the Confluent schema registry protocol, and Avro serializers that stand on it.
//!
//! - [`Client`] speaks the REST interface to one registry with one or several base URLs, with failover, retries,
//!   time-outs and typed errors ([`RegistryError`], [`ErrorCode`]).
//! - [`wire`] frames a payload with its schema id, as every Confluent serializer does.
//! - [`serde::avro`] turns values into framed Avro and back, looking schemas up once and keeping them.
//!
//! ```no_run
//! use rkafka_schema_registry_client::serde::avro::{AvroSchema, AvroSerializer, AvroSerializerSettings};
//! use rkafka_schema_registry_client::{Client, ClientSettings};
//!
//! # #[derive(::serde::Serialize)] struct Order { id: i64 }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Client::new(ClientSettings::new(["http://localhost:8081"]))?;
//! let schema = AvroSchema::parse(r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}"#)?;
//! let serializer = AvroSerializer::new(registry, AvroSerializerSettings::default());
//! let payload: Vec<u8> = serializer.serialize("orders", &schema, &Order { id: 7 }).await?;
//! # Ok(()) }
//! ```

mod base_url;
mod cache;
mod client;
mod error;
mod http;
mod model;
pub mod serde;
mod settings;
pub mod wire;

pub use client::Client;
pub use error::{ErrorCode, RegistryError};
pub use model::{
    Compatibility, CompatibilityLevel, DeleteMode, Metadata, Reference, RegisteredSchema, RuleSet, SchemaDefinition,
    SchemaId, SchemaType, SubjectConfig, Version,
};
pub use settings::{BasicAuth, ClientSettings};
