//! The client and the Avro serdes against a small registry on a loopback port.

mod avro;
mod client;
mod registry;
