//! Appending: checks on a batch's header and checksum, offsets patched into place, one write.

use std::mem;
use std::sync::Arc;

use rkafka_protocol::records::{
    BatchOptions, Compression, EndTransactionMarker, NO_SEQUENCE, RecordError, TransactionResult, set_base_offset,
    set_log_append_time, set_partition_leader_epoch, verify_crc,
};

use super::batch::{self, HEADER_BYTES, Header, Malformed, NO_TIMESTAMP};
use super::config::TimestampType;
use super::error::{AppendError, LogError};
use super::log_impl::Log;
use super::producer_state::{Refusal, Verdict, Writer};
use super::segment::LOG_SUFFIX;
use super::transaction::{TransactionMarker, VerificationGuard};
use crate::planted::{self, Bug};

/// The largest file that the 4-byte positions of an index can address.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// The least bytes of a record: its length, attributes, two deltas, two lengths and the count of headers.
const RECORD_BYTES_MIN: usize = 7;

/// Where records went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The broker's time that the records bear, or -1 where they bear the producer's (`CreateTime`).
    pub log_append_time: i64,
    /// The first offset of the log.
    pub log_start_offset: i64,
    /// True when the batch was in the log already and the offsets are those of its first append.
    pub duplicate: bool,
    /// True when a new segment was begun; a good time to flush the ones before.
    pub rolled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Client(Option<VerificationGuard>),
    Coordinator(Option<VerificationGuard>),
    Marker,
    Leader,
}

impl Log {
    /// Appends batches from a producer. Their base offsets and leader epochs are written into `records`, and the bytes
    /// are stored as they then are; records are not decoded, for which there is [`super::RecordValidator`].
    ///
    /// An idempotent batch that is one of its producer's last five is not appended again; the answer bears its first
    /// offsets and [`AppendInfo::duplicate`].
    ///
    /// A batch that begins a transaction needs the `guard` that [`Log::begin_verification`] gave; for others it does not
    /// matter.
    ///
    /// # Errors
    /// On any error nothing of `records` is in the log. See [`AppendError`] for Kafka's names.
    pub fn append_as_leader(
        &mut self,
        records: &mut [u8],
        guard: Option<VerificationGuard>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        self.append(records, Origin::Client(guard), leader_epoch, now_ms)
    }

    /// Appends batches that the broker itself made (group offsets, transaction state). They are checked as bytes, but
    /// not against the limits and sequences that hold for clients. One that belongs to a producer is checked by its
    /// epoch, and where it begins a transaction, by its `guard`.
    pub fn append_internal(
        &mut self,
        records: &mut [u8],
        guard: Option<VerificationGuard>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        self.append(records, Origin::Coordinator(guard), leader_epoch, now_ms)
    }

    /// Ends a producer's transaction in this log by a control batch. With nothing open the marker is written all the
    /// same, as in Kafka: the epoch in it fences older batches.
    ///
    /// # Errors
    /// [`AppendError::InvalidProducerEpoch`] and [`AppendError::TransactionCoordinatorFenced`] for a marker that comes
    /// too late.
    pub fn append_marker(
        &mut self,
        marker: &TransactionMarker,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        self.check_online()?;
        let (producer_id, epoch) = (marker.producer_id, marker.producer_epoch);
        if producer_id < 0 || epoch < 0 {
            let reason = format!("a marker names producer {producer_id} with epoch {epoch}");
            return Err(AppendError::InvalidRecord { position: 0, reason });
        }
        self.producers
            .check_marker(marker)
            .map_err(|refusal| refused(refusal, producer_id, epoch, NO_SEQUENCE, marker.coordinator_epoch))?;
        let result = if marker.commit { TransactionResult::Commit } else { TransactionResult::Abort };
        let batch = EndTransactionMarker { result, coordinator_epoch: marker.coordinator_epoch }
            .encode(BatchOptions::at(0, leader_epoch).with_producer(producer_id, epoch, NO_SEQUENCE), now_ms);
        let mut batch = batch.map_err(|error| corrupt(0, error))?.into_bytes();
        self.append(&mut batch, Origin::Marker, leader_epoch, now_ms)
    }

