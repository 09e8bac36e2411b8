//! Kafka frames over a stream, for clients and brokers.
