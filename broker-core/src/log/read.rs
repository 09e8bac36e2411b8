//! Reading: whole batches as they lie in the file, and the search for offsets by time.

use bytes::Bytes;

use super::batch::{Bounds, HEADER_BYTES, Header, Malformed, OFFSETS_BYTES};
use super::error::LogError;
use super::log_impl::Log;
use super::segment::Segment;
use super::walk::Walk;

/// Beyond this distance between two index entries a read looks for its first batch by single headers, instead of
/// reading the whole distance.
const GAP_BYTES_MAX: u64 = 64 * 1024;

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogRead {
    /// Whole batches as they were appended; empty where there was nothing to read.
    pub records: Bytes,
    /// Base offset of the first batch, which may lie below the offset asked for; that offset where `records` is empty.
    pub first_offset: i64,
    /// The offset to go on reading from.
    pub next_offset: i64,
}

/// The answer of a search by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampAndOffset {
    /// Time of the record in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its offset.
    pub offset: i64,
    /// Leader epoch of its batch.
    pub leader_epoch: i32,
}

impl Log {
    /// Reads whole batches, beginning with the one that holds `offset`, at most `max_bytes` of them and none that holds
    /// `up_to_offset_exclusive` or what lies beyond (the high watermark or the last stable offset).
    ///
    /// With `min_one_batch` the first batch is returned even where it is larger than `max_bytes` (KIP-74). One read ends
    /// at the end of a segment. At the log's end the answer is empty.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] below the log's start and beyond its end.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        up_to_offset_exclusive: i64,
        min_one_batch: bool,
    ) -> Result<LogRead, LogError> {
        self.check_online()?;
        if offset < self.log_start_offset || offset > self.log_end_offset {
            return Err(LogError::OffsetOutOfRange {
                offset,
                log_start_offset: self.log_start_offset,
                log_end_offset: self.log_end_offset,
            });
        }
        let nothing = LogRead { records: Bytes::new(), first_offset: offset, next_offset: offset };
        let up_to = up_to_offset_exclusive.min(self.log_end_offset);
        if offset >= up_to || (max_bytes == 0 && !min_one_batch) {
            return Ok(nothing);
        }
        let first = self.segment_of(offset);
        for segment in self.segments.get(first..).unwrap_or_default() {
            if segment.base_offset >= up_to {
                break;
            }
            if let Some(found) = self.read_segment(segment, offset, max_bytes, up_to, min_one_batch)? {
                return Ok(found);
            }
            // The offset lies in the hole that compaction left at the end of this segment.
        }
        Ok(LogRead { next_offset: up_to, ..nothing })
    }

    /// `None` where the segment has no batch at or beyond `offset`.
    fn read_segment(
        &self,
        segment: &Segment,
        offset: i64,
        max_bytes: usize,
        up_to: i64,
        min_one_batch: bool,
    ) -> Result<Option<LogRead>, LogError> {
        if segment.size == 0 {
            return Ok(None);
        }
        let storage = self.storage.as_ref();
        let indexes = segment.indexes(storage, self.config.index_interval_bytes)?;
        let (start, limit) = indexes.offset.lookup(segment.relative(offset));
        let mut position = u64::from(start);
        let mut gap = limit.map_or(segment.size, u64::from).saturating_sub(position);
        if gap > GAP_BYTES_MAX {
            match segment.find_batch(storage, offset, self.config.index_interval_bytes)? {
                None => return Ok(None),
                Some((found, _)) => (position, gap) = (found, 0),
            }
        }
        let file = segment.file(storage)?;
        let there = usize::try_from(segment.size - position.min(segment.size)).unwrap_or(usize::MAX);
        let window_bytes = there.min(max_bytes.saturating_add(gap as usize).max(HEADER_BYTES));
        let window = file.read_at(position, window_bytes).map_err(|source| segment.read_error(source))?;

        // Walk the headers in the window: first to the batch that holds the offset, then as far as the limits allow.
        let mut at = 0;
        let mut begin = None;
        let mut first_offset = offset;
        let mut next_offset = offset;
        loop {
            let rest = window.get(at..).unwrap_or_default();
            let corrupt = |reason: Malformed| LogError::Corrupt {
                path: segment.path(super::segment::LOG_SUFFIX),
                position: position + at as u64,
                reason: reason.to_string(),
            };
            let bounds = match Bounds::read(rest) {
                Ok(bounds) => bounds,
                Err(Malformed::Short) if position + at as u64 >= segment.size => break,
                Err(Malformed::Short) if begin.is_some() => break,
                Err(Malformed::Short) => {
                    // The window ends before the batch that is looked for.
                    return self.read_single(segment, position + at as u64, offset, max_bytes, up_to, min_one_batch);
                }
                Err(reason) => return Err(corrupt(reason)),
            };
            if begin.is_none() && bounds.last_offset < offset {
                at = at.saturating_add(bounds.total_len);
                continue;
            }
            let from = begin.unwrap_or(at);
            let end = at.saturating_add(bounds.total_len);
            if bounds.last_offset >= up_to {
                break;
            }
            let fits = end - from <= max_bytes;
            if begin.is_none() {
                if !fits && !min_one_batch {
                    break;
                }
                first_offset = bounds.base_offset;
                if end > window.len() {
                    return self.read_single(segment, position + at as u64, offset, max_bytes, up_to, min_one_batch);
                }
                begin = Some(at);
            } else if !fits || end > window.len() {
                break;
            }
            next_offset = bounds.last_offset + 1;
            at = end;
        }
        match begin {
            Some(from) => Ok(Some(LogRead { records: window.slice(from..at), first_offset, next_offset })),
            None if position + at as u64 >= segment.size => Ok(None),
            None => Ok(Some(LogRead { records: Bytes::new(), first_offset: offset, next_offset: offset })),
        }
    }

    /// Reads the one batch that holds `offset`, looking for it by headers from `position` on, where a window of
    /// `max_bytes` did not reach it or did not hold it whole.
    fn read_single(
        &self,
        segment: &Segment,
        position: u64,
        offset: i64,
        max_bytes: usize,
        up_to: i64,
        min_one_batch: bool,
    ) -> Result<Option<LogRead>, LogError> {
        let file = segment.file(self.storage.as_ref())?;
        let mut walk = Walk::headers(file.as_ref(), position, segment.size);
        while let Some((found, header, _)) = walk.next().map_err(|error| segment.walk_error(error))? {
            if header.last_offset() < offset {
                continue;
            }
            if header.last_offset() >= up_to || (header.total_len() > max_bytes && !min_one_batch) {
                return Ok(Some(LogRead { records: Bytes::new(), first_offset: offset, next_offset: offset }));
            }
            let records = self.read_batch(segment, found, &header)?;
            return Ok(Some(LogRead {
                records,
                first_offset: header.base_offset,
                next_offset: header.last_offset() + 1,
            }));
        }
        Ok(None)
    }

    /// Reads the whole batch whose header is known.
    fn read_batch(&self, segment: &Segment, position: u64, header: &Header) -> Result<Bytes, LogError> {
        let file = segment.file(self.storage.as_ref())?;
        let bytes = file.read_at(position, header.total_len()).map_err(|source| segment.read_error(source))?;
        if bytes.len() < header.total_len() {
            return Err(LogError::Corrupt {
                path: segment.path(super::segment::LOG_SUFFIX),
                position,
                reason: Malformed::Short.to_string(),
            });
        }
        Ok(bytes)
    }

    /// The first record at or beyond the log's start whose time is `timestamp_ms` or later, as `ListOffsets` asks for
    /// it; `None` where all records are older. Decodes one batch.
    pub fn offset_for_timestamp(&self, timestamp_ms: i64) -> Result<Option<TimestampAndOffset>, LogError> {
        self.check_online()?;
        let interval = self.config.index_interval_bytes;
        let first = self.segment_of(self.log_start_offset);
        let mut from = self.log_start_offset;
        for segment in self.segments.get(first..).unwrap_or_default() {
            // A batch may claim a maximum that no record of it at or beyond the log's start has; then go on behind it.
            while let Some((position, header)) =
                segment.find_batch_by_time(self.storage.as_ref(), timestamp_ms, from, interval)?
            {
                let bytes = self.read_batch(segment, position, &header)?;
                let found = self.first_record(segment, position, &bytes, |offset, timestamp| {
                    offset >= self.log_start_offset && timestamp >= timestamp_ms
                })?;
                if let Some((offset, timestamp_ms)) = found {
                    return Ok(Some(TimestampAndOffset {
                        timestamp_ms,
                        offset,
                        leader_epoch: header.partition_leader_epoch,
                    }));
                }
                from = header.last_offset() + 1;
            }
        }
        Ok(None)
    }

    /// The first record that has the greatest time in the log (KIP-734); `None` in a log without records.
    pub fn max_timestamp(&self) -> Result<Option<TimestampAndOffset>, LogError> {
        self.check_online()?;
        let interval = self.config.index_interval_bytes;
        let mut best: Option<(i64, &Segment)> = None;
        for segment in self.segments.iter().filter(|segment| segment.size > 0) {
            let timestamp = segment.indexes(self.storage.as_ref(), interval)?.max_timestamp;
            if best.is_none_or(|(known, _)| timestamp > known) {
                best = Some((timestamp, segment));
            }
        }
        match best {
            Some((timestamp, _)) if timestamp >= 0 => self.offset_for_timestamp(timestamp),
            _ => Ok(None),
        }
    }

    /// The offset and time of the first record in a batch for which `wanted(offset, timestamp)` holds.
    fn first_record(
        &self,
        segment: &Segment,
        position: u64,
        batch: &Bytes,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> Result<Option<(i64, i64)>, LogError> {
        super::batch::first_record(batch, wanted).map_err(|reason| LogError::Corrupt {
            path: segment.path(super::segment::LOG_SUFFIX),
            position,
            reason: reason.to_string(),
        })
    }
}

const _: () = assert!(OFFSETS_BYTES <= HEADER_BYTES);
