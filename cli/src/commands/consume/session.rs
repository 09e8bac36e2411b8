//! Reads, prints and commits until the end.

use std::collections::HashMap;
use std::time::Duration;

use rkafka::consumer::{Batch, Consumer, ConsumerError, ConsumerHandle, PartitionError, TopicPartition};
use tokio::time::{Interval, MissedTickBehavior};

use super::account::Account;
use super::group::Written;
use super::output::{Output, Reader, WriteError};
use super::printer::Printer;
use crate::exit::{Exit, Failure};
use crate::report;
use crate::signals::Signals;

/// How many bytes are gathered before they are written though more is at hand.
const BUFFER_BYTES: usize = 256 * 1024;

/// How long a reader may take for the last of it after a signal.
const DRAIN: Duration = Duration::from_secs(1);

/// What one run of `consume` holds.
pub struct Session {
    /// The consumer.
    pub consumer: Consumer,
    /// For everything but records.
    pub handle: ConsumerHandle,
    /// How records are printed.
    pub printer: Printer,
    /// Where to.
    pub output: Output,
    /// Whoever reads it.
    pub reader: Reader,
    /// Ctrl-C and SIGTERM.
    pub signals: Signals,
    /// The partitions that are read up to an offset, and not there yet.
    pub bounds: HashMap<TopicPartition, i64>,
    /// How many records are still to be printed; `None` for all.
    pub left: Option<u64>,
    /// Whether to end at the end.
    pub exit_at_end: bool,
    /// What a member of a group has written.
    pub written: Option<Written>,
    /// What it has printed and not yet written: of which partition, and up to where.
    pub printed: Option<(TopicPartition, i64)>,
    /// How often a member of a group commits; `None` for never.
    pub commit_every: Option<Duration>,
    /// Whether to say nothing but errors.
    pub quiet: bool,
    /// Whether to say when an end is reached.
    pub verbose: bool,
    /// Whether to say it as kcat does, also where reading goes on.
    pub is_kcat: bool,
    /// What is told at the end.
    pub account: Account,
}

/// Why the reading ends.
enum End {
    /// Everything that was asked for is printed.
    Done,
    /// A signal.
    Signal(Exit),
    /// Whoever read stdout wants no more.
    ReaderGone,
    /// It failed.
    Failed(Failure),
}

