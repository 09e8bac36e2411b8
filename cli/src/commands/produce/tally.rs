//! What became of the records.

use std::sync::Arc;

use rkafka::producer::Delivery;
use tokio::sync::mpsc::Receiver;

use super::gate::Gate;
use crate::args::{OnError, Produce};
use crate::exit::{Exit, Failure};
use crate::report;

/// How many failures are told one by one under `--on-error continue`; the rest is only counted.
const TOLD: u64 = 20;

/// What the thread that reads tells, in the order of the input.
pub enum Event {
    /// Records of lines that follow each other were accepted.
    Sent {
        /// Which source they are of.
        source: usize,
        /// The line of the first, from 1.
        line: u64,
        /// What will become of them.
        deliveries: Vec<Delivery>,
    },
    /// A line was not accepted.
    Failed {
        /// Which source it is of.
        source: usize,
        /// The line, from 1; `None` where the source as a whole failed.
        line: Option<u64>,
        /// Why.
        failure: Failure,
    },
}

/// Counts what became of the records.
pub struct Tally {
    names: Arc<[String]>,
    on_error: OnError,
    acknowledged: u64,
    failed: u64,
    first: Option<Failure>,
}

impl Tally {
    /// Nothing yet; `names` are those of the sources.
    pub fn new(names: Arc<[String]>, on_error: OnError) -> Self {
        Self { names, on_error, acknowledged: 0, failed: 0, first: None }
    }

    /// Waits for what becomes of every record, and stops the reading where one fails and that is wished.
    pub async fn collect(&mut self, mut events: Receiver<Event>, gate: &Gate) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Sent { source, line, deliveries } => {
                    for (line, delivery) in (line..).zip(deliveries) {
                        let result = match delivery.try_result() {
                            Some(result) => result,
                            None => delivery.await,
                        };
                        match result {
                            Ok(_) => self.acknowledged += 1,
                            Err(error) => self.fail(source, Some(line), error, gate),
                        }
                    }
                }
                Event::Failed { source, line, failure } => self.fail(source, line, failure, gate),
            }
        }
    }

    fn fail(&mut self, source: usize, line: Option<u64>, failure: impl Into<Failure>, gate: &Gate) {
        let failure = failure.into();
        self.failed += u64::from(line.is_some());
        let name = self.names.get(source).map_or("the input", String::as_str);
        let place = line.map_or_else(|| name.to_owned(), |line| format!("line {line} of {name}"));
        let message = format!("{place}: {}", failure.message);
        match self.on_error {
            OnError::Stop => gate.stop(),
            OnError::Continue if self.failed <= TOLD => report::error(&message),
            OnError::Continue => {}
        }
        self.first.get_or_insert(Failure::new(failure.exit, message));
    }

    /// The last word: how many records arrived, and what went wrong first.
    pub fn conclude(self, signal: Option<Exit>, args: &Produce) -> Result<Exit, Failure> {
        let records = if self.acknowledged == 1 { "record" } else { "records" };
        let counts = format!("{} {records} acknowledged, {} failed", self.acknowledged, self.failed);
        match (self.first, signal) {
            // It has been told already.
            (Some(first), _) if self.on_error == OnError::Continue => Err(Failure::new(first.exit, counts)),
            (Some(first), _) => Err(Failure::new(first.exit, format!("{}; {counts}", first.message))),
            (None, Some(exit)) => {
                report::error(&format!("stopped by {}; {counts}", stopped_by(exit)));
                Ok(exit)
            }
            (None, None) => {
                if args.connection.verbose > 0 {
                    report::note(&counts);
                }
                Ok(Exit::Ok)
            }
        }
    }
}

fn stopped_by(exit: Exit) -> &'static str {
    if exit == Exit::Terminated { "SIGTERM" } else { "Ctrl-C" }
}
