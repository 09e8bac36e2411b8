//! Kafka for Rust: producer, consumer, admin, schemas and an embedded broker.
