//! Checks on batches that come from another node, before they are believed.

use std::io;

use rkafka_protocol::records::{BATCH_OVERHEAD, BatchHeader, verify_crc};

use super::OffsetAndEpoch;
use crate::planted::{self, Bug};
use crate::storage::StorageFile;

/// How much of what a leader sent may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SoundPrefix {
    pub bytes: usize,
    pub batches: usize,
}

/// The whole batches at the beginning of `records` that follow a log's end without a gap, have right checksums, and an
/// epoch that is the leader's at most and goes back nowhere (KAFKA-18723).
pub(super) fn sound_prefix(records: &[u8], end: OffsetAndEpoch, leader_epoch: i32) -> SoundPrefix {
    let mut sound = SoundPrefix::default();
    let mut end = end;
    while let Some(rest) = records.get(sound.bytes..).filter(|rest| !rest.is_empty()) {
        let Ok(header) = BatchHeader::read(rest) else { break };
        let Some(batch) = rest.get(..header.total_len()) else { break };
        let epoch = header.partition_leader_epoch;
        let follows = header.base_offset == end.offset && header.last_offset() >= header.base_offset;
        let is_of_its_time = epoch >= end.epoch && epoch <= leader_epoch;
        let is_sound = follows && is_of_its_time && verify_crc(batch).is_ok();
        if !is_sound && !planted::is(Bug::RaftAppendsUnchecked) {
            break;
        }
        end = OffsetAndEpoch { offset: header.last_offset() + 1, epoch };
        sound.bytes += batch.len();
        sound.batches += 1;
    }
    sound
}

/// Whether a file of this length is whole batches with right checksums.
pub(super) fn is_sound_file(file: &dyn StorageFile, len: u64) -> io::Result<bool> {
    let mut position = 0;
    while position < len {
        let head = file.read_at(position, BATCH_OVERHEAD)?;
        let Ok(header) = BatchHeader::read(&head) else { return Ok(false) };
        let bytes = header.total_len() as u64;
        if position + bytes > len || verify_crc(&file.read_at(position, header.total_len())?).is_err() {
            return Ok(false);
        }
        position += bytes;
    }
    Ok(position == len)
}
