//! Where each leader epoch begins in the log (KIP-101), kept in `leader-epoch-checkpoint`.
//!
//! Followers find out from this where their log parts from the leader's, which the high watermark cannot tell them.

use std::fmt::Write as _;
use std::str;

/// Name of the file inside a partition's directory.
pub(crate) const FILE_NAME: &str = "leader-epoch-checkpoint";

/// The first offset that a leader epoch wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    /// The leader epoch.
    pub epoch: i32,
    /// The offset of its first record.
    pub start_offset: i64,
}

/// The epochs of a log, ascending in epoch and in offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<EpochEntry>,
}

impl EpochCache {
    /// Reads the text of the file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<EpochCache, &'static str> {
        let text = str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let mut lines = text.lines();
        if lines.next() != Some("0") {
            return Err("its version is not 0");
        }
        let count: usize = lines.next().and_then(|line| line.parse().ok()).ok_or("its count is missing")?;
        let mut entries: Vec<EpochEntry> = Vec::new();
        for line in lines {
            let (epoch, start_offset) = line.split_once(' ').ok_or("a line is not `epoch startOffset`")?;
            let entry = EpochEntry {
                epoch: epoch.parse().map_err(|_| "an epoch is not a number")?,
                start_offset: start_offset.parse().map_err(|_| "an offset is not a number")?,
            };
            let grows =
                entries.last().is_none_or(|last| last.epoch < entry.epoch && last.start_offset <= entry.start_offset);
            if !grows || entry.epoch < 0 || entry.start_offset < 0 {
                return Err("its entries do not grow");
            }
            entries.push(entry);
        }
        if entries.len() != count {
            return Err("its count does not match its lines");
        }
        Ok(EpochCache { entries })
    }

    /// The text of the file.
    pub(crate) fn encode(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset);
        }
        text
    }

    /// The entries, ascending.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest epoch, or `None` where no batch bore one yet.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// Notes that `epoch` begins at `start_offset`; says whether that was news. An epoch that is not newer is already
    /// known, or belongs to a batch of before the cache began, and changes nothing.
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || self.entries.last().is_some_and(|last| epoch <= last.epoch) {
            return false;
        }
        // An epoch that wrote nothing before this one began is not part of the log's history.
        while self.entries.last().is_some_and(|last| last.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// The greatest epoch not beyond `requested` and the offset where it ends, as `OffsetForLeaderEpoch` answers it;
    /// `None` (on the wire -1, -1) where `requested` is unknown and newer than all, or there are no epochs at all.
    pub(crate) fn end_offset_for(&self, requested: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        let latest = self.entries.last()?;
        if requested < 0 || requested > latest.epoch {
            return None;
        }
        if requested == latest.epoch {
            return Some((requested, log_end_offset));
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= requested);
        let end = self.entries.get(after)?.start_offset;
        match after.checked_sub(1).and_then(|at| self.entries.get(at)) {
            Some(entry) => Some((entry.epoch, end)),
            // Older than all that is known: the requested epoch ends where the first known one begins.
            None => Some((requested, end)),
        }
    }

    /// The epoch that wrote this offset, or `None` below all known epochs.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).and_then(|at| self.entries.get(at)).map(|entry| entry.epoch)
    }

    /// Forgets epochs that begin at or beyond a new log end; says whether there were any.
    pub(crate) fn truncate_from_end(&mut self, log_end_offset: i64) -> bool {
        let keep = self.entries.partition_point(|entry| entry.start_offset < log_end_offset);
        let shrinks = keep < self.entries.len();
        self.entries.truncate(keep);
        shrinks
    }

    /// Forgets epochs that end at or before a new log start; the one that spans it begins there now.
    pub(crate) fn truncate_from_start(&mut self, log_start_offset: i64) -> bool {
        let after = self.entries.partition_point(|entry| entry.start_offset <= log_start_offset);
        let Some(spanning) = after.checked_sub(1) else { return false };
        let mut changed = spanning > 0;
        self.entries.drain(..spanning);
        if let Some(first) = self.entries.first_mut() {
            changed |= first.start_offset != log_start_offset;
            first.start_offset = log_start_offset;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> EpochCache {
        let mut cache = EpochCache::default();
        assert!(cache.assign(1, 0));
        assert!(cache.assign(2, 10));
        assert!(!cache.assign(2, 12));
        assert!(cache.assign(5, 20));
        cache
    }

    #[test]
    fn text_round_trips_in_kafkas_format() {
        let cache = cache();
        assert_eq!(cache.encode(), "0\n3\n1 0\n2 10\n5 20\n");
        assert_eq!(EpochCache::decode(cache.encode().as_bytes()).unwrap(), cache);
        for bad in ["", "1\n0\n", "0\n2\n1 0\n", "0\n1\nx 0\n", "0\n2\n2 0\n1 5\n", "0\n1\n-1 0\n"] {
            assert!(EpochCache::decode(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn end_offsets_follow_kip_101() {
        let cache = cache();
        assert_eq!(cache.end_offset_for(0, 30), Some((0, 0)));
        assert_eq!(cache.end_offset_for(1, 30), Some((1, 10)));
        assert_eq!(cache.end_offset_for(3, 30), Some((2, 20)));
        assert_eq!(cache.end_offset_for(5, 30), Some((5, 30)));
        assert_eq!(cache.end_offset_for(6, 30), None);
        assert_eq!(cache.epoch_for_offset(15), Some(2));
    }

    #[test]
    fn truncation_keeps_what_spans_the_cut() {
        let mut from_end = cache();
        assert!(from_end.truncate_from_end(20));
        assert_eq!(from_end.latest_epoch(), Some(2));
        let mut from_start = cache();
        assert!(from_start.truncate_from_start(15));
        assert_eq!(from_start.entries().first(), Some(&EpochEntry { epoch: 2, start_offset: 15 }));
        assert!(!from_start.truncate_from_start(15));
    }

    #[test]
    fn an_epoch_without_records_vanishes() {
        let mut cache = cache();
        assert!(cache.assign(6, 30));
        assert!(cache.assign(7, 30));
        assert_eq!(cache.entries().last(), Some(&EpochEntry { epoch: 7, start_offset: 30 }));
        assert_eq!(cache.entries().len(), 4);
    }
}
