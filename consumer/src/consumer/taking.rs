//! Taking records: by batches, one by one, as a stream, with a wait and without.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use rkafka_protocol::records::{RecordCursor, RecordError};

use super::Consumer;
use crate::batch::Batch;
use crate::clock;
use crate::config::IsolationLevel;
use crate::error::{ConsumerError, PartitionError, Result};
use crate::record::{ConsumerRecord, SharedBatch};
use crate::shared::Mode;
use crate::subscription::TopicPartition;
use crate::unpack::Unpacker;
use crate::waiting::{Waits, waiting};

/// The chunk at hand, and the batch of it whose records are taken one by one.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) unpacker: Unpacker,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    shared: Arc<SharedBatch>,
    cursor: RecordCursor,
}

impl Consumer {
    /// Waits for the next batch. Control batches, aborted transactions (under `read_committed`) and batches without
    /// records are passed over.
    ///
    /// Cancel safe: a batch counts as handed out only when this returns it.
    ///
    /// # Errors
    /// Trouble of a partition, after which the others go on and this can be called again; or an error that
    /// [is fatal](ConsumerError::is_fatal).
    pub async fn next_batch(&mut self) -> Result<Batch> {
        loop {
            if let Some(result) = waiting(self, |consumer, context| consumer.poll_next_batch(context, false)).await {
                return result;
            }
        }
    }

