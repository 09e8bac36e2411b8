//! One segment: a `.log` file named by its first offset, with its indexes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::batch::{Header, NO_TIMESTAMP};
use super::error::LogError;
use super::offset_index::OffsetIndex;
use super::time_index::TimeIndex;
use super::transaction::AbortedTransaction;
use super::transaction_index;
use super::truncate::remove_if_there;
use super::walk::{Walk, WalkError};
use crate::storage::{Storage, StorageFile, read_file};

pub(crate) const LOG_SUFFIX: &str = ".log";
pub(crate) const INDEX_SUFFIX: &str = ".index";
pub(crate) const TIME_INDEX_SUFFIX: &str = ".timeindex";
pub(crate) const SNAPSHOT_SUFFIX: &str = ".snapshot";
pub(crate) const TXN_INDEX_SUFFIX: &str = ".txnindex";
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

/// The path of a segment's file: its base offset in 20 digits, and what kind of file it is.
pub(crate) fn file_path(dir: &Path, offset: i64, suffix: &str) -> PathBuf {
    dir.join(format!("{offset:020}{suffix}"))
}

/// The offset in a file name with this suffix.
pub(crate) fn offset_of(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// What is known of a segment's contents without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Indexes {
    pub offset: OffsetIndex,
    pub time: TimeIndex,
    /// The greatest timestamp in the segment, and the last offset of the first batch that has it.
    pub max_timestamp: i64,
    pub max_timestamp_offset: i64,
    bytes_since_entry: u64,
}

impl Indexes {
    pub fn new() -> Self {
        Indexes {
            offset: OffsetIndex::default(),
            time: TimeIndex::default(),
            max_timestamp: NO_TIMESTAMP,
            max_timestamp_offset: -1,
            bytes_since_entry: 0,
        }
    }

    /// Takes note of a batch that lies at this position of the segment.
    pub fn add(&mut self, segment_base: i64, position: u64, header: &Header, interval_bytes: u32) {
        // What the cleaner has emptied keeps its time and has no record of it.
        if header.record_count > 0 && header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.last_offset();
        }
        if self.bytes_since_entry > u64::from(interval_bytes) {
            let relative = u32::try_from(header.last_offset() - segment_base);
            if let (Ok(relative), Ok(position)) = (relative, u32::try_from(position)) {
                self.offset.append(relative, position);
                self.add_time_entry(segment_base);
                self.bytes_since_entry = 0;
            }
        }
        self.bytes_since_entry += header.total_len() as u64;
    }

    /// Makes the newest time findable; done for every entry, and once more when the segment is closed.
    pub fn add_time_entry(&mut self, segment_base: i64) {
        if let Ok(relative) = u32::try_from(self.max_timestamp_offset.saturating_sub(segment_base)) {
            self.time.maybe_append(self.max_timestamp, relative);
        }
    }
}

/// A segment of a log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub base_offset: i64,
    /// Bytes of whole batches in the `.log` file.
    pub size: u64,
    /// When the segment was made or found, for `segment.ms` where its batches bear no time.
    pub created_ms: i64,
    /// Maximum timestamp of the first batch, once known.
    pub first_timestamp: Option<i64>,
    dir: Arc<Path>,
    file: OnceLock<Arc<dyn StorageFile>>,
    indexes: OnceLock<Indexes>,
    /// The transaction index: the aborted transactions whose markers are in this segment.
    aborted: OnceLock<Vec<AbortedTransaction>>,
}

impl Segment {
    /// A segment whose `.log` file, if it has any bytes, is not yet looked at.
    pub fn existing(dir: &Arc<Path>, base_offset: i64, size: u64, now_ms: i64) -> Self {
        Segment {
            base_offset,
            size,
            created_ms: now_ms,
            first_timestamp: None,
            dir: Arc::clone(dir),
            file: OnceLock::new(),
            indexes: OnceLock::new(),
            aborted: OnceLock::new(),
        }
    }

