//! The controller's log and the image that is published of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use rkafka_protocol::messages::LeaderChangeMessage;
use rkafka_protocol::messages::leader_change_message::Voter;
use rkafka_protocol::records::{
    BatchIter, BatchOptions, ControlRecordType, DecompressArena, RecordError, encode_batch, encode_control_batch,
};
use rkafka_protocol::wire::{EncodeError, encode_to_vec};
use thiserror::Error;
use tokio::sync::Notify;

use super::records;
use super::{Decision, MetadataImage, MetadataRecord};
use crate::locks::{lock, read, write};
use crate::log::{AppendError, Log, LogConfig, LogError, OpenState};
use crate::storage::Storage;

/// The directory of the metadata log inside the first log directory, as KRaft has it.
pub(crate) const DIRECTORY: &str = "__cluster_metadata-0";
/// How much of the log is read at once while it is replayed.
const REPLAY_BYTES: usize = 1024 * 1024;

/// Why the metadata could not be read or changed.
#[derive(Debug, Error)]
pub(crate) enum ControllerError {
    /// The metadata log cannot be read, synced or closed.
    #[error("the metadata log failed: {0}")]
    Log(#[from] LogError),
    /// Nothing was changed, for the metadata log takes no records.
    #[error("the metadata log takes no records: {0}")]
    Append(#[from] AppendError),
    /// A batch of the metadata log cannot be read or made.
    #[error("a batch of the metadata log is not valid: {0}")]
    Batch(#[from] RecordError),
    /// A record of the metadata log cannot be read.
    #[error("the record at offset {offset} of the metadata log cannot be read: {source}")]
    Record {
        /// The record's offset.
        offset: i64,
        /// What is wrong.
        source: records::RecordError,
    },
    /// A record cannot be written.
    #[error("a metadata record cannot be written: {0}")]
    Encode(#[from] EncodeError),
}

#[derive(Debug)]
struct Inner {
    log: Log,
    epoch: i32,
    image: MetadataImage,
}

/// The one controller of a broker that is alone.
#[derive(Debug)]
pub(crate) struct Controller {
    /// `None` once it is closed.
    inner: Mutex<Option<Inner>>,
    published: RwLock<Arc<MetadataImage>>,
    /// The images that were committed and that nobody has acted upon yet, in their order.
    committed: Mutex<VecDeque<Arc<MetadataImage>>>,
    /// Told when there is one more.
    more: Notify,
}

/// A decision whose records are committed.
#[derive(Debug)]
pub(crate) struct Committed<R> {
    pub reply: R,
    /// The offset behind what the reply rests on: the decision's records, or the image that it was made on where it has
    /// none.
    pub up_to: i64,
}

impl Controller {
    /// Opens the metadata log, replays it, and begins a new leader epoch in it.
    pub fn open(
        storage: Arc<dyn Storage>,
        log_dir: &Path,
        node_id: i32,
        state: OpenState,
        now_ms: i64,
    ) -> Result<Self, ControllerError> {
        let config = LogConfig { max_message_bytes: 8 * 1024 * 1024, segment_ms: i64::MAX, ..LogConfig::default() };
        let (mut log, _) = Log::open(storage, log_dir.join(DIRECTORY), config, state, now_ms)?;
        let mut image = MetadataImage::default();
        replay_log(&log, &mut image)?;
        let epoch = log.latest_epoch().map_or(1, |epoch| epoch.saturating_add(1));
        log.begin_leader_epoch(epoch);
        let voter = Voter { voter_id: node_id, ..Default::default() };
        // Version 0 is what Kafka's own tools read, whatever the version in the message says.
        let elected = LeaderChangeMessage {
            version: 0,
            leader_id: node_id,
            voters: vec![voter.clone()],
            granting_voters: vec![voter],
            ..Default::default()
        };
        let elected = encode_to_vec(&elected, 0)?;
        let options = BatchOptions::at(log.log_end_offset(), epoch);
        let mut batch =
            encode_control_batch(options, now_ms, [(ControlRecordType::LeaderChange, &elected[..])])?.into_bytes();
        log.append_internal(&mut batch, None, epoch, now_ms)?;
        log.flush()?;
        image.advance_to(log.log_end_offset());
        let published = RwLock::new(Arc::new(image.clone()));
        let inner = Mutex::new(Some(Inner { log, epoch, image }));
        Ok(Self { inner, published, committed: Mutex::default(), more: Notify::new() })
    }

    /// The image of what is committed. It does not change; the next call may give another.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&read(&self.published))
    }

    /// Why the metadata log takes no records any more, if its disk failed.
    pub fn offline_reason(&self) -> Option<String> {
        let inner = lock(&self.inner);
        inner.as_ref().and_then(|inner| inner.log.offline_reason()).map(str::to_owned)
    }

    /// The epoch of this node as the leader of the metadata log, and the end of that log; `None` once it is closed.
    pub fn epoch_and_end(&self) -> Option<(i32, i64)> {
        let inner = lock(&self.inner);
        inner.as_ref().map(|inner| (inner.epoch, inner.log.log_end_offset()))
    }

    /// The next image that was committed, to be acted upon; waits where there is none. Every image comes once, in the
    /// order of the log. Cancel safe.
    pub async fn next_committed(&self) -> Arc<MetadataImage> {
        loop {
            if let Some(image) = lock(&self.committed).pop_front() {
                return image;
            }
            self.more.notified().await;
        }
    }

    /// Decides on the present image, and waits until the records are committed. What follows from them is up to whoever
    /// asks for [`Controller::next_committed`].
    ///
    /// Not cancel safe: where the future is dropped, the decision may be committed or not.
    ///
    /// # Errors
    /// The log failed. Nothing was changed then.
    #[expect(clippy::unused_async, reason = "with several controllers a decision waits for the others")]
    pub async fn submit<R>(
        &self,
        now_ms: i64,
        decide: impl FnOnce(&MetadataImage) -> Decision<R>,
    ) -> Result<Committed<R>, ControllerError> {
        let mut inner = lock(&self.inner);
        let Some(Inner { log, epoch, image }) = inner.as_mut() else { return Err(closed().into()) };
        let Decision { records, reply } = decide(image);
        if records.is_empty() {
            return Ok(Committed { reply, up_to: image.next_offset() });
        }
        let encoded = records.iter().map(MetadataRecord::encode).collect::<Result<Vec<Bytes>, _>>()?;
        let options = BatchOptions::at(log.log_end_offset(), *epoch);
        let batch = encode_batch(Vec::new(), options, now_ms, encoded.iter().map(|value| (None, Some(&value[..]))))?;
        let appended = log.append_internal(&mut batch.into_bytes(), None, *epoch, now_ms)?;
        // As a KRaft leader does before it counts itself: what was acknowledged about metadata is on the disk.
        log.flush()?;
        for (offset, record) in (appended.base_offset..).zip(&records) {
            image.replay(offset, record);
        }
        let committed = Arc::new(image.clone());
        *write(&self.published) = Arc::clone(&committed);
        lock(&self.committed).push_back(committed);
        self.more.notify_one();
        Ok(Committed { reply, up_to: image.next_offset() })
    }

    /// Ends the log so that nothing can be written to it any more; a `clean` end can be opened without recovery.
    /// Answers the recovery point.
    pub fn close(&self, clean: bool) -> Result<i64, ControllerError> {
        let inner = lock(&self.inner).take();
        match inner {
            Some(inner) if clean => Ok(inner.log.close_clean()?),
            _ => Ok(0),
        }
    }
}

fn closed() -> LogError {
    LogError::Offline { dir: DIRECTORY.into(), reason: "the broker is stopping".to_owned() }
}

/// Takes every record of the log into the image.
pub(super) fn replay_log(log: &Log, image: &mut MetadataImage) -> Result<(), ControllerError> {
    let end = log.log_end_offset();
    let mut arena = DecompressArena::default();
    let mut from = log.log_start_offset();
    while from < end {
        let read = log.read(from, REPLAY_BYTES, end, true)?;
        if read.next_offset <= from {
            break;
        }
        for batch in BatchIter::new(&read.records) {
            let batch = batch?;
            if batch.header().attributes.is_control() {
                continue;
            }
            for record in batch.records(&mut arena)? {
                let record = record?;
                let Some(value) = record.value else { continue };
                let decoded = MetadataRecord::decode(Bytes::copy_from_slice(value))
                    .map_err(|source| ControllerError::Record { offset: record.offset, source })?;
                image.replay(record.offset, &decoded);
            }
        }
        from = read.next_offset;
    }
    image.advance_to(end);
    Ok(())
}

#[cfg(test)]
impl Controller {
    /// As [`Controller::submit`], for tests without a runtime.
    pub fn submit_now<R>(
        &self,
        now_ms: i64,
        decide: impl FnOnce(&MetadataImage) -> Decision<R>,
    ) -> Result<R, ControllerError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.submit(now_ms, decide)).map(|committed| committed.reply)
    }

    /// The image that the log makes when it is replayed from its start.
    pub fn replayed(&self) -> MetadataImage {
        let inner = self.inner.lock().unwrap();
        let mut image = MetadataImage::default();
        replay_log(&inner.as_ref().unwrap().log, &mut image).unwrap();
        image
    }
}
