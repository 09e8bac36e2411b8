//! The rkafka command line.
fn main() {}
