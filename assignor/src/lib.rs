//! Who gets which partition: Kafka's assignors, pure.
