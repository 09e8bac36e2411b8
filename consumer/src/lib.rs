//! The rkafka consumer.
