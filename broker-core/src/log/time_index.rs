//! The time index of a segment: up to which offset all records are at most as young as a given time.
//!
//! The file is a run of 12-byte entries, each a big-endian timestamp in milliseconds and an offset relative to the
//! segment's base. Timestamps grow strictly, offsets do not shrink. An entry says that no record up to its offset is
//! younger than its timestamp, so a search for that time or a later one may begin there.

/// Bytes of one entry in the file.
pub(crate) const ENTRY_BYTES: usize = 12;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub timestamp: i64,
    pub relative_offset: u32,
}

/// The entries of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TimeIndex {
    entries: Vec<Entry>,
}

impl TimeIndex {
    /// Reads a file; says what is wrong where it cannot be trusted.
    pub fn decode(bytes: &[u8]) -> Result<TimeIndex, &'static str> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return Err("its size is not a multiple of 12");
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
        for raw in bytes.chunks_exact(ENTRY_BYTES) {
            let [a, b, c, d, e, f, g, h, i, j, k, l] = *raw else { return Err("an entry is cut off") };
            let entry = Entry {
                timestamp: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
                relative_offset: u32::from_be_bytes([i, j, k, l]),
            };
            let grows = entries.last().is_none_or(|last: &Entry| {
                last.timestamp < entry.timestamp && last.relative_offset <= entry.relative_offset
            });
            if !grows {
                return Err("its entries do not grow");
            }
            if entry.relative_offset > i32::MAX as u32 {
                return Err("an entry points beyond the segment");
            }
            entries.push(entry);
        }
        Ok(TimeIndex { entries })
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
        }
        bytes
    }

    /// Adds an entry if its time is a new maximum.
    pub fn maybe_append(&mut self, timestamp: i64, relative_offset: u32) {
        let grows = self
            .entries
            .last()
            .is_none_or(|last| last.timestamp < timestamp && last.relative_offset <= relative_offset);
        if grows && timestamp >= 0 {
            self.entries.push(Entry { timestamp, relative_offset });
        }
    }

    /// The relative offset from which on to look for the first record with this time or a later one.
    pub fn lookup(&self, timestamp: i64) -> u32 {
        // Strictly before: a record with the very time of an entry may lie before the offset of that entry.
        let after = self.entries.partition_point(|entry| entry.timestamp < timestamp);
        after.checked_sub(1).and_then(|at| self.entries.get(at)).map_or(0, |entry| entry.relative_offset)
    }

    /// Forgets the entries at or beyond this relative offset.
    pub fn truncate(&mut self, relative_offset: u32) {
        let keep = self.entries.partition_point(|entry| entry.relative_offset < relative_offset);
        self.entries.truncate(keep);
    }

    pub fn last(&self) -> Option<Entry> {
        self.entries.last().copied()
    }

    pub fn len_bytes(&self) -> usize {
        self.entries.len() * ENTRY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_maxima_and_searches_begin_before_equals() {
        let mut index = TimeIndex::default();
        index.maybe_append(-1, 0);
        index.maybe_append(100, 5);
        index.maybe_append(90, 8);
        index.maybe_append(200, 9);
        assert_eq!(index.lookup(50), 0);
        assert_eq!(index.lookup(100), 0);
        assert_eq!(index.lookup(101), 5);
        assert_eq!(index.lookup(201), 9);
        assert_eq!(index.len_bytes(), 24);
        assert_eq!(TimeIndex::decode(&index.encode()).unwrap(), index);
        index.truncate(9);
        assert_eq!(index.last(), Some(Entry { timestamp: 100, relative_offset: 5 }));
        assert!(TimeIndex::decode(&[0; 13]).is_err());
        assert!(TimeIndex::decode(&[0; 24]).is_err());
    }
}
