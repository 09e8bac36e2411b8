//! Transactional ids that nobody has used for long are forgotten.

use super::records;
use super::shard::TransactionShard;
use crate::InternalRecord;
use crate::coordinator::Moment;

/// How many ids are forgotten by one batch at most.
const EXPIRED_AT_ONCE: usize = 1_000;

impl TransactionShard {
    /// Whether it is time to look for expired ids.
    pub fn is_expiration_due(&self, now: Moment) -> bool {
        self.expiration_check_ms <= now.monotonic_ms
    }

    /// The next ids that have expired, each with the tombstone that forgets it. [`TransactionShard::forgotten`] is to
    /// be told of those whose tombstones were replayed. With none the next look is an interval away.
    pub fn decide_expire(&self, now: Moment) -> Vec<(String, InternalRecord)> {
        let is_old = |last_update_ms: i64| last_update_ms.saturating_add(self.settings.expiration_ms) <= now.date_ms;
        let expired = self.transactions().iter();
        let expired = expired.filter(|(_, one)| one.state.may_expire() && is_old(one.last_update_ms));
        let tombstone = |transactional_id: &String| match records::tombstone(transactional_id) {
            Ok(record) => Some((transactional_id.clone(), record)),
            Err(error) => {
                tracing::error!(%transactional_id, %error, "an expired transactional id cannot be forgotten");
                None
            }
        };
        expired.filter_map(|(transactional_id, _)| tombstone(transactional_id)).take(EXPIRED_AT_ONCE).collect()
    }

    /// What follows from an id that was forgotten.
    pub fn forgotten(&mut self, transactional_id: &str) {
        self.forget_last_epoch(transactional_id);
    }

    /// Puts the next look for expired ids an interval away.
    pub fn expiration_checked(&mut self, now: Moment) {
        self.expiration_check_ms = now.monotonic_ms.saturating_add(self.settings.expiration_check_ms.max(1));
    }
}