impl From<WriteError> for End {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ReaderGone => Self::ReaderGone,
            WriteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// What comes next.
enum Next {
    Batch(Result<Option<Batch>, ConsumerError>),
    Idle,
    CommitTime,
}

impl Session {
    /// Reads to the end. `limit` is how long the group may take to answer there.
    pub async fn run(mut self, limit: Duration) -> Result<Exit, Failure> {
        let end = match self.read().await {
            Err(end) => end,
            Ok(()) => End::Done,
        };
        // What was printed is written before anything else, unless nobody reads it or it is not to be waited for.
        let end = match end {
            End::ReaderGone => End::ReaderGone,
            // Who asked it to end does not want to wait for a reader that is asleep.
            End::Signal(exit) => {
                let drain = async {
                    self.write_all().await?;
                    self.until_read().await
                };
                match tokio::time::timeout(DRAIN, drain).await {
                    Ok(Err(End::Failed(failure))) => End::Failed(failure),
                    Ok(Err(End::ReaderGone)) => End::ReaderGone,
                    _ => End::Signal(exit),
                }
            }
            // All is committed, and therefore is to be read before.
            End::Done => match self.write_all().await {
                Ok(()) => self.until_read().await.err().unwrap_or(End::Done),
                Err(worse) => worse,
            },
            end => match self.write_all().await {
                Ok(()) => end,
                Err(End::Failed(failure)) if matches!(end, End::Failed(_)) => {
                    report::error(&failure.message);
                    end
                }
                Err(worse) => worse,
            },
        };
        if let Some(written) = self.written.take() {
            // A reader that has gone away may have left some of it in the pipe, or read it and done nothing with it: the
            // group gets that again.
            if matches!(end, End::ReaderGone) {
                written.forget();
            }
            let leave = async {
                written.commit(&self.handle).await?;
                self.consumer.close().await
            };
            match tokio::time::timeout(limit, leave).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if matches!(end, End::Done | End::Signal(_)) => return Err(error.into()),
                Ok(Err(error)) => report::error(&error.to_string()),
                Err(_) => {
                    let message =
                        format!("the group did not answer within {limit:?}; what it has not got is read again");
                    return Err(Failure::new(Exit::Unreachable, message));
                }
            }
        }
        match end {
            End::Done | End::ReaderGone => Ok(Exit::Ok),
            End::Signal(exit) => Ok(exit),
            End::Failed(failure) => Err(failure),
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        let mut timer = self.commit_every.map(timer);
        let is_bounded = !self.bounds.is_empty();
        let mut is_dirty = false;
        // Whether the end was seen and more is waited for.
        let mut waits = false;
        while self.left != Some(0) {
            let until_end = (self.exit_at_end || is_bounded || (self.is_kcat && self.verbose)) && !waits;
            let consumer = &mut self.consumer;
            let next = async move {
                if until_end { consumer.next_batch_until_end().await } else { consumer.next_batch().await.map(Some) }
            };
            let next = tokio::select! {
                biased;
                exit = self.signals.next() => return Err(End::Signal(exit)),
                () = self.reader.gone() => return Err(End::ReaderGone),
                () = tick(&mut timer) => Next::CommitTime,
                next = next => Next::Batch(next),
                // Nothing is at hand: what was printed must not wait for what is to come.
                () = std::future::ready(()), if is_dirty => Next::Idle,
            };
            match next {
                Next::Idle => {
                    self.write_all().await?;
                    is_dirty = false;
                }
                Next::CommitTime => self.commit().await,
                Next::Batch(Err(error)) => self.judge(error)?,
                Next::Batch(Ok(Some(batch))) => {
                    waits = false;
                    is_dirty = true;
                    self.print(&batch)?;
                    if self.written.is_some() {
                        // The group may take the partition away as soon as this comes back for more.
                        self.write_all().await?;
                        is_dirty = false;
                    } else if self.output.buffer.len() >= BUFFER_BYTES {
                        self.write_some().await?;
                    }
                    if is_bounded && self.bounds.is_empty() {
                        return Ok(());
                    }
                }
                Next::Batch(Ok(None)) => {
                    self.pass_bounds();
                    if self.exit_at_end || (is_bounded && self.bounds.is_empty()) {
                        self.say_ends();
                        return Ok(());
                    }
                    if self.is_kcat {
                        // Whoever sees that the end is reached has got everything before it.
                        self.write_all().await?;
                        is_dirty = false;
                        self.say_ends();
                    }
                    waits = true;
                }
            }
        }
        Ok(())
    }

    /// Prints a batch into the buffer.
    fn print(&mut self, batch: &Batch) -> Result<(), End> {
        let place = (!self.bounds.is_empty() || self.written.is_some())
            .then(|| TopicPartition::new(batch.topic_arc(), batch.partition()));
        let until = place.as_ref().and_then(|place| self.bounds.get(place)).copied().unwrap_or(i64::MAX);
        let most = self.left.unwrap_or(u64::MAX);
        let progress = self.printer.print(batch, until, most, &mut self.output.buffer);
        self.account.note(batch, progress.records, progress.next_offset);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(progress.records);
        }
        if let Some(damage) = progress.damage {
            let place = format!("{}-{}", batch.topic(), batch.partition());
            let message = format!(
                "{place}: the record at offset {} is damaged: {damage}; -o {} goes on behind its batch",
                progress.next_offset,
                batch.next_offset()
            );
            return Err(End::Failed(Failure::failed(message)));
        }
        if let Some(place) = &place
            && batch.next_offset() >= until
        {
            self.pass(place);
        }
        self.printed = place.map(|place| (place, progress.next_offset));
        Ok(())
    }