    /// Asks for permission to append a batch that would begin a transaction. `None` where the producer has one open in
    /// this epoch already, so that none is needed. `sequence` is that of the batch, -1 for a coordinator's.
    ///
    /// The order that closes the gap: get the guard, ask the transaction coordinator whether the transaction has this
    /// partition (or have it added), append with the guard. A marker that is written in between voids the guard, and the
    /// append is refused with [`AppendError::InvalidTxnState`]. `supports_epoch_bump` says that the producer ends
    /// transactions by `transaction.version` 2, and so begins each epoch with sequence 0.
    pub fn begin_verification(
        &mut self,
        producer_id: i64,
        epoch: i16,
        sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> Option<VerificationGuard> {
        self.producers.begin_verification(producer_id, epoch, sequence, supports_epoch_bump, now_ms)
    }

    /// Appends batches fetched from the leader, with the offsets and epochs that they bear.
    ///
    /// # Errors
    /// [`AppendError::OffsetGap`] where they begin before the log's end; the others as for a leader.
    pub fn append_as_follower(&mut self, records: &[u8], now_ms: i64) -> Result<AppendInfo, AppendError> {
        self.check_online()?;
        let mut headers = mem::take(&mut self.headers);
        let result = self.append_checked(records, &mut headers, Origin::Leader, now_ms);
        self.headers = headers;
        result
    }

    fn append(
        &mut self,
        records: &mut [u8],
        origin: Origin,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        self.check_online()?;
        let mut headers = mem::take(&mut self.headers);
        let result = self.assign_and_append(records, &mut headers, origin, leader_epoch, now_ms);
        self.headers = headers;
        result
    }

    fn assign_and_append(
        &mut self,
        records: &mut [u8],
        headers: &mut Vec<(usize, Header)>,
        origin: Origin,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        self.parse(records, headers, origin)?;
        for (position, header) in headers.iter() {
            self.check_batch(*position, header, origin, headers.len())?;
        }
        let checked = match origin {
            Origin::Client(guard) => Some((Writer::Client, guard)),
            Origin::Coordinator(guard) => Some((Writer::Coordinator, guard)),
            Origin::Marker | Origin::Leader => None,
        };
        if let (Some((writer, guard)), Some((_, header))) = (checked, headers.first())
            && header.has_producer_id()
            && let Some(duplicate) = self.check_producer(header, writer, guard)?
        {
            return Ok(duplicate);
        }
        let log_append_time =
            if self.config.message_timestamp_type == TimestampType::LogAppendTime { now_ms } else { NO_TIMESTAMP };
        let mut next_offset = self.log_end_offset;
        for (position, header) in headers.iter_mut() {
            let count = i64::from(header.last_offset_delta) + 1;
            let after = next_offset
                .checked_add(count)
                .filter(|after| *after < i64::MAX)
                .ok_or(AppendError::OffsetOverflow { log_end_offset: self.log_end_offset, records: count })?;
            header.base_offset = next_offset;
            header.partition_leader_epoch = leader_epoch;
            if let Some(bytes) = records.get_mut(*position..*position + header.total_len()) {
                set_base_offset(bytes, next_offset).map_err(|error| corrupt(*position, error))?;
                set_partition_leader_epoch(bytes, leader_epoch).map_err(|error| corrupt(*position, error))?;
                if log_append_time != NO_TIMESTAMP {
                    set_log_append_time(bytes, log_append_time).map_err(|error| corrupt(*position, error))?;
                    header.max_timestamp = log_append_time;
                }
            }
            next_offset = after;
        }
        self.store(records, headers, log_append_time, now_ms)
    }

    fn append_checked(
        &mut self,
        records: &[u8],
        headers: &mut Vec<(usize, Header)>,
        origin: Origin,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        self.parse(records, headers, origin)?;
        let mut expected = self.log_end_offset;
        for (position, header) in headers.iter() {
            self.check_batch(*position, header, origin, headers.len())?;
            // A compacted log of the leader has holes: offsets may skip forward, and must not go back.
            if header.base_offset < expected {
                return Err(AppendError::OffsetGap { base_offset: header.base_offset, log_end_offset: expected });
            }
            expected = header.last_offset() + 1;
        }
        self.store(records, headers, NO_TIMESTAMP, now_ms)
    }

    /// Splits the records into batches and checks each one's length, magic and checksum.
    fn parse(&self, records: &[u8], headers: &mut Vec<(usize, Header)>, origin: Origin) -> Result<(), AppendError> {
        headers.clear();
        let segment_bytes = self.segment_bytes_max();
        if records.len() as u64 > segment_bytes {
            return Err(AppendError::RecordListTooLarge { bytes: records.len(), segment_bytes });
        }
        let mut rest = records;
        let mut position = 0;
        loop {
            let read = if origin == Origin::Leader { batch::read_stored(rest) } else { batch::read(rest) };
            let header = read.map_err(|reason| match reason {
                Malformed::Magic(magic) => AppendError::UnsupportedMagic { position, magic },
                reason => AppendError::CorruptMessage { position, reason: reason.to_string() },
            })?;
            if header.total_len() > rest.len() {
                let reason = format!("it has {} bytes, its length says {}", rest.len(), header.total_len());
                return Err(AppendError::CorruptMessage { position, reason });
            }
            let (this, next) = rest.split_at(header.total_len());
            if origin != Origin::Leader || !planted::is(Bug::FollowerSkipsChecksum) {
                verify_crc(this).map_err(|error| corrupt(position, error))?;
            }
            headers.push((position, header));
            position += header.total_len();
            rest = next;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn segment_bytes_max(&self) -> u64 {
        self.config.segment_bytes.min(SEGMENT_BYTES_MAX)
    }

    fn check_batch(&self, position: usize, header: &Header, origin: Origin, batches: usize) -> Result<(), AppendError> {
        let invalid = |reason: String| Err(AppendError::InvalidRecord { position, reason });
        if origin == Origin::Leader {
            return Ok(());
        }
        if header.record_count <= 0 || i64::from(header.record_count) != i64::from(header.last_offset_delta) + 1 {
            return invalid(format!(
                "it counts {} records and its last offset delta is {}",
                header.record_count, header.last_offset_delta
            ));
        }
        // Records that are not there would take offsets all the same, and no consumer could read on behind them.
        let bytes = header.total_len() - HEADER_BYTES;
        let is_plain = matches!(header.attributes.compression(), Ok(Compression::None));
        if bytes == 0 || (is_plain && header.record_count as usize > bytes / RECORD_BYTES_MIN) {
            return invalid(format!("it counts {} records in {bytes} bytes", header.record_count));
        }
        match origin {
            Origin::Client(_) => {}
            Origin::Coordinator(_) if header.has_producer_id() && batches != 1 => {
                return invalid(format!("it has a producer id and is one of {batches} batches; one is allowed"));
            }
            Origin::Coordinator(_) | Origin::Marker | Origin::Leader => return Ok(()),
        }
        let max_message_bytes = self.config.max_message_bytes;
        if header.total_len() > max_message_bytes as usize {
            return Err(AppendError::MessageTooLarge { bytes: header.total_len(), max_message_bytes });
        }
        if let Err(error) = header.attributes.compression() {
            return invalid(error.to_string());
        }
        if header.attributes.is_control() {
            return invalid("clients may not write control batches".to_owned());
        }
        if header.has_producer_id() {
            if header.base_sequence < 0 || header.producer_epoch < 0 {
                return invalid(format!(
                    "producer id {} comes with epoch {} and sequence {}",
                    header.producer_id, header.producer_epoch, header.base_sequence
                ));
            }
            if batches != 1 {
                return invalid(format!("it has a producer id and is one of {batches} batches; one is allowed"));
            }
        } else if header.attributes.is_transactional() {
            return invalid("it is transactional and has no producer id".to_owned());
        }
        Ok(())
    }

    /// The answer for a duplicate, or `None` for a batch that continues its producer's sequence.
    fn check_producer(
        &self,
        header: &Header,
        writer: Writer,
        guard: Option<VerificationGuard>,
    ) -> Result<Option<AppendInfo>, AppendError> {
        match self.producers.check(header, writer, guard) {
            Ok(Verdict::New) => Ok(None),
            Ok(Verdict::Duplicate(first)) => {
                let stamped = self.config.message_timestamp_type == TimestampType::LogAppendTime;
                Ok(Some(AppendInfo {
                    base_offset: first.first_offset(),
                    last_offset: first.last_offset,
                    log_append_time: if stamped { first.timestamp_ms } else { NO_TIMESTAMP },
                    log_start_offset: self.log_start_offset,
                    duplicate: true,
                    rolled: false,
                }))
            }
            Err(refusal) => Err(refused(refusal, header.producer_id, header.producer_epoch, header.base_sequence, -1)),
        }
    }

    /// Writes checked batches with their final offsets, and only then takes note of them.
    fn store(
        &mut self,
        records: &[u8],
        headers: &[(usize, Header)],
        log_append_time: i64,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        let (Some((_, first)), Some((_, last))) = (headers.first(), headers.last()) else {
            return Err(AppendError::CorruptMessage { position: 0, reason: Malformed::Short.to_string() });
        };
        if last.last_offset().saturating_sub(first.base_offset) > i64::from(i32::MAX) {
            let reason = format!("the records take the offsets {} to {}", first.base_offset, last.last_offset());
            return Err(AppendError::InvalidRecord {
                position: 0,
                reason: format!("{reason}, too many for a segment"),
            });
        }
        let max_timestamp = headers.iter().map(|(_, header)| header.max_timestamp).max().unwrap_or(NO_TIMESTAMP);
        let rolled = self.should_roll(records.len(), first.base_offset, last.last_offset(), max_timestamp, now_ms)?;
        if rolled {
            // A new segment begins where the last one ends, and behind a hole only where it could not address its records
            // otherwise.
            let is_far = last.last_offset() - self.log_end_offset > i64::from(i32::MAX);
            let base_offset = if is_far { first.base_offset } else { self.log_end_offset };
            self.roll_at(base_offset, now_ms).map_err(|error| self.write_failed(error))?;
        }
        let start = self.write_active(records)?;
        // The bytes are in the file now, so a log that cannot take note of them must not go on.
        self.note(records, headers, start).map_err(|error| self.go_offline(error))?;
        if self.log_end_offset - self.synced_end >= self.config.flush_messages {
            self.flush()?;
        }
        Ok(AppendInfo {
            base_offset: first.base_offset,
            last_offset: last.last_offset(),
            log_append_time,
            log_start_offset: self.log_start_offset,
            duplicate: false,
            rolled,
        })
    }

    fn should_roll(
        &mut self,
        bytes: usize,
        first_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
        now_ms: i64,
    ) -> Result<bool, LogError> {
        let storage = Arc::clone(&self.storage);
        let (interval, segment_bytes) = (self.config.index_interval_bytes, self.segment_bytes_max());
        let index_bytes = self.config.segment_index_bytes as usize;
        // What must be compacted after a while must not stay in the active segment for longer.
        let lag_ms = if self.config.cleanup_policy.compact { self.config.max_compaction_lag_ms } else { i64::MAX };
        let segment_ms = self.config.segment_ms.min(lag_ms);
        let jitter_ms = self.jitter_ms();
        let Some(active) = self.segments.last_mut() else { return Ok(false) };
        if active.size == 0 {
            // Only a relative offset that does not fit can speak against an empty segment, and a roll would not help
            // unless the segment can begin later.
            return Ok(last_offset - active.base_offset > i64::from(i32::MAX) && first_offset > active.base_offset);
        }
        if active.size + bytes as u64 > segment_bytes || last_offset - active.base_offset > i64::from(i32::MAX) {
            return Ok(true);
        }
        let indexes = active.indexes(storage.as_ref(), interval)?;
        if indexes.offset.len_bytes() + super::offset_index::ENTRY_BYTES > index_bytes
            || indexes.time.len_bytes() + super::time_index::ENTRY_BYTES > index_bytes
        {
            return Ok(true);
        }
        if active.first_timestamp.is_none() {
            let first = active.find_batch(storage.as_ref(), active.base_offset, interval)?;
            active.first_timestamp = first.map(|(_, header)| header.max_timestamp);
        }
        let waited_ms = match active.first_timestamp {
            Some(first) if first >= 0 && max_timestamp >= 0 => max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(active.created_ms),
        };
        Ok(waited_ms > segment_ms - jitter_ms)
    }

    /// How much earlier the active segment is closed than by its age: other for each partition and each segment, and the
    /// same whenever it is asked for.
    fn jitter_ms(&self) -> i64 {
        let most = self.config.segment_jitter_ms.min(self.config.segment_ms);
        if most <= 0 {
            return 0;
        }
        let mut hash = crc32c::crc32c(self.dir.as_os_str().as_encoded_bytes());
        if let Some(active) = self.active() {
            hash = crc32c::crc32c_append(hash, &active.base_offset.to_be_bytes());
        }
        // A 32-bit fraction of the most.
        i64::try_from((i128::from(most) * i128::from(hash)) >> 32).unwrap_or(0)
    }

    /// Writes the bytes at the end of the active segment and returns where they begin.
    fn write_active(&mut self, records: &[u8]) -> Result<u64, AppendError> {
        let storage = Arc::clone(&self.storage);
        let Some(active) = self.segments.last_mut() else {
            return Err(AppendError::Log(self.go_offline(LogError::Offline {
                dir: self.dir.to_path_buf(),
                reason: "it has no segment".to_owned(),
            })));
        };
        let (start, path) = (active.size, active.path(LOG_SUFFIX));
        if start == 0 {
            let created = active.create_file(storage.as_ref());
            self.directory_changed = true;
            if let Err(source) = created {
                return Err(self.write_failed(LogError::Io { action: "create", path, source }));
            }
        }
        let Some(active) = self.segments.last_mut() else { return Ok(start) };
        let file = Arc::clone(active.file(storage.as_ref())?);
        match file.write_at(start, records) {
            Ok(()) => {
                active.size += records.len() as u64;
                Ok(start)
            }
            Err(source) => {
                let refused = self.write_failed(LogError::Io { action: "write", path: path.clone(), source });
                if matches!(refused, AppendError::NoSpace { .. })
                    && let Err(source) = file.truncate(start)
                {
                    return Err(self.go_offline(LogError::Io { action: "truncate", path, source }).into());
                }
                Err(refused)
            }
        }
    }

    /// Takes note of batches that are in the active segment from position `start` on.
    fn note(&mut self, records: &[u8], headers: &[(usize, Header)], start: u64) -> Result<(), LogError> {
        let storage = Arc::clone(&self.storage);
        let interval = self.config.index_interval_bytes;
        if let Some(active) = self.segments.last_mut() {
            let base_offset = active.base_offset;
            if start == 0 && active.first_timestamp.is_none() {
                active.first_timestamp = headers.first().map(|(_, header)| header.max_timestamp);
            }
            let indexes = active.indexes_mut(storage.as_ref(), interval)?;
            for (position, header) in headers {
                indexes.add(base_offset, start + *position as u64, header, interval);
            }
        }
        for (position, header) in headers {
            self.epochs_changed |= self.epochs.assign(header.partition_leader_epoch, header.base_offset);
            let marker = if header.attributes.is_control() {
                batch::marker(records.get(*position..).unwrap_or_default()).unwrap_or_default()
            } else {
                None
            };
            let aborted = self.producers.update(header, marker, self.high_watermark);
            if let (Some(aborted), Some(active)) = (aborted, self.segments.last_mut()) {
                active.aborted_mut(storage.as_ref())?.push(aborted);
            }
            self.log_end_offset = header.last_offset() + 1;
        }
        Ok(())
    }
}

fn refused(refusal: Refusal, producer_id: i64, epoch: i16, sequence: i32, coordinator_epoch: i32) -> AppendError {
    match refusal {
        Refusal::InvalidProducerEpoch { known_epoch } => {
            AppendError::InvalidProducerEpoch { producer_id, epoch, known_epoch }
        }
        Refusal::OutOfOrderSequence { last_sequence } => {
            AppendError::OutOfOrderSequence { producer_id, epoch, sequence, last_sequence }
        }
        Refusal::InvalidTxnState { reason } => AppendError::InvalidTxnState { producer_id, epoch, reason },
        Refusal::TransactionCoordinatorFenced { known_epoch } => {
            AppendError::TransactionCoordinatorFenced { producer_id, coordinator_epoch, known_epoch }
        }
    }
}

fn corrupt(position: usize, error: RecordError) -> AppendError {
    AppendError::CorruptMessage { position, reason: error.to_string() }
}
