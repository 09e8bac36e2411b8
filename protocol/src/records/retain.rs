//! Batches rewritten without some of their records, as the log cleaner does (KIP-534).
//!
//! What stays keeps its offset and its time; the batch keeps its base offset, its last offset and its producer's state.
//! Records are moved as bytes: only a new delete horizon, from which times are counted then, changes them.

use super::compression::{Codec, Compression, Compressor};
use super::error::RecordError;
use super::header::{Attributes, BATCH_OVERHEAD, BatchHeader, LOG_OVERHEAD, NO_TIMESTAMP, TimestampType, refresh_crc};
use super::reader::{DecompressArena, RecordBatch};
use super::varint::{FieldWriter, read_varint, read_varlong, varint_size, varlong_size};
use super::view::RecordView;

/// What [`BatchRetainer::retain`] has made of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// No record stays, and nothing was written.
    Nothing,
    /// Every record stays, and the bytes are those of the batch.
    Unchanged,
    /// The batch was written anew with this many records.
    Rewritten(u32),
}

/// How a batch gets its delete horizon: the time in ms from which on its tombstones, or the marker in it, may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteHorizon {
    /// The horizon for a batch that has none yet.
    pub horizon_ms: i64,
    /// Sets it whatever the batch holds; otherwise only a batch with a tombstone among the records that stay gets one.
    pub force: bool,
}

/// Rewrites batches; holds the buffers and contexts that it takes.
#[derive(Debug, Default)]
pub struct BatchRetainer {
    arena: DecompressArena,
    compressor: Compressor,
    plain: Vec<u8>,
    spans: Vec<Span>,
}

/// The bytes of a record that stays, and the part of them that does not depend on the batch's base timestamp.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl BatchRetainer {
    /// Appends to `out` the batch with the records for which `keep` holds.
    ///
    /// # Errors
    /// The batch cannot be read, or its codec is not there. `out` is then as it was.
    pub fn retain(
        &mut self,
        batch: &RecordBatch<'_>,
        delete_horizon: DeleteHorizon,
        mut keep: impl FnMut(&RecordView<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<Retained, RecordError> {
        let header = *batch.header();
        let data = batch.plain_records(&mut self.arena)?;
        self.spans.clear();
        let (mut kept, mut all, mut tombstones) = (0u32, true, false);
        let mut max_timestamp = NO_TIMESTAMP;
        let mut records = batch.records_in(data)?;
        let mut start = 0;
        while let Some(record) = records.next() {
            let record = record?;
            let end = records.position();
            if keep(&record) {
                kept += 1;
                tombstones |= record.value.is_none();
                max_timestamp = max_timestamp.max(record.timestamp);
                match self.spans.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => self.spans.push(Span { start, end }),
                }
            } else {
                all = false;
            }
            start = end;
        }
        if kept == 0 {
            return Ok(Retained::Nothing);
        }
        let horizon = (tombstones || delete_horizon.force) && header.delete_horizon_ms().is_none();
        if all && !horizon {
            out.extend_from_slice(batch.bytes());
            return Ok(Retained::Unchanged);
        }
        let compression = header.attributes.compression()?;
        let begin = out.len();
        let written = (|| {
            out.resize(begin + BATCH_OVERHEAD, 0);
            let plain: &mut Vec<u8> = if compression == Compression::None { out } else { &mut self.plain };
            if compression != Compression::None {
                plain.clear();
            }
            for span in &self.spans {
                let bytes = data.get(span.start..span.end).unwrap_or_default();
                if horizon {
                    let shift = header.base_timestamp.wrapping_sub(delete_horizon.horizon_ms);
                    shift_timestamps(bytes, shift, plain)?;
                } else {
                    plain.extend_from_slice(bytes);
                }
            }
            if compression != Compression::None {
                self.compressor.compress(Codec::new(compression), &self.plain, out)?;
            }
            let length = out.len() - begin - LOG_OVERHEAD;
            i32::try_from(length).map_err(|_| RecordError::BatchTooLarge {
                size: 0,
                batch_size: length,
                limit: i32::MAX as usize,
            })
        })();
        let batch_length = match written {
            Ok(length) => length,
            Err(error) => {
                out.truncate(begin);
                return Err(error);
            }
        };
        let rewritten = BatchHeader {
            batch_length,
            record_count: i32::try_from(kept).unwrap_or(i32::MAX),
            attributes: header.attributes.with_delete_horizon(horizon || header.attributes.has_delete_horizon()),
            base_timestamp: if horizon { delete_horizon.horizon_ms } else { header.base_timestamp },
            max_timestamp: match header.attributes.timestamp_type() {
                TimestampType::CreateTime => max_timestamp,
                TimestampType::LogAppendTime => header.max_timestamp,
            },
            ..header
        };
        let bytes = out.get_mut(begin..).unwrap_or_default();
        if let Some(front) = bytes.first_chunk_mut() {
            rewritten.write(front);
        }
        refresh_crc(bytes);
        Ok(Retained::Rewritten(kept))
    }
}

