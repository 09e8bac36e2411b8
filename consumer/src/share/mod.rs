//! Share groups (KIP-932): many members read the same partitions, and each record is one member's for a while.
//!
//! Beside the consumer, whose records and batches it shows, this is a client of its own: the broker keeps which records
//! are with whom, and a member fetches, works, and says what became of each. The machines (`machine/`): the membership,
//! the session with one broker, and the ledger of what this member has from it. The drivers (`driver/`): one task per
//! broker with a connection of its own, the steward who sees that there are such tasks, and the member.

mod acknowledgement;
mod batch;
mod config;
mod consumer;
mod driver;
mod error;
mod handle;
mod machine;
mod metrics;
mod shared;
mod typed;
mod unpack;

pub use acknowledgement::{AcknowledgeError, AcknowledgeType, AcknowledgementResult};
pub use batch::{DeliveredRecord, ShareBatch, ShareRecord, ShareRecords};
pub use config::{AcknowledgementMode, AcquireMode, ShareConsumerConfig};
pub use consumer::ShareConsumer;
pub use error::{ShareConsumerError, ShareResult};
pub use handle::ShareConsumerHandle;
pub use metrics::all_specs;
pub use typed::{ShareDeserializationError, TypedShareConsumer, TypedShareError, TypedShareRecord};
