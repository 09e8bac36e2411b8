//! When locks expire.

use std::collections::{BTreeSet, HashMap};

use crate::coordinator::share::ShareKey;

/// The groups and partitions that hold locks, each once, with a time that is no later than when the first of its locks
/// expires.
///
/// A deadline that moves away is not noted: records are acquired and acknowledged all the time, and a note for each
/// time would be as much as the records themselves. The timer looks too early then, and notes what it finds.
#[derive(Debug, Default)]
pub(super) struct DueLocks {
    by_time: BTreeSet<(i64, ShareKey)>,
    noted: HashMap<ShareKey, i64>,
}

impl DueLocks {
    /// Notes when a lock expires. Answers whether that is sooner than all else.
    pub fn note(&mut self, key: &ShareKey, at_ms: i64) -> bool {
        match self.noted.get(key).copied() {
            Some(noted_ms) if noted_ms <= at_ms => return false,
            Some(noted_ms) => drop(self.by_time.remove(&(noted_ms, key.clone()))),
            None => {}
        }
        let is_earliest = self.next_ms().is_none_or(|next_ms| at_ms < next_ms);
        self.noted.insert(key.clone(), at_ms);
        self.by_time.insert((at_ms, key.clone()));
        is_earliest
    }

    /// When the timer has to look.
    pub fn next_ms(&self) -> Option<i64> {
        self.by_time.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes one whose time has come.
    pub fn take_over(&mut self, now_ms: i64) -> Option<ShareKey> {
        self.next_ms().filter(|at_ms| *at_ms <= now_ms)?;
        let (_, key) = self.by_time.pop_first()?;
        self.noted.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;

    fn key(partition: i32) -> ShareKey {
        ShareKey { group_id: Arc::from("group"), topic_id: Uuid::from_u128(1), partition }
    }

    #[test]
    fn it_does_not_grow_with_what_is_acquired() {
        let mut due = DueLocks::default();
        for at_ms in 0..10_000 {
            due.note(&key(0), at_ms);
            due.note(&key(1), 20_000 - at_ms);
        }
        assert_eq!((due.by_time.len(), due.noted.len()), (2, 2));
    }

    #[test]
    fn no_lock_is_missed() {
        let mut due = DueLocks::default();
        assert!(due.note(&key(0), 50));
        assert!(!due.note(&key(0), 60));
        assert!(!due.note(&key(1), 70));
        assert!(due.note(&key(1), 40));
        assert_eq!((due.next_ms(), due.take_over(39)), (Some(40), None));
        assert_eq!([due.take_over(50), due.take_over(50), due.take_over(50)], [Some(key(1)), Some(key(0)), None]);
        // Looked at too early, it is noted again.
        assert!(due.note(&key(0), 60));
        assert_eq!(due.take_over(60), Some(key(0)));
        assert_eq!((due.by_time.len(), due.noted.len()), (0, 0));
    }
}
