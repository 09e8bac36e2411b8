//! What decides: no I/O, no clock, no randomness. Time is an argument.
//!
//! * [`accumulator`]: one queue per partition, from the open batch to the last acknowledgement.
//! * [`fill`]: how full a batch may become, by what batches are compressed to.
//! * [`sequence`]: the producer's identity and the sequence numbers of one partition.
//! * [`transaction`]: the transactions of one producer, and what coordinators are told.
//! * [`outbox`]: which batches go into the next request to one broker.

pub(crate) mod accumulator;
pub(crate) mod batch;
pub(crate) mod fill;
pub(crate) mod outbox;
pub(crate) mod sequence;
pub(crate) mod transaction;

#[cfg(test)]
mod model;
