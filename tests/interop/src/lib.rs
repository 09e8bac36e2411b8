//! Foreign clients and a real Kafka as the oracle.