    /// A segment without a batch. Its file is made by the first write, or by [`Segment::create_file`].
    pub fn empty(dir: &Arc<Path>, base_offset: i64, now_ms: i64) -> Self {
        let segment = Self::existing(dir, base_offset, 0, now_ms);
        // The locks are new, so the values go in.
        let _ = segment.indexes.set(Indexes::new());
        let _ = segment.aborted.set(Vec::new());
        segment
    }

    pub fn path(&self, suffix: &str) -> PathBuf {
        file_path(&self.dir, self.base_offset, suffix)
    }

    /// An offset as the index knows it. One below the segment lies in a hole before it, and its first batch comes next.
    pub fn relative(&self, offset: i64) -> u32 {
        u32::try_from(offset.saturating_sub(self.base_offset).max(0)).unwrap_or(u32::MAX)
    }

    pub fn create_file(&self, storage: &dyn Storage) -> io::Result<()> {
        let file = storage.open_or_create(&self.path(LOG_SUFFIX))?;
        if !file.is_empty()? {
            // Left by an earlier attempt that a crash cut short, and beyond the end of the log.
            file.truncate(0)?;
        }
        let _ = self.file.set(file);
        Ok(())
    }

    /// The `.log` file, opened when it is first needed.
    pub fn file(&self, storage: &dyn Storage) -> Result<&Arc<dyn StorageFile>, LogError> {
        if self.file.get().is_none() {
            let path = self.path(LOG_SUFFIX);
            let file = storage.open(&path).map_err(|source| LogError::Io { action: "open", path, source })?;
            // Another reader may have been quicker; its handle is as good.
            let _ = self.file.set(file);
        }
        match self.file.get() {
            Some(file) => Ok(file),
            None => Err(LogError::Io {
                action: "open",
                path: self.path(LOG_SUFFIX),
                source: io::Error::other("the handle was lost"),
            }),
        }
    }

    /// Closes the file until it is needed again.
    pub fn release_file(&mut self) {
        self.file = OnceLock::new();
    }

    pub fn read_error(&self, source: io::Error) -> LogError {
        LogError::Io { action: "read", path: self.path(LOG_SUFFIX), source }
    }

    pub fn walk_error(&self, error: WalkError) -> LogError {
        match error {
            WalkError::Io(source) => self.read_error(source),
            WalkError::Malformed { position, reason } => {
                LogError::Corrupt { path: self.path(LOG_SUFFIX), position, reason: reason.to_string() }
            }
        }
    }

    pub fn set_indexes(&mut self, indexes: Indexes) {
        self.indexes = OnceLock::from(indexes);
    }

    /// The indexes, read from their files when first needed, or rebuilt from the log where those are missing or wrong.
    pub fn indexes(&self, storage: &dyn Storage, interval_bytes: u32) -> Result<&Indexes, LogError> {
        if self.indexes.get().is_none() {
            let (indexes, _, _) = self.load_indexes(storage, interval_bytes)?;
            let _ = self.indexes.set(indexes);
        }
        match self.indexes.get() {
            Some(indexes) => Ok(indexes),
            None => Err(self.read_error(io::Error::other("the index was lost"))),
        }
    }

    /// As [`Segment::indexes`], for a change.
    pub fn indexes_mut(&mut self, storage: &dyn Storage, interval_bytes: u32) -> Result<&mut Indexes, LogError> {
        self.indexes(storage, interval_bytes)?;
        let path = self.path(INDEX_SUFFIX);
        self.indexes.get_mut().ok_or_else(|| LogError::Io {
            action: "read",
            path,
            source: io::Error::other("the index was lost"),
        })
    }

    pub fn set_aborted(&mut self, aborted: Vec<AbortedTransaction>) {
        self.aborted = OnceLock::from(aborted);
    }

