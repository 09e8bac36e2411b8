//! One run: takes records, has the lanes say which are worked on, and marks what is done.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::gate::{Gate, Revocation};
use super::handler::{Failure, RecordHandler};
use super::{ParallelError, ParallelOptions};
use crate::clock;
use crate::consumer::Consumer;
use crate::error::{ConsumerError, Result};
use crate::machine::lanes::{Lanes, Started};
use crate::record::ConsumerRecord;
use crate::retry::{Cause, CauseKind, DeadLetterError, LastResort};
use crate::waiting::waiting;

/// What is to be done with a record.
#[derive(Debug, Clone)]
struct Work {
    record: ConsumerRecord,
    /// Why it is to be buried, after the last attempt; else the handler has it.
    cause: Option<Arc<Cause>>,
}

/// What came of it.
enum Outcome<E> {
    Handled(Result<(), Failure<E>>),
    Buried(Result<(), DeadLetterError>),
}

struct Task {
    job: u64,
    failures: u32,
    work: Work,
    abort: AbortHandle,
}

struct Run<'a, H: RecordHandler> {
    options: &'a ParallelOptions,
    group_id: Option<String>,
    handler: Arc<H>,
    lanes: Lanes<Work>,
    tasks: JoinSet<Outcome<H::Error>>,
    /// What the tasks are for.
    about: HashMap<Id, Task>,
    /// Partitions that go, and until when what is worked on may go on.
    leaving: Vec<(Revocation, Instant)>,
    /// Nothing more is begun; what the run ends with.
    ending: Option<Result<(), ParallelError<H::Error>>>,
}

pub(super) async fn drive<H: RecordHandler>(
    consumer: &mut Consumer,
    options: &ParallelOptions,
    gate: &Gate,
    handler: Arc<H>,
    stop: impl Future<Output = ()>,
) -> Result<(), ParallelError<H::Error>> {
    let mut stop = pin!(stop);
    // What an earlier run has taken and not done with comes again.
    consumer.rewind_unmarked()?;
    let (mut revocations, _open) = gate.open();
    let mut consumer_failed = false;
    let mut run = Run {
        options,
        group_id: consumer.config().group_id.clone(),
        handler,
        lanes: Lanes::new(options.order, options.workers),
        tasks: JoinSet::new(),
        about: HashMap::new(),
        leaving: Vec::new(),
        ending: None,
    };
    let revocation_timeout = options
        .revocation_timeout
        .unwrap_or_else(|| consumer.config().max_poll_interval.checked_div(2).unwrap_or_default());
    loop {
        let now = clock::now();
        run.begin(now);
        run.let_go(now);
        if run.ending.is_some() && run.tasks.is_empty() {
            return run.ending.unwrap_or(Ok(()));
        }
        let (has_room, deadline) = (run.has_room(), run.deadline());
        tokio::select! {
            biased;
            () = &mut stop, if run.ending.is_none() => run.end(Ok(())),
            Some(revocation) = revocations.recv() => run.revoke(revocation, now + revocation_timeout),
            Some(done) = run.tasks.join_next_with_id() => run.on_done(done),
            () = clock::sleep_until(deadline) => {}
            taken = consumer.take_if(has_room), if !consumer_failed => match taken {
                Ok(record) => {
                    run.take(record);
                    while run.has_room() && let Some(record) = consumer.next_in_hand() {
                        run.take(record);
                    }
                }
                Err(error) => {
                    consumer_failed = true;
                    run.end(Err(error.into()));
                }
            },
        }
    }
}

