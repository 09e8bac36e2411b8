//! Schema registry client and Avro serdes.