    /// The transaction index, read from its file when first needed.
    pub fn aborted(&self, storage: &dyn Storage) -> Result<&[AbortedTransaction], LogError> {
        if self.aborted.get().is_none() {
            let aborted = self.read_transaction_index(storage)?;
            let _ = self.aborted.set(aborted);
        }
        Ok(self.aborted.get().map(Vec::as_slice).unwrap_or_default())
    }

    /// As [`Segment::aborted`], for a change.
    pub fn aborted_mut(&mut self, storage: &dyn Storage) -> Result<&mut Vec<AbortedTransaction>, LogError> {
        self.aborted(storage)?;
        let path = self.path(TXN_INDEX_SUFFIX);
        let lost = || LogError::Io { action: "read", path, source: io::Error::other("the index was lost") };
        self.aborted.get_mut().ok_or_else(lost)
    }

    /// Reads the file of the transaction index.
    pub fn read_transaction_index(&self, storage: &dyn Storage) -> Result<Vec<AbortedTransaction>, LogError> {
        let path = self.path(TXN_INDEX_SUFFIX);
        match read_file(storage, &path) {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(bytes)) => transaction_index::decode(&bytes, self.base_offset)
                .map_err(|reason| LogError::Corrupt { path, position: 0, reason: reason.to_owned() }),
            Err(source) => Err(LogError::Io { action: "read", path, source }),
        }
    }

    /// The paths of the files beside the log that [`Segment::write_index_files`] has written.
    pub fn index_paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let has_aborted = self.aborted.get().is_some_and(|aborted| !aborted.is_empty());
        let transactions = has_aborted.then_some(TXN_INDEX_SUFFIX);
        [INDEX_SUFFIX, TIME_INDEX_SUFFIX].into_iter().chain(transactions).map(|suffix| self.path(suffix))
    }

    /// Reads the index files and catches up with the batches behind their last entry. Returns also the offset after the
    /// segment's last batch, and whether a file had to be rebuilt.
    pub fn load_indexes(&self, storage: &dyn Storage, interval_bytes: u32) -> Result<(Indexes, i64, bool), LogError> {
        match self.read_index_files(storage)? {
            Some((offset, time)) => {
                let (indexes, next) = self.catch_up(storage, offset, time, interval_bytes)?;
                Ok((indexes, next, false))
            }
            None => {
                let (indexes, next) =
                    self.catch_up(storage, OffsetIndex::default(), TimeIndex::default(), interval_bytes)?;
                Ok((indexes, next, true))
            }
        }
    }

    fn read_index_files(&self, storage: &dyn Storage) -> Result<Option<(OffsetIndex, TimeIndex)>, LogError> {
        let read = |suffix| {
            let path = self.path(suffix);
            read_file(storage, &path).map_err(|source| LogError::Io { action: "read", path, source })
        };
        let (Some(offset), Some(time)) = (read(INDEX_SUFFIX)?, read(TIME_INDEX_SUFFIX)?) else { return Ok(None) };
        let decoded = (OffsetIndex::decode(&offset, self.size), TimeIndex::decode(&time));
        match decoded {
            (Ok(offset), Ok(time)) => Ok(Some((offset, time))),
            (Err(reason), _) | (_, Err(reason)) => {
                tracing::warn!(segment = %self.path(LOG_SUFFIX).display(), reason, "an index is corrupt and is rebuilt");
                Ok(None)
            }
        }
    }

    /// Builds the indexes from what the given ones know and a walk over the headers behind their last entry.
    pub fn catch_up(
        &self,
        storage: &dyn Storage,
        offset: OffsetIndex,
        time: TimeIndex,
        interval_bytes: u32,
    ) -> Result<(Indexes, i64), LogError> {
        let from_entry = offset.last();
        let mut indexes = Indexes { offset, time, ..Indexes::new() };
        if let Some(entry) = indexes.time.last() {
            indexes.max_timestamp = entry.timestamp;
            indexes.max_timestamp_offset = self.base_offset + i64::from(entry.relative_offset);
        }
        let mut next_offset = self.base_offset;
        if self.size == 0 {
            return Ok((indexes, next_offset));
        }
        let start = from_entry.map_or(0, |entry| u64::from(entry.position));
        let mut walk = Walk::headers(self.file(storage)?.as_ref(), start, self.size);
        while let Some((position, header, _)) = walk.next().map_err(|error| self.walk_error(error))? {
            indexes.add(self.base_offset, position, &header, interval_bytes);
            next_offset = header.last_offset() + 1;
        }
        Ok((indexes, next_offset))
    }

    /// The position of the first batch whose last offset is at least `offset`, with its header.
    pub fn find_batch(
        &self,
        storage: &dyn Storage,
        offset: i64,
        interval_bytes: u32,
    ) -> Result<Option<(u64, Header)>, LogError> {
        let (start, _) = self.indexes(storage, interval_bytes)?.offset.lookup(self.relative(offset));
        if self.size == 0 {
            return Ok(None);
        }
        let mut walk = Walk::headers(self.file(storage)?.as_ref(), u64::from(start), self.size);
        while let Some((position, header, _)) = walk.next().map_err(|error| self.walk_error(error))? {
            if header.last_offset() >= offset {
                return Ok(Some((position, header)));
            }
        }
        Ok(None)
    }

    /// The first batch with a maximum timestamp of at least `timestamp`.
    pub fn find_batch_by_time(
        &self,
        storage: &dyn Storage,
        timestamp: i64,
        starting_offset: i64,
        interval_bytes: u32,
    ) -> Result<Option<(u64, Header)>, LogError> {
        let indexes = self.indexes(storage, interval_bytes)?;
        if indexes.max_timestamp < timestamp || self.size == 0 {
            return Ok(None);
        }
        let starting = u32::try_from(starting_offset.saturating_sub(self.base_offset)).unwrap_or(0);
        let (start, _) = indexes.offset.lookup(indexes.time.lookup(timestamp).max(starting));
        let mut walk = Walk::headers(self.file(storage)?.as_ref(), u64::from(start), self.size);
        while let Some((position, header, _)) = walk.next().map_err(|error| self.walk_error(error))? {
            if header.max_timestamp >= timestamp && header.last_offset() >= starting_offset {
                return Ok(Some((position, header)));
            }
        }
        Ok(None)
    }

    /// Writes the index files anew, so that they hold their entries and nothing else. The transaction index has a file
    /// only where there is an aborted transaction. Does not sync.
    pub fn write_index_files(&mut self, storage: &dyn Storage, interval_bytes: u32) -> Result<(), LogError> {
        let base_offset = self.base_offset;
        let indexes = self.indexes_mut(storage, interval_bytes)?;
        indexes.add_time_entry(base_offset);
        let files = [(INDEX_SUFFIX, indexes.offset.encode()), (TIME_INDEX_SUFFIX, indexes.time.encode())];
        for (suffix, bytes) in files {
            overwrite(storage, &self.path(suffix), &bytes)?;
        }
        self.write_transaction_index(storage)
    }

    /// Writes the file of the transaction index, or removes it where the index is empty. One that nobody has asked for
    /// is in its file as it was.
    pub fn write_transaction_index(&self, storage: &dyn Storage) -> Result<(), LogError> {
        let path = self.path(TXN_INDEX_SUFFIX);
        match self.aborted.get() {
            None => Ok(()),
            Some(aborted) if aborted.is_empty() => remove_if_there(storage, &path),
            Some(aborted) => overwrite(storage, &path, &transaction_index::encode(aborted)),
        }
    }
}

/// Writes a file anew, without syncing it.
pub(crate) fn overwrite(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let write = || {
        let file = storage.open_or_create(path)?;
        if !file.is_empty()? {
            file.truncate(0)?;
        }
        if bytes.is_empty() { Ok(()) } else { file.write_at(0, bytes) }
    };
    write().map_err(|source| LogError::Io { action: "write", path: path.to_owned(), source })
}