    /// A partition was read up to its bound.
    fn pass(&mut self, place: &TopicPartition) {
        self.bounds.remove(place);
        // It is assigned; were it not, nothing would come from it either.
        let _ = self.handle.pause([place]);
    }

    /// Finds the partitions that have passed their bound without a record, as offsets without one stand at the end of
    /// a transaction.
    fn pass_bounds(&mut self) {
        let is_passed = |(place, until): &(&TopicPartition, &i64)| {
            let position = self.handle.position(&place.topic, place.partition);
            position.ok().flatten().is_some_and(|position| position >= **until)
        };
        let passed: Vec<TopicPartition> =
            self.bounds.iter().filter(is_passed).map(|(place, _)| place.clone()).collect();
        passed.iter().for_each(|place| self.pass(place));
    }

    /// Hands the buffer over to be written, and hears signals meanwhile.
    async fn write_some(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            exit = self.signals.next() => Err(End::Signal(exit)),
            () = self.reader.gone() => Err(End::ReaderGone),
            written = self.output.hand_over() => Ok(written?),
        }
    }

    /// Waits until everything printed is written, and hears signals meanwhile.
    async fn write_all(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            exit = self.signals.next() => Err(End::Signal(exit)),
            () = self.reader.gone() => Err(End::ReaderGone),
            written = self.output.flush() => {
                written?;
                // Without an interval for commits there are none, also none when partitions are given up.
                if let (Some(written), Some((place, next_offset)), Some(_)) =
                    (&self.written, self.printed.take(), self.commit_every)
                {
                    written.note(self.output.total(), place, next_offset);
                }
                Ok(())
            }
        }
    }

    /// Waits until everything written is read, where it is to be committed, and hears signals meanwhile.
    async fn until_read(&mut self) -> Result<(), End> {
        let Some(written) = self.written.clone() else { return Ok(()) };
        tokio::select! {
            biased;
            exit = self.signals.next() => Err(End::Signal(exit)),
            () = self.reader.gone() => Err(End::ReaderGone),
            () = written.until_read() => Ok(()),
        }
    }

    async fn commit(&mut self) {
        let Some(written) = &self.written else { return };
        if let Err(error) = written.commit(&self.handle).await
            && !self.quiet
        {
            report::note(&format!("not committed, and tried again: {error}"));
        }
    }

    /// Goes on after an error that may pass, and ends by one that does not.
    fn judge(&self, error: ConsumerError) -> Result<(), End> {
        let may_pass = match &error {
            ConsumerError::Partition { source, .. } => {
                matches!(source, PartitionError::LogTruncated { .. } | PartitionError::Malformed { .. })
            }
            error => !error.is_fatal() && error.is_retriable(),
        };
        if !may_pass {
            return Err(End::Failed(error.into()));
        }
        if !self.quiet {
            report::note(&format!("{error}; reading goes on"));
        }
        Ok(())
    }

    fn say_ends(&self) {
        if !self.verbose {
            return;
        }
        let places = self.handle.assignment();
        for (index, place) in places.iter().enumerate() {
            if let Ok(Some(position)) = self.handle.position(&place.topic, place.partition) {
                let exits = self.is_kcat && self.exit_at_end && index + 1 == places.len();
                report::note(&format!(
                    "% Reached end of topic {} [{}] at offset {position}{}",
                    place.topic,
                    place.partition,
                    if exits { ": exiting" } else { "" }
                ));
            }
        }
    }
}

fn timer(every: Duration) -> Interval {
    let mut timer = tokio::time::interval(every.max(Duration::from_millis(1)));
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

async fn tick(timer: &mut Option<Interval>) {
    match timer {
        Some(timer) => {
            timer.tick().await;
        }
        None => std::future::pending().await,
    }
}
