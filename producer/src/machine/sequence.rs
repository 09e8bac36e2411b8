//! Sequence numbers of one partition (KIP-98), and what to do when they no longer fit the broker's (KIP-360).
//!
//! The broker takes a batch whose base sequence follows the last one, knows the last five batches again, and refuses
//! everything else. So the rules here are:
//!
//! * A batch keeps its stamp for as long as it may be in the log, for only so does the broker know it again.
//! * When a batch fails for good, the ones behind it no longer fit. The epoch is then bumped, which begins at sequence 0
//!   anew, but not before every batch that may be in the log was resolved under its old stamp: under a new one it could
//!   be written twice.
//! * A broker that has never heard of an id takes any base sequence from it. Until the first batch of an id is
//!   acknowledged, no second one is sent, for it could be taken before the first.
//! * The epoch of a producer without a `transactional.id` belongs to the producer alone and is bumped without asking,
//!   as Java does; brokers keep it per partition, so other partitions are not disturbed. A new id is asked for when the
//!   epoch is spent or the broker knows a newer one.

use rkafka_protocol::records::increment_sequence;

/// The id that a broker gave this producer, and the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerIdentity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// What a batch is stamped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) identity: ProducerIdentity,
    pub(crate) base_sequence: i32,
}

impl Stamp {
    /// The stamp of the batch behind one of `count` records with this stamp.
    pub(crate) fn after(self, count: u32) -> Self {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        Self { base_sequence: increment_sequence(self.base_sequence, count), ..self }
    }
}

/// The sequence of one partition.
#[derive(Debug, Default)]
pub(crate) struct PartitionSequence {
    identity: Option<ProducerIdentity>,
    next: i32,
    broken: bool,
    /// The present identity is of no use any more, whatever the epoch.
    spent: bool,
    /// The id of which a batch was acknowledged, so that the broker knows it.
    confirmed: Option<i64>,
}

impl PartitionSequence {
    /// The next batch of `count` records gets this stamp. `None` before [`PartitionSequence::renew`] succeeded.
    pub(crate) fn stamp(&mut self, count: u32) -> Option<Stamp> {
        let identity = self.identity.filter(|_| !self.broken)?;
        let stamp = Stamp { identity, base_sequence: self.next };
        self.next = increment_sequence(self.next, i32::try_from(count).unwrap_or(i32::MAX));
        Some(stamp)
    }

    /// The sequence has a gap: nothing is stamped until it is renewed.
    pub(crate) fn break_off(&mut self) {
        self.broken = self.identity.is_some();
    }

    /// As [`PartitionSequence::break_off`], and the identity itself must be replaced.
    pub(crate) fn discard_identity(&mut self) {
        self.break_off();
        self.spent = true;
    }

    /// A batch with this stamp was acknowledged.
    pub(crate) fn confirm(&mut self, stamp: Option<Stamp>) {
        self.confirmed = stamp.map(|stamp| stamp.identity.id).or(self.confirmed);
    }

    /// Whether the broker is known to know the present id.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.identity.is_some_and(|identity| self.confirmed == Some(identity.id))
    }

    /// Whether there is a gap.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Makes the sequence usable: adopts `offered` at first, bumps the epoch after a gap. Only to be called while no
    /// batch may be in the log unresolved. False where a new identity must be fetched first.
    pub(crate) fn renew(&mut self, offered: Option<ProducerIdentity>) -> bool {
        let renewed = match self.identity {
            Some(_) if !self.broken => return true,
            Some(present) if !self.spent && present.epoch < i16::MAX => {
                Some(ProducerIdentity { epoch: present.epoch + 1, ..present })
            }
            Some(present) => offered.filter(|offered| offered.id != present.id),
            None => offered,
        };
        let Some(identity) = renewed else { return false };
        *self = Self { identity: Some(identity), next: 0, broken: false, spent: false, confirmed: self.confirmed };
        true
    }

    /// As [`PartitionSequence::renew`] in a transaction, whose identity is the whole producer's: another one begins at
    /// sequence 0, but not while a batch of the one before is outstanding, and a gap ends with the transaction only.
    pub(crate) fn adopt(&mut self, identity: ProducerIdentity, is_idle: bool) -> bool {
        if self.identity == Some(identity) {
            return !self.broken;
        }
        if is_idle {
            *self = Self { identity: Some(identity), confirmed: self.confirmed, ..Self::default() };
        }
        is_idle
    }

    /// The id that must be replaced, where [`PartitionSequence::renew`] asked for another.
    pub(crate) fn unusable_id(&self) -> Option<i64> {
        self.identity.map(|identity| identity.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ProducerIdentity = ProducerIdentity { id: 7, epoch: 0 };

    #[test]
    fn sequences_follow_each_other_and_wrap_as_kafkas_do() {
        let mut sequence = PartitionSequence::default();
        assert_eq!(sequence.stamp(1), None);
        assert!(!sequence.renew(None) && sequence.renew(Some(FIRST)));
        assert_eq!(sequence.stamp(i32::MAX as u32).unwrap().base_sequence, 0);
        assert_eq!(sequence.stamp(3).unwrap().base_sequence, i32::MAX);
        assert_eq!(sequence.stamp(1).unwrap().base_sequence, 2);
    }

    #[test]
    fn a_gap_bumps_the_epoch_and_a_spent_epoch_asks_for_a_new_id() {
        let mut sequence = PartitionSequence::default();
        sequence.break_off();
        assert!(!sequence.is_broken(), "nothing was ever stamped");
        assert!(sequence.renew(Some(ProducerIdentity { id: 7, epoch: i16::MAX - 1 })));
        sequence.stamp(5);
        sequence.break_off();
        assert_eq!(sequence.stamp(1), None);
        assert!(sequence.renew(Some(FIRST)));
        let identity = ProducerIdentity { id: 7, epoch: i16::MAX };
        assert_eq!(sequence.stamp(1), Some(Stamp { identity, base_sequence: 0 }));
        sequence.break_off();
        assert!(!sequence.renew(Some(FIRST)), "the id is the same");
        assert_eq!(sequence.unusable_id(), Some(7));
        assert!(sequence.renew(Some(ProducerIdentity { id: 8, epoch: 0 })));
        sequence.discard_identity();
        assert!(!sequence.renew(Some(ProducerIdentity { id: 8, epoch: 0 })));
    }
}