impl<H: RecordHandler> Run<'_, H> {
    fn has_room(&self) -> bool {
        self.ending.is_none()
            && self.lanes.records() < self.options.records_max.max(1)
            && (self.lanes.size_bytes() < self.options.bytes_max || self.lanes.records() == 0)
    }

    fn take(&mut self, record: ConsumerRecord) {
        let place = (record.topic_arc(), record.partition());
        let (size_bytes, work) = (record.size_bytes(), Work { record: record.clone(), cause: None });
        self.lanes.push(place, record.key(), size_bytes, work);
    }

    /// Nothing more is begun. The first reason counts.
    fn end(&mut self, with: Result<(), ParallelError<H::Error>>) {
        self.lanes.drop_waiting(|_| true);
        match (&self.ending, &with) {
            (None, _) | (Some(Ok(())), Err(_)) => self.ending = Some(with),
            _ => {}
        }
    }

    fn begin(&mut self, now: Instant) {
        while self.ending.is_none()
            && let Some(Started { id, failures, work }) = self.lanes.start(now)
        {
            if !work.record.is_current() {
                // A seek or a rebalance came before its turn.
                self.lanes.finish(id);
                continue;
            }
            let (handler, limit, of_task) = (Arc::clone(&self.handler), self.options.handler_timeout, work.clone());
            let abort = match (&self.options.last_resort, &work.cause) {
                (LastResort::DeadLetter(dead_letters), Some(cause)) => {
                    let (dead_letters, cause) = (Arc::clone(dead_letters), Arc::clone(cause));
                    self.tasks.spawn(async move { Outcome::Buried(dead_letters.bury(&of_task.record, &cause).await) })
                }
                _ => self.tasks.spawn(async move {
                    let handled = handler.handle(of_task.record);
                    Outcome::Handled(match limit {
                        Some(limit) => match tokio::time::timeout(limit, handled).await {
                            Ok(handled) => handled.map_err(Failure::Handler),
                            Err(_) => Err(Failure::TimedOut(limit)),
                        },
                        None => handled.await.map_err(Failure::Handler),
                    })
                }),
            };
            self.about.insert(abort.id(), Task { job: id, failures, work, abort });
        }
    }

    fn on_done(&mut self, done: Result<(Id, Outcome<H::Error>), JoinError>) {
        let (id, outcome) = match done {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(error) if error.is_panic() => {
                let id = error.id();
                let panic = error.into_panic();
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                let is_burial = self.about.get(&id).is_some_and(|task| task.work.cause.is_some());
                let outcome = if is_burial {
                    Outcome::Buried(Err(DeadLetterError::panicked(&text)))
                } else {
                    Outcome::Handled(Err(Failure::Panicked(text)))
                };
                (id, Some(outcome))
            }
            Err(error) => (error.id(), None),
        };
        let Some(task) = self.about.remove(&id) else { return };
        match outcome {
            // It was broken off: its partition is gone.
            None => drop(self.lanes.finish(task.job)),
            Some(Outcome::Handled(Ok(())) | Outcome::Buried(Ok(()))) => self.done(&task),
            Some(Outcome::Handled(Err(failure))) => self.failed(task, failure),
            Some(Outcome::Buried(Err(error))) => self.not_buried(task, error),
        }
    }

    fn done(&mut self, task: &Task) {
        // Where the partition has moved since, the mark is for nothing, and the record may come again.
        task.work.record.mark();
        self.lanes.finish(task.job);
    }

    fn failed(&mut self, task: Task, failure: Failure<H::Error>) {
        let attempts = task.failures.saturating_add(1);
        let record = &task.work.record;
        let is_retriable = match &failure {
            Failure::Handler(error) => self.handler.is_retriable(error),
            Failure::Panicked(_) | Failure::TimedOut(_) => true,
        };
        let pause = self.options.retries.pause(attempts).filter(|_| is_retriable);
        if let Some(pause) = pause {
            tracing::debug!(
                topic = record.topic(),
                partition = record.partition(),
                offset = record.offset(),
                attempts,
                "a record is tried again"
            );
            self.lanes.retry(task.job, clock::now() + pause, task.work);
            return;
        }
        match &self.options.last_resort {
            LastResort::Stop => {
                let (partition, offset) = (record.topic_partition(), record.offset());
                self.lanes.finish(task.job);
                self.end(Err(ParallelError::Handler { partition, offset, attempts, failure }));
            }
            LastResort::Skip => {
                tracing::warn!(topic = record.topic(), partition = record.partition(), offset = record.offset(), attempts,
                    %failure, "a record is given up");
                self.done(&task);
            }
            LastResort::DeadLetter(_) => {
                let mut cause = self.cause(&failure);
                (cause.attempts, cause.group_id) = (attempts, self.group_id.clone());
                let work = Work { record: task.work.record, cause: Some(Arc::new(cause)) };
                self.lanes.retry(task.job, clock::now(), work);
            }
        }
    }

    fn cause(&self, failure: &Failure<H::Error>) -> Cause {
        match failure {
            Failure::Handler(error) => {
                let side = self.handler.unreadable_side(error);
                Cause::new(side.map_or(CauseKind::Handler, CauseKind::Deserialization), error)
            }
            Failure::Panicked(message) => Cause::new(CauseKind::Panic, message),
            Failure::TimedOut(_) => Cause::new(CauseKind::Timeout, failure),
        }
    }

    fn not_buried(&mut self, task: Task, error: DeadLetterError) {
        let record = &task.work.record;
        if error.is_retriable() {
            tracing::warn!(topic = record.topic(), partition = record.partition(), offset = record.offset(), %error,
                "a record waits for its burial");
            let pause = self.options.retries.pause_for_ever(task.failures.saturating_add(1));
            let pause = pause.max(super::BURIAL_PAUSE_MIN);
            self.lanes.retry(task.job, clock::now() + pause, task.work);
        } else {
            let (partition, offset) = (record.topic_partition(), record.offset());
            self.lanes.finish(task.job);
            self.end(Err(ParallelError::DeadLetter { partition, offset, source: error }));
        }
    }

    fn revoke(&mut self, revocation: Revocation, until: Instant) {
        let is_of = |topic: &str, partition: i32| {
            revocation.places.iter().any(|one| *one.topic == *topic && one.partition == partition)
        };
        self.lanes.drop_waiting(|place| is_of(&place.0, place.1));
        if revocation.lost {
            self.break_off(&revocation);
        }
        self.leaving.push((revocation, until));
    }

    fn break_off(&self, revocation: &Revocation) {
        let jobs = self.lanes.running_of(&revocation.places);
        for task in self.about.values().filter(|task| jobs.contains(&task.job)) {
            task.abort.abort();
        }
    }

    /// Lets partitions go of which nothing is worked on any more. What failed meanwhile is not tried again.
    fn let_go(&mut self, now: Instant) {
        for (revocation, until) in std::mem::take(&mut self.leaving) {
            let is_of = |place: &crate::machine::lanes::Place| {
                revocation.places.iter().any(|one| one.topic == place.0 && one.partition == place.1)
            };
            self.lanes.drop_waiting(is_of);
            if self.lanes.running_of(&revocation.places).is_empty() {
                let _ = revocation.done.send(());
                continue;
            }
            if now >= until {
                self.break_off(&revocation);
            }
            self.leaving.push((revocation, until));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let now = clock::now();
        let retry = self.lanes.deadline().filter(|_| self.ending.is_none());
        // One that is over was broken off: its end wakes the run.
        let leave = self.leaving.iter().map(|(_, until)| *until).filter(|until| *until > now).min();
        [retry, leave].into_iter().flatten().min()
    }
}

impl Consumer {
    /// The next record; where there is no room for one, only shows that the application is there.
    pub(crate) async fn take_if(&mut self, has_room: bool) -> Result<ConsumerRecord, ConsumerError> {
        loop {
            let polled = waiting(self, |consumer, context| {
                if has_room {
                    consumer.poll_recv(context, false)
                } else {
                    consumer.poll_idle(context).map(|error| Some(Err(error)))
                }
            });
            if let Some(result) = polled.await {
                return result;
            }
        }
    }
}
