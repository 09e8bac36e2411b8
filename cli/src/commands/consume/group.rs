//! What a member of a group commits: what was written to stdout and, where that is a pipe, has been read from it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rkafka::consumer::{CommittedOffset, ConsumerHandle, HookFuture, RebalanceListener, Result, TopicPartition};

use super::output::Pipe;

/// How often it is looked whether the reader has come on.
const LOOK: Duration = Duration::from_millis(5);

/// How long a reader may take for what is in the pipe when partitions are to be given up. What it has not read then, the next
/// owner of the partition prints again.
const GIVING_UP: Duration = Duration::from_secs(1);

/// The offsets up to which was written, and not committed yet.
///
/// **Invariant.** No offset is committed while a record before it is in the pipe and has not been read. Whether a reader has
/// done anything with what it has read cannot be seen from here.
#[derive(Debug, Clone)]
pub struct Written {
    offsets: Arc<Mutex<Offsets>>,
    pipe: Pipe,
}

#[derive(Debug, Default)]
struct Offsets {
    /// Written, in order: the number of bytes after it, and what it was.
    in_pipe: VecDeque<(u64, TopicPartition, i64)>,
    /// How many bytes have been written up to the last of these.
    bytes: u64,
    /// Read, and to be committed.
    read: HashMap<TopicPartition, i64>,
}

impl Offsets {
    fn note(&mut self, bytes: u64, partition: TopicPartition, next_offset: i64) {
        self.bytes = bytes;
        self.in_pipe.push_back((bytes, partition, next_offset));
    }

    /// Moves on what has been read, where so many bytes have not.
    fn come_on(&mut self, unread: u64) {
        // What was written behind the last of these counts as if it were theirs, which is too few rather than too many.
        let read = self.bytes.saturating_sub(unread);
        while self.in_pipe.front().is_some_and(|(bytes, ..)| *bytes <= read)
            && let Some((_, partition, next_offset)) = self.in_pipe.pop_front()
        {
            self.read.insert(partition, next_offset);
        }
    }
}

impl Written {
    /// Nothing yet.
    pub fn to(pipe: Pipe) -> Self {
        Self { offsets: Arc::default(), pipe }
    }

    fn lock(&self) -> MutexGuard<'_, Offsets> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything of the partition below `next_offset` is written, and `bytes` in all.
    pub fn note(&self, bytes: u64, partition: TopicPartition, next_offset: i64) {
        self.lock().note(bytes, partition, next_offset);
    }

    /// Forgets all that is not committed: the group gets it again.
    pub fn forget(&self) {
        *self.lock() = Offsets::default();
    }

    /// Waits until everything that was written is read. Cancel safe.
    #[expect(clippy::disallowed_methods, reason = "a pipe does not say when it is read")]
    pub async fn until_read(&self) {
        while !self.lock().in_pipe.is_empty() && self.pipe.unread() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Commits what has been read, and waits until the group has it.
    pub async fn commit(&self, handle: &ConsumerHandle) -> Result<()> {
        let offsets: Vec<_> = {
            let mut offsets = self.lock();
            offsets.come_on(self.pipe.unread());
            offsets.read.drain().collect()
        };
        commit(handle, offsets).await
    }
}

async fn commit(handle: &ConsumerHandle, offsets: Vec<(TopicPartition, i64)>) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    handle.commit_offsets(offsets.into_iter().map(|(place, offset)| (place, CommittedOffset::new(offset)))).await
}

impl RebalanceListener for Written {
    fn on_revoked<'a>(&'a self, handle: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async move {
            // Its time over, what has been read is committed all the same.
            let _ = tokio::time::timeout(GIVING_UP, self.until_read()).await;
            let offsets: Vec<_> = {
                let mut written = self.lock();
                written.come_on(self.pipe.unread());
                written.in_pipe.retain(|(_, partition, _)| !partitions.contains(partition));
                partitions.iter().filter_map(|partition| written.read.remove_entry(partition)).collect()
            };
            if let Err(error) = commit(handle, offsets).await {
                tracing::warn!(%error, "not committed before the partitions are given up; others read the records again");
            }
        })
    }

    fn on_lost<'a>(&'a self, _handle: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        let mut written = self.lock();
        written.in_pipe.retain(|(_, partition, _)| !partitions.contains(partition));
        partitions.iter().for_each(|partition| {
            written.read.remove(partition);
        });
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_read_moves_on() {
        let place = |number| TopicPartition::new("t", number);
        let mut offsets = Offsets::default();
        offsets.note(100, place(0), 10);
        offsets.note(250, place(1), 5);
        offsets.note(300, place(0), 12);
        offsets.come_on(300);
        assert!(offsets.read.is_empty());
        offsets.come_on(200);
        assert_eq!(offsets.read, HashMap::from([(place(0), 10)]));
        offsets.come_on(1);
        assert_eq!(offsets.read, HashMap::from([(place(0), 10), (place(1), 5)]));
        // More is in the pipe than what was noted: of what is written just now.
        offsets.come_on(5_000);
        assert_eq!(offsets.in_pipe.len(), 1);
        offsets.come_on(0);
        assert_eq!(offsets.read[&place(0)], 12);
        assert!(offsets.in_pipe.is_empty());
    }
}