/// Copies records with another base for their timestamps.
fn shift_timestamps(records: &[u8], shift: i64, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let mut at = 0;
    while at < records.len() {
        let length = read_varint(records, &mut at, "record length")?;
        let end = at.saturating_add(usize::try_from(length).unwrap_or(0));
        let attributes = records.get(at).copied().unwrap_or_default();
        let mut cursor = at + 1;
        let delta = read_varlong(records, &mut cursor, "timestamp delta")?.wrapping_add(shift);
        let rest = records.get(cursor..end).unwrap_or_default();
        // The record was read before, so its parts fit an i32.
        let body = 1 + varlong_size(delta) + rest.len();
        let length = i32::try_from(body).map_err(|_| RecordError::BatchTooLarge {
            size: body,
            batch_size: out.len(),
            limit: i32::MAX as usize,
        })?;
        let start = out.len();
        out.resize(start + varint_size(length) + 1 + varlong_size(delta), 0);
        let room = out.get_mut(start..).unwrap_or_default();
        let mut writer = FieldWriter::new(room);
        writer.varint(length);
        writer.raw(attributes);
        writer.varlong(delta);
        out.extend_from_slice(rest);
        at = end;
    }
    Ok(())
}

/// The batch of this header without any record and without a delete horizon, as the cleaner leaves it for the sake of its
/// producer's state or of its last offset.
pub fn emptied_batch(header: &BatchHeader) -> [u8; BATCH_OVERHEAD] {
    let attributes: Attributes = header.attributes.with_compression(Compression::None).with_delete_horizon(false);
    BatchHeader { attributes, base_timestamp: NO_TIMESTAMP, ..*header }.to_empty_batch()
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, BatchOptions, NO_HEADERS, OwnedBatch};
    use super::*;

    const NEVER: DeleteHorizon = DeleteHorizon { horizon_ms: 5_000, force: false };

    fn batch(compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::at(100, 3).with_producer(7, 1, 40));
        for n in 0..20i64 {
            let value = [b'v'; 30];
            let value = if n % 5 == 4 { None } else { Some(&value[..]) };
            builder.append(1_000 - n * 7, Some(&[b'k', n as u8]), value, NO_HEADERS).unwrap();
        }
        builder.seal(Codec::new(compression), &mut Compressor::new()).unwrap().into_bytes()
    }

    fn contents(bytes: &[u8]) -> Vec<(i64, i64, Option<Vec<u8>>, bool)> {
        let batch = RecordBatch::read(bytes).unwrap();
        assert_eq!(batch.bytes().len(), bytes.len());
        batch.verify_crc().unwrap();
        let mut arena = DecompressArena::default();
        let records = batch.records(&mut arena).unwrap().map(|record| record.unwrap());
        records.map(|r| (r.offset, r.timestamp, r.key.map(<[u8]>::to_vec), r.value.is_some())).collect()
    }

    #[test]
    fn what_stays_keeps_offset_and_time() {
        for compression in Compression::ALL {
            let bytes = batch(compression);
            let read = RecordBatch::read(&bytes).unwrap();
            let all = contents(&bytes);
            let mut retainer = BatchRetainer::default();
            let mut out = b"before".to_vec();
            assert_eq!(retainer.retain(&read, NEVER, |_| false, &mut out), Ok(Retained::Nothing));
            assert_eq!(out, b"before");
            // Without a tombstone among what stays there is no horizon.
            let odd = |record: &RecordView<'_>| record.offset % 2 == 1 && record.value.is_some();
            let kept: Vec<_> = all.iter().filter(|r| r.0 % 2 == 1 && r.3).cloned().collect();
            assert_eq!(retainer.retain(&read, NEVER, odd, &mut out), Ok(Retained::Rewritten(kept.len() as u32)));
            let header = BatchHeader::read(&out[6..]).unwrap();
            assert_eq!(contents(&out[6..]), kept);
            assert_eq!((header.base_offset, header.last_offset(), header.base_sequence), (100, 119, 40));
            assert_eq!((header.last_sequence(), header.delete_horizon_ms()), (59, None));
            assert_eq!(header.max_timestamp, kept.iter().map(|record| record.1).max().unwrap());
            assert_eq!(header.attributes.compression(), Ok(compression));
            // With one there is, and it stays when the batch is rewritten again.
            out.clear();
            assert_eq!(retainer.retain(&read, NEVER, |_| true, &mut out), Ok(Retained::Rewritten(20)));
            assert_eq!(contents(&out), all);
            let with_horizon = out.clone();
            let read = RecordBatch::read(&with_horizon).unwrap();
            assert_eq!(read.header().delete_horizon_ms(), Some(5_000));
            out.clear();
            let later = DeleteHorizon { horizon_ms: 9_000, force: true };
            assert_eq!(retainer.retain(&read, later, |_| true, &mut out), Ok(Retained::Unchanged));
            out.clear();
            assert_eq!(
                retainer.retain(&read, later, |record| record.offset > 110, &mut out),
                Ok(Retained::Rewritten(9))
            );
            assert_eq!(contents(&out), all[11..]);
            assert_eq!(BatchHeader::read(&out).unwrap().delete_horizon_ms(), Some(5_000));
        }
    }

    #[test]
    fn an_emptied_batch_keeps_its_producer() {
        let bytes = batch(Compression::Lz4);
        let header = BatchHeader::read(&bytes).unwrap();
        let empty = emptied_batch(&header);
        assert_eq!(contents(&empty), []);
        let read = BatchHeader::read(&empty).unwrap();
        assert_eq!((read.producer_id, read.producer_epoch, read.last_sequence()), (7, 1, 59));
        assert_eq!((read.base_offset, read.last_offset(), read.record_count), (100, 119, 0));
        assert_eq!(read.attributes.compression(), Ok(Compression::None));
        assert!(OwnedBatch::decode(&empty.to_vec().into(), &mut DecompressArena::default()).is_ok());
    }
}