    /// As [`next_batch`](Self::next_batch), and `None` once every assigned partition that is not paused was read to the
    /// end that the last fetch told. More may come later: the next call then gives it. Cancel safe.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn next_batch_until_end(&mut self) -> Result<Option<Batch>> {
        waiting(self, |consumer, context| consumer.poll_next_batch(context, true)).await.transpose()
    }

    /// Waits for the next record. Cancel safe: a record counts as handed out only when this returns it.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn recv(&mut self) -> Result<ConsumerRecord> {
        loop {
            if let Some(result) = waiting(self, |consumer, context| consumer.poll_recv(context, false)).await {
                return result;
            }
        }
    }

    /// As [`recv`](Self::recv), and `None` at the end, as [`next_batch_until_end`](Self::next_batch_until_end). Cancel
    /// safe.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn recv_until_end(&mut self) -> Result<Option<ConsumerRecord>> {
        waiting(self, |consumer, context| consumer.poll_recv(context, true)).await.transpose()
    }

    /// Waits for a record, and takes what more is there without a wait, `max.poll.records` at most. Gives how many were
    /// put at the end of `records`. Cancel safe: it takes nothing before it returns.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch); where some records came before the error, those are given, and the error
    /// comes with the next call.
    pub async fn recv_many(&mut self, records: &mut Vec<ConsumerRecord>) -> Result<usize> {
        records.push(self.recv().await?);
        let mut count = 1;
        while count < self.shared.config.max_poll_records {
            match self.next_in_hand() {
                Some(record) => records.push(record),
                None => break,
            }
            count += 1;
        }
        Ok(count)
    }

    /// The application is back: what it was handed is dealt with.
    #[inline]
    fn come_back(&mut self) {
        self.calls = self.calls.wrapping_add(1);
        self.shared.polls.store(self.calls, Ordering::Relaxed);
        if let Some(current) = &self.current {
            current.unpacker.chunk().progress.settle();
        }
    }

    pub(crate) fn poll_next_batch(
        &mut self,
        context: &mut Context<'_>,
        until_end: bool,
    ) -> Poll<Option<Result<Batch>>> {
        self.come_back();
        if let Some(current) = &mut self.current
            && let Some(open) = current.open.take()
            && current.unpacker.chunk().progress.is_flowing()
            && open.cursor.remaining() > 0
        {
            // The rest of a batch whose first records were taken one by one.
            let progress = &current.unpacker.chunk().progress;
            let batch = Batch { shared: open.shared, from: progress.position().unwrap_or(0) };
            progress.hand_out(batch.next_offset());
            return Poll::Ready(Some(Ok(batch)));
        }
        let polled = ready!(self.poll_open(context, until_end));
        if let (Some(Ok(batch)), Some(current)) = (&polled, &self.current) {
            current.unpacker.chunk().progress.hand_out(batch.next_offset());
        }
        Poll::Ready(polled)
    }

    pub(crate) fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
        until_end: bool,
    ) -> Poll<Option<Result<ConsumerRecord>>> {
        self.come_back();
        loop {
            match self.next_of_open() {
                Some(Ok(record)) => return Poll::Ready(Some(Ok(record))),
                Some(Err(source)) => {
                    let offset = self.at_hand().map_or(0, |(_, _, position)| position);
                    return Poll::Ready(Some(Err(self.damaged(offset, source))));
                }
                None => {}
            }
            match ready!(self.poll_open(context, until_end)) {
                Some(Ok(batch)) => {
                    if let Err((offset, source)) = self.open(batch) {
                        return Poll::Ready(Some(Err(self.damaged(offset, source))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// The next record that is in hand already, without a wait and without an error.
    pub(crate) fn next_in_hand(&mut self) -> Option<ConsumerRecord> {
        loop {
            let current = self.current.as_mut()?;
            if !current.unpacker.chunk().progress.is_flowing() {
                return None;
            }
            if let Some(open) = &current.open {
                // A damaged record is left for the next call, which tells of it.
                let mut ahead = open.cursor.clone();
                match ahead.next_record() {
                    Some(Ok(_)) => return self.next_of_open().and_then(Result::ok),
                    Some(Err(_)) => return None,
                    None => {}
                }
            }
            // The next batch of the same chunk; a damaged one is left for the next call as well.
            let batch = current.unpacker.next_batch(&mut self.arena).ok()??;
            if let Err((offset, source)) = self.open(batch) {
                let error = self.damaged(offset, source);
                self.shared.lock().tell(error);
                return None;
            }
        }
    }

    /// The next record of the batch whose records are taken one by one.
    #[inline]
    fn next_of_open(&mut self) -> Option<Result<ConsumerRecord, RecordError>> {
        let current = self.current.as_mut()?;
        let progress = &current.unpacker.chunk().progress;
        if !progress.is_flowing() {
            return None;
        }
        let open = current.open.as_mut()?;
        match open.cursor.next_record() {
            Some(Ok(view)) => {
                let record = ConsumerRecord::new(&open.shared, &view);
                progress.hand_out(view.offset.saturating_add(1));
                Some(Ok(record))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                // Offsets at the end of the batch that compaction has emptied.
                progress.pass(open.shared.batch.header().next_offset());
                progress.settle();
                current.open = None;
                None
            }
        }
    }

    /// Opens a batch of the current chunk, to take its records one by one.
    fn open(&mut self, batch: Batch) -> Result<(), (i64, RecordError)> {
        let mut cursor = batch.shared.batch.clone().into_cursor();
        cursor.skip_to(batch.from).map_err(|source| (batch.first_offset(), source))?;
        if let Some(current) = &mut self.current {
            current.open = Some(Open { shared: batch.shared, cursor });
        }
        Ok(())
    }

    /// The next batch that may be handed out: of the chunk at hand, else of the next one. It does not count as handed out
    /// yet.
    fn poll_open(&mut self, context: &mut Context<'_>, until_end: bool) -> Poll<Option<Result<Batch>>> {
        loop {
            if let Some(current) = &mut self.current {
                let progress = Arc::clone(&current.unpacker.chunk().progress);
                if !progress.is_flowing() {
                    self.put_back();
                    continue;
                }
                match current.unpacker.next_batch(&mut self.arena) {
                    Ok(Some(batch)) => {
                        progress.begin_batch(batch.shared.batch.header().partition_leader_epoch);
                        self.shared.interceptors.on_consume(&batch);
                        return Poll::Ready(Some(Ok(batch)));
                    }
                    Ok(None) => {
                        let chunk = current.unpacker.chunk();
                        progress.pass(chunk.next_offset);
                        progress.settle();
                        self.shared.metrics.chunk_done(&self.shared, &chunk.topic, chunk.partition, clock::now());
                        self.current = None;
                    }
                    Err(damage) => return Poll::Ready(Some(Err(self.damaged(damage.offset, damage.source)))),
                }
            }
            match ready!(self.poll_chunk(context, until_end)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// Takes the next chunk out of the inbox, and measures how long that takes.
    fn poll_chunk(&mut self, context: &mut Context<'_>, until_end: bool) -> Poll<Option<Result<()>>> {
        let (began, between) = *self.waiting.get_or_insert_with(|| {
            let now = clock::now();
            (now, self.shared.metrics.poll_began(now))
        });
        let polled = ready!(self.poll_inbox(context, until_end));
        self.waiting = None;
        let now = clock::now();
        self.shared.metrics.poll_ended(now, now.saturating_duration_since(began), between);
        Poll::Ready(polled)
    }

    /// Takes the next chunk out of the inbox, under the lock.
    fn poll_inbox(&mut self, context: &mut Context<'_>, until_end: bool) -> Poll<Option<Result<()>>> {
        let mut state = self.shared.lock();
        state.in_hand = None;
        if state.awaited || (state.identity.is_none() && matches!(state.mode, Mode::Group(_))) {
            self.shared.member.notify_waiters();
        }
        if self.shared.is_closed() {
            return Poll::Ready(Some(Err(ConsumerError::Closed)));
        }
        if let Some(error) = state.errors.pop_front() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(error) = &state.fatal {
            return Poll::Ready(Some(Err(error.clone())));
        }
        if std::mem::take(&mut self.took) {
            // Without this an application that is always ready would keep a runtime of one thread from fetching.
            drop(state);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let was_full = state.inbox.room() == 0;
        let crate::shared::State { inbox, positions, .. } = &mut *state;
        let chunk = inbox.pop(|topic, partition| positions.is_withheld(topic, partition));
        for (topic, partition) in inbox.overflowing_aside() {
            positions.rewind(&topic, partition);
            inbox.purge();
            // Its leader may have changed while it was fetched, so that the position is to be checked.
            self.shared.steward.notify_one();
        }
        if was_full && inbox.room() > 0 {
            self.shared.fetchers.notify_waiters();
        }
        if let Some(chunk) = chunk {
            let (topic, partition) = (Arc::clone(&chunk.topic), chunk.partition);
            state.in_hand = Some(TopicPartition { topic, partition });
            drop(state);
            let config = &self.shared.config;
            let read_committed = config.isolation_level == IsolationLevel::ReadCommitted;
            self.current =
                Some(Current { unpacker: Unpacker::new(chunk, read_committed, config.check_crcs), open: None });
            self.took = true;
            return Poll::Ready(Some(Ok(())));
        }
        if until_end && state.positions.is_at_end() {
            return Poll::Ready(None);
        }
        if state.reads_nothing() != self.is_idle {
            self.is_idle = !self.is_idle;
            if self.is_idle {
                tracing::warn!("records are waited for, and nothing is subscribed or assigned: none will come");
            }
        }
        state.waker = Some(context.waker().clone());
        self.is_in_call = true;
        Poll::Pending
    }

    /// Shows that the application is there and wants nothing yet; never ready but with an error.
    pub(crate) fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<ConsumerError> {
        self.come_back();
        let mut state = self.shared.lock();
        state.in_hand = None;
        if state.awaited || (state.identity.is_none() && matches!(state.mode, Mode::Group(_))) {
            self.shared.member.notify_waiters();
        }
        if self.shared.is_closed() {
            return Poll::Ready(ConsumerError::Closed);
        }
        if let Some(error) = state.errors.pop_front() {
            return Poll::Ready(error);
        }
        if let Some(error) = &state.fatal {
            return Poll::Ready(error.clone());
        }
        state.waker = Some(context.waker().clone());
        self.is_in_call = true;
        Poll::Pending
    }

    /// The partition at hand and the application's position in it.
    fn at_hand(&self) -> Option<(Arc<str>, i32, i64)> {
        let chunk = self.current.as_ref()?.unpacker.chunk();
        Some((Arc::clone(&chunk.topic), chunk.partition, chunk.progress.position().unwrap_or(0)))
    }

    /// Stops the partition at hand, whose bytes are damaged.
    fn damaged(&mut self, offset: i64, source: RecordError) -> ConsumerError {
        let Some((topic, partition, _)) = self.at_hand() else { return ConsumerError::Closed };
        self.current = None;
        let mut state = self.shared.lock();
        state.positions.halt(&topic, partition);
        state.inbox.purge();
        drop(state);
        // What was purged may have been all that kept the fetchers from fetching.
        self.shared.fetchers.notify_waiters();
        ConsumerError::Partition {
            partition: TopicPartition { topic, partition },
            source: PartitionError::Corrupt { offset, source: Arc::new(source) },
        }
    }
}

/// Nobody waits any more for what was waited for: the application is away, which `max.poll.interval.ms` is about.
impl Waits for Consumer {
    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.is_in_call) {
            self.shared.lock().waker = None;
        }
        if let Some((began, between)) = self.waiting.take() {
            let now = clock::now();
            self.shared.metrics.poll_ended(now, now.saturating_duration_since(began), between);
        }
    }
}

/// Records one by one, as [`Consumer::recv`] gives them. It ends when the consumer is closed. Once it was polled, the
/// application counts as one that waits until there is something for it, for a stream is not told when nobody does. From
/// then on, or where the last poll gave a record, `max.poll.interval.ms` counts until the next poll.
impl Stream for Consumer {
    type Item = Result<ConsumerRecord>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.poll_recv(context, false)) {
            Some(Err(ConsumerError::Closed)) => Poll::Ready(None),
            other => Poll::Ready(other),
        }
    }
}
