//! Foreign clients against rkafka's broker, rkafka's clients against Apache Kafka, and both on the same topics.
//!
//! Needs Java and Maven (Kafka's own tools), kcat (librdkafka), Python 3 with pip (confluent-kafka), and Go (franz-go).
//! Where one is missing, each test that needs it says `SKIPPED` with its name and the reason on stderr.

mod admin_tools;
mod assignors;
mod connect;
mod consumer_protocol;
mod dump_log;
mod groups;
mod http;
mod kgo;
mod kills;
mod metadata_quorum;
mod metrics;
mod mirror_maker;
mod mixed_groups;
mod process;
mod python;
mod read_by_others;
mod shares;
mod strangers;
mod streams;
mod support;
mod transaction_errors;
mod transactions;
mod written_by_others;
