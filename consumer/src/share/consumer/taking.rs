//! Taking records: what is at hand is handed out one by one or by the batch, and what comes next is waited for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use rkafka_protocol::records::RecordError;

use super::super::acknowledgement::AcknowledgeType;
use super::super::batch::{Finder, ShareBatch, ShareRecord};
use super::super::error::{ShareConsumerError, ShareResult};
use super::super::machine::hold::Hold;
use super::super::unpack::ShareUnpacker;
use super::{Current, Open, ShareConsumer};
use crate::clock;
use crate::error::PartitionError;
use crate::record::ConsumerRecord;

impl ShareConsumer {
    /// The application is back: what it was handed is dealt with.
    #[inline]
    pub(super) fn come_back(&mut self) {
        self.shared.polls.fetch_add(1, Ordering::Relaxed);
        if let Some((hold, next_offset)) = &self.handed {
            hold.settle(*next_offset);
        }
    }

    /// Notes that all below `next_offset` is handed out. `false` where it may not be.
    #[inline]
    fn hand_out(&mut self, hold: &Arc<Hold>, next_offset: i64) -> bool {
        if !hold.hand_out(next_offset) {
            return false;
        }
        match &mut self.handed {
            Some((same, at)) if Arc::ptr_eq(same, hold) => *at = next_offset,
            handed => *handed = Some((Arc::clone(hold), next_offset)),
        }
        true
    }

    pub(super) fn poll_next_batch(&mut self, context: &mut Context<'_>) -> Poll<ShareResult<ShareBatch>> {
        self.come_back();
        loop {
            let open = self.current.as_mut().and_then(|current| current.open.take());
            let batch = match open {
                // The rest of a batch whose first records were taken one by one.
                Some(open) if open.ahead.is_some() || open.cursor.remaining() > 0 => {
                    let from = open.batch.hold.cursor().unwrap_or(i64::MAX);
                    ShareBatch { from, ..open.batch }
                }
                _ => match ready!(self.poll_open(context)) {
                    Ok(batch) => batch,
                    Err(error) => return Poll::Ready(Err(error)),
                },
            };
            let next_offset = batch.shared.batch.header().next_offset();
            if batch.offsets().next().is_some() && self.hand_out(&Arc::clone(&batch.hold), next_offset) {
                return Poll::Ready(Ok(batch));
            }
        }
    }

