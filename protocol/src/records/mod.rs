//! Record batches: encoded as records are appended, read in place. Kafka's format v2 (KIP-98) only.
//!
//! * Write: [`BatchBuilder`] writes each record once, into a pooled buffer. [`BatchBuilder::seal`] compresses and
//!   patches the header; [`SealedBatch`] is stamped with the producer's state and gets its CRC last.
//! * Read: [`BatchIter`] cuts a fetch's bytes into [`RecordBatch`]es, whose [`RecordBatch::records`] yields
//!   [`RecordView`]s that borrow. Compressed batches are unpacked into a [`DecompressArena`] that is reused and capped.
//! * Keep: [`OwnedBatch`] and [`RecordCursor`] hold a batch by reference count, for a consumer's inbox.
//! * Patch: [`set_base_offset`] and its kin change a batch in place, as a broker does on append.
//!
//! Offsets, sizes and counts from outside are checked before they are used, and nothing is allocated because a peer
//! declared a length.

mod builder;
pub mod compression;
mod control;
mod error;
mod header;
mod owned;
mod reader;
mod retain;
mod sealed;
mod varint;
mod view;

pub use builder::{BatchBuilder, BatchOptions, NO_HEADERS, encode_batch, record_size};
pub use compression::{Codec, CodecError, Compression, Compressor, CompressorPool, Decompressor, PooledCompressor};
pub use control::{ControlRecord, ControlRecordType, EndTransactionMarker, TransactionResult, encode_control_batch};
pub use error::RecordError;
pub use header::{
    Attributes, BATCH_OVERHEAD, BatchHeader, LOG_OVERHEAD, MAGIC_V2, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType, compute_crc, increment_sequence, set_base_offset,
    set_log_append_time, set_max_timestamp, set_partition_leader_epoch, set_producer, verify_crc,
};
pub use owned::{OwnedBatch, RecordCursor};
pub use reader::{BatchIter, DecompressArena, RecordBatch, RecordIter};
pub use retain::{BatchRetainer, DeleteHorizon, Retained, emptied_batch};
pub use sealed::SealedBatch;
pub use view::{HeaderRef, HeadersIter, HeadersView, RecordView};
