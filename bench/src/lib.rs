//! Load drivers of rkafka's own benchmark.
