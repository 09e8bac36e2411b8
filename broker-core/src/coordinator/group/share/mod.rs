//! Share groups (KIP-932), the side of the group coordinator: who is a member, which partitions each is to read, and on
//! which partitions the group is at all.
//!
//! What the log says is a [`ShareGroup`]. A decision works on a [`ShareDraft`], which replays each record as it is
//! written. Partitions may be with several members at a time, so nobody waits for anybody: a member has its target with
//! its next heartbeat. When sessions end is in the same timers as for consumer groups.

mod describe;
mod draft;
mod group;
mod heartbeat;
mod offsets;
mod records;
mod settings;
mod step;

pub(super) use draft::ShareDraft;
pub(super) use group::ShareGroup;
pub use offsets::{NewSharePartition, SharePartitions};
pub(super) use records::{ShareGroupRecord, is_share_group_type};
pub use settings::ShareGroupSettings;
