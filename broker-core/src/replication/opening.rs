//! How a partition's log is opened when it is first needed.

use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use super::log_dir::LogDir;
use super::partition::Partition;
use super::role::Role;
use crate::log::{Log, LogConfig, LogError, OpenState, checkpoints};
use crate::storage::Storage;

/// What it takes to open the partition's log when it is first needed.
#[derive(Debug)]
pub(crate) struct Opening {
    pub storage: Arc<dyn Storage>,
    pub dir: PathBuf,
    /// The data directory in which `dir` lies.
    pub log_dir: Arc<LogDir>,
    pub config: LogConfig,
    pub state: OpenState,
}

impl Opening {
    /// Opens the log of `partition`, and sees to it that the directory is that of its topic.
    pub(super) fn open(&self, partition: &Partition, role: &mut Role, now_ms: i64) -> Result<Log, LogError> {
        let storage = &self.storage;
        let mut state = self.state;
        match checkpoints::read_partition_metadata(storage.as_ref(), &self.dir)? {
            Some(id) if id == partition.topic_id => {}
            Some(other) => {
                // The directory of an earlier topic of this name, whose removal did not come to its end.
                tracing::warn!(dir = %self.dir.display(), %other, "the log of a deleted topic is removed");
                let removed = storage.remove_dir_all(&self.dir);
                removed.map_err(|source| LogError::Io { action: "remove", path: self.dir.clone(), source })?;
                state = OpenState::clean();
                self.bind_directory(partition.topic_id)?;
            }
            None => self.bind_directory(partition.topic_id)?,
        }
        if let Role::Leader(book) = role
            && book.is_alone()
        {
            // Nobody else has anything, so all that is here is replicated.
            state.high_watermark = i64::MAX;
        }
        let (mut log, report) = Log::open(Arc::clone(storage), self.dir.clone(), self.config.clone(), state, now_ms)?;
        if report.truncated_bytes > 0 || report.segments_removed > 0 {
            tracing::warn!(
                topic = %partition.topic,
                partition = partition.index,
                truncated_bytes = report.truncated_bytes,
                segments_removed = report.segments_removed,
                reason = report.truncation_reason.as_deref().unwrap_or_default(),
                log_end_offset = log.log_end_offset(),
                "the log was cut off behind its last valid batch"
            );
        }
        if let Role::Leader(book) = role {
            log.begin_leader_epoch(book.leader_epoch());
            book.begin_at(log.log_end_offset());
        }
        if log.config().group_commit && log.synced_end() < log.log_end_offset() {
            // What an earlier broker wrote and did not sync is for readers once it is synced.
            log.flush()?;
        }
        Ok(log)
    }

    fn bind_directory(&self, topic_id: Uuid) -> Result<(), LogError> {
        let created = self.storage.create_dir_all(&self.dir);
        created.map_err(|source| LogError::Io { action: "create", path: self.dir.clone(), source })?;
        checkpoints::write_partition_metadata(self.storage.as_ref(), &self.dir, topic_id)
    }
}
