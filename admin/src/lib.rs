//! The rkafka admin client.
