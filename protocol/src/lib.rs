//! Kafka's wire protocol for rkafka: messages, record batches, compression.
