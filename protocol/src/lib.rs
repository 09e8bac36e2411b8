//! Everything of Kafka's wire protocol that is bytes: primitives, messages, record batches, compression.
//!
//! No runtime, no clock and no I/O lives here. Clients and broker share this crate, so each layout is written once:
//!
//! * [`wire`] reads and writes primitives. A [`wire::Reader`] never allocates more than the bytes in front of it
//!   justify; a [`wire::Writer`] keeps record batches as references, so that a frame leaves by one vectored write.
//! * [`messages`] holds every message that Apache Kafka publishes a schema for, generated from those schemas.
//! * [`records`] is the hot path: batches are encoded as records are appended, and read in place.
//! * [`ErrorCode`] names the errors a broker may answer with.

mod error_code;
pub mod messages;
pub mod records;
pub mod wire;

pub use error_code::ErrorCode;
pub use messages::ApiKey;
