//! The offset index of a segment: which byte position to begin at when looking for an offset.
//!
//! The file is a run of 8-byte entries, each a big-endian offset relative to the segment's base and a position in the
//! `.log` file. Relative offsets and positions both grow strictly. The offset of an entry is the *last* offset of the
//! batch at its position, as Kafka writes it.

/// Bytes of one entry in the file.
pub(crate) const ENTRY_BYTES: usize = 8;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub relative_offset: u32,
    pub position: u32,
}

/// The entries of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OffsetIndex {
    entries: Vec<Entry>,
}

impl OffsetIndex {
    /// Reads a file, checking it against the size of its segment; says what is wrong where it cannot be trusted.
    pub fn decode(bytes: &[u8], log_bytes: u64) -> Result<OffsetIndex, &'static str> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return Err("its size is not a multiple of 8");
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
        for raw in bytes.chunks_exact(ENTRY_BYTES) {
            let [a, b, c, d, e, f, g, h] = *raw else { return Err("an entry is cut off") };
            let entry =
                Entry { relative_offset: u32::from_be_bytes([a, b, c, d]), position: u32::from_be_bytes([e, f, g, h]) };
            let grows = entries.last().is_none_or(|last: &Entry| {
                last.relative_offset < entry.relative_offset && last.position < entry.position
            });
            if !grows {
                return Err("its entries do not grow");
            }
            if entry.relative_offset > i32::MAX as u32 || u64::from(entry.position) >= log_bytes {
                return Err("an entry points beyond the segment");
            }
            entries.push(entry);
        }
        Ok(OffsetIndex { entries })
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }

    /// Adds an entry. One that does not grow is not needed and left out.
    pub fn append(&mut self, relative_offset: u32, position: u32) {
        let grows =
            self.entries.last().is_none_or(|last| last.relative_offset < relative_offset && last.position < position);
        if grows {
            self.entries.push(Entry { relative_offset, position });
        }
    }

    /// The position to begin at when looking for an offset, and the position at or before which the search must end,
    /// if an entry says so.
    pub fn lookup(&self, relative_offset: u32) -> (u32, Option<u32>) {
        let after = self.entries.partition_point(|entry| entry.relative_offset <= relative_offset);
        let start = after.checked_sub(1).and_then(|at| self.entries.get(at)).map_or(0, |entry| entry.position);
        (start, self.entries.get(after).map(|entry| entry.position))
    }

    /// The first position known to begin a batch that is at or beyond `position`.
    pub fn position_from(&self, position: u64) -> Option<u32> {
        let at = self.entries.partition_point(|entry| u64::from(entry.position) < position);
        self.entries.get(at).map(|entry| entry.position)
    }

    /// Forgets the entries of batches at or beyond this position.
    pub fn truncate(&mut self, position: u64) {
        let keep = self.entries.partition_point(|entry| u64::from(entry.position) < position);
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
    fn lookup_gives_the_window() {
        let mut index = OffsetIndex::default();
        assert_eq!(index.lookup(7), (0, None));
        index.append(10, 100);
        index.append(20, 200);
        index.append(20, 300);
        assert_eq!(index.lookup(9), (0, Some(100)));
        assert_eq!(index.lookup(10), (100, Some(200)));
        assert_eq!(index.lookup(99), (200, None));
        assert_eq!(OffsetIndex::decode(&index.encode(), 201).unwrap(), index);
        index.truncate(200);
        assert_eq!(index.last(), Some(Entry { relative_offset: 10, position: 100 }));
    }

    #[test]
    fn untrustworthy_files_are_refused() {
        let mut index = OffsetIndex::default();
        index.append(10, 100);
        index.append(20, 200);
        let bytes = index.encode();
        assert!(OffsetIndex::decode(&bytes[..15], 1000).is_err());
        assert!(OffsetIndex::decode(&bytes, 200).is_err());
        assert!(OffsetIndex::decode(&[0; 24], 1000).is_err());
    }
}
