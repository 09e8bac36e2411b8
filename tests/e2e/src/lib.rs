//! Clients against the embedded broker, and the same tests against real Kafka.