    pub(super) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<ShareResult<ShareRecord>> {
        self.come_back();
        loop {
            match self.next_of_open() {
                Some(Ok(record)) => return Poll::Ready(Ok(record)),
                Some(Err(source)) => return Poll::Ready(Err(self.damaged(source))),
                None => {}
            }
            if let Err(error) = ready!(self.poll_open_one(context)) {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// The next record, which is not handed out yet: the same one each time, until it is.
    pub(in crate::share) fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<ShareResult<ShareRecord>> {
        self.come_back();
        loop {
            match self.look_ahead() {
                Some(Ok(record)) => return Poll::Ready(Ok(record)),
                Some(Err(source)) => return Poll::Ready(Err(self.damaged(source))),
                None => {}
            }
            if let Err(error) = ready!(self.poll_open_one(context)) {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// As [`poll_ahead`](Self::poll_ahead), where the record is at hand. An error comes with the next call.
    pub(in crate::share) fn ahead_in_hand(&mut self) -> Option<ShareRecord> {
        match self.look_ahead()? {
            Ok(record) => Some(record),
            Err(source) => {
                let error = self.damaged(source);
                self.shared.lock().tell(error);
                None
            }
        }
    }

    /// Hands out the record that was looked at. `false` where it may not be.
    pub(in crate::share) fn hand_out_ahead(&mut self) -> bool {
        let open = self.current.as_mut().and_then(|current| current.open.as_mut());
        let Some(record) = open.and_then(|open| open.ahead.take()) else { return false };
        self.hand_out_record(&record)
    }

    /// By `implicit`, a record that was handed out and could not be read is released, and not accepted by coming back.
    pub(in crate::share) fn release_unread(&self, record: &ShareRecord) {
        if self.shared.is_explicit() {
            return;
        }
        let (hold, offset) = (&record.hold, record.record.offset());
        let mut state = self.shared.lock();
        let session = state.sessions.get_mut(&hold.broker);
        if let Some(session) = session.filter(|session| session.serial() == hold.session) {
            session.ledger.say(hold.place, offset, offset, AcknowledgeType::Release.code());
        }
    }

    fn look_ahead(&mut self) -> Option<Result<ShareRecord, RecordError>> {
        let is_over = |current: &Current| current.unpacker.chunk().hold.cursor().is_none();
        if self.current.as_ref().is_some_and(is_over) {
            self.current = None;
        }
        let open = self.current.as_mut()?.open.as_mut()?;
        if open.ahead.is_none() {
            match self.read_of_open()? {
                Ok(record) => self.current.as_mut()?.open.as_mut()?.ahead = Some(record),
                Err(error) => return Some(Err(error)),
            }
        }
        self.current.as_ref()?.open.as_ref()?.ahead.clone().map(Ok)
    }

    /// Opens the next batch for its records to be taken one by one.
    fn poll_open_one(&mut self, context: &mut Context<'_>) -> Poll<ShareResult<()>> {
        let batch = match ready!(self.poll_open(context)) {
            Ok(batch) => batch,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if let Some(current) = &mut self.current {
            let cursor = batch.shared.batch.clone().into_cursor();
            current.open = Some(Open { batch, cursor, finder: Finder::default(), ahead: None });
        }
        Poll::Ready(Ok(()))
    }

    /// The next record of the batch whose records are taken one by one.
    #[inline]
    pub(super) fn next_of_open(&mut self) -> Option<Result<ShareRecord, RecordError>> {
        let record = match self.read_of_open()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        self.hand_out_record(&record).then_some(Ok(record))
    }

    /// As [`next_of_open`](Self::next_of_open), and it is not handed out.
    #[inline]
    fn read_of_open(&mut self) -> Option<Result<ShareRecord, RecordError>> {
        let open = self.current.as_mut()?.open.as_mut()?;
        if let Some(record) = open.ahead.take() {
            return Some(Ok(record));
        }
        loop {
            let view = match open.cursor.next_record() {
                Some(Ok(view)) => view,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.current.as_mut()?.open = None;
                    return None;
                }
            };
            if let Some(delivery_count) = open.finder.delivery_count(&open.batch.acquired, view.offset) {
                let record = ConsumerRecord::new(&open.batch.shared, &view);
                return Some(Ok(ShareRecord { record, delivery_count, hold: Arc::clone(&open.batch.hold) }));
            }
        }
    }

    #[inline]
    fn hand_out_record(&mut self, record: &ShareRecord) -> bool {
        let is_handed = self.hand_out(&record.hold, record.record.offset().saturating_add(1));
        if !is_handed {
            // Its lock is about to run out, or was lost: what is left of the chunk comes to somebody again.
            self.current = None;
        }
        is_handed
    }

    /// The next batch: of the chunk at hand, else of the next one. It does not count as handed out yet.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<ShareResult<ShareBatch>> {
        loop {
            if let Some(current) = &mut self.current {
                if current.unpacker.chunk().hold.cursor().is_none() {
                    self.current = None;
                    continue;
                }
                let unpacked = current.unpacker.next_batch(&mut self.arena);
                let remarks = current.unpacker.take_remarks();
                let hold = Arc::clone(&current.unpacker.chunk().hold);
                if !remarks.is_empty() {
                    let mut state = self.shared.lock();
                    let session = state.sessions.get_mut(&hold.broker);
                    if let Some(session) = session.filter(|session| session.serial() == hold.session) {
                        for remark in remarks {
                            session.ledger.say(hold.place, remark.first, remark.last, remark.code);
                        }
                    }
                    drop(state);
                    self.shared.leaders.notify_waiters();
                }
                match unpacked {
                    Ok(Some(batch)) => return Poll::Ready(Ok(batch)),
                    Ok(None) => {
                        let end = current.unpacker.chunk().end();
                        self.hand_out(&hold, end);
                        hold.settle(end);
                        self.current = None;
                    }
                    Err(damage) => {
                        let source = PartitionError::Corrupt { offset: damage.offset, source: Arc::new(damage.source) };
                        let partition = self.shared.lock().partition(hold.place);
                        return Poll::Ready(Err(ShareConsumerError::Partition { partition, source }));
                    }
                }
            }
            if let Err(error) = ready!(self.poll_chunk(context)) {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// Takes the next chunk, and measures how long that takes.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<ShareResult<()>> {
        if self.began.is_none() {
            let now = clock::now();
            self.began = Some((now, self.shared.metrics.poll_began(now)));
        }
        let polled = ready!(self.poll_inbox(context));
        self.end_wait();
        Poll::Ready(polled)
    }

    pub(super) fn end_wait(&mut self) {
        if let Some((began, between)) = self.began.take() {
            let now = clock::now();
            self.shared.metrics.poll_ended(now, now.saturating_duration_since(began), between);
        }
    }

    /// Takes the next chunk, under the lock.
    fn poll_inbox(&mut self, context: &mut Context<'_>) -> Poll<ShareResult<()>> {
        if self.shared.is_closed() {
            return Poll::Ready(Err(ShareConsumerError::Closed));
        }
        let mut state = self.shared.lock();
        if let Some(error) = state.next_error() {
            return Poll::Ready(Err(error));
        }
        if std::mem::take(&mut self.took) {
            // Without this an application that is always ready would keep a runtime of one thread from fetching.
            drop(state);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(chunk) = state.pop() {
            self.is_waiting = false;
            state.waker = None;
            drop(state);
            self.shared.leaders.notify_waiters();
            let unpacker = ShareUnpacker::new(chunk, self.shared.config.check_crcs);
            self.current = Some(Current { unpacker, open: None });
            self.took = true;
            return Poll::Ready(Ok(()));
        }
        let is_news = state.waker.is_none();
        state.waker = Some(context.waker().clone());
        self.is_waiting = true;
        drop(state);
        if is_news {
            self.shared.leaders.notify_waiters();
            self.shared.member.notify_one();
        }
        Poll::Pending
    }

    /// The rest of the batch at hand cannot be read: it is released.
    pub(super) fn damaged(&mut self, source: RecordError) -> ShareConsumerError {
        let Some(open) = self.current.as_mut().and_then(|current| current.open.take()) else {
            return ShareConsumerError::Closed;
        };
        let hold = &open.batch.hold;
        let offset = hold.cursor().unwrap_or_else(|| open.batch.shared.batch.header().base_offset);
        let mut state = self.shared.lock();
        let session = state.sessions.get_mut(&hold.broker);
        if let Some(session) = session.filter(|session| session.serial() == hold.session) {
            let code = AcknowledgeType::Release.code();
            session.ledger.say(hold.place, offset, open.batch.shared.batch.header().last_offset(), code);
        }
        let partition = state.partition(hold.place);
        let source = PartitionError::Corrupt { offset, source: Arc::new(source) };
        ShareConsumerError::Partition { partition, source }
    }
}
