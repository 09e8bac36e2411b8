//! The rkafka producer.
