//! What became of the records.

use std::collections::BTreeMap;
use std::sync::Arc;

use rkafka::producer::{Delivery, RecordMetadata};
use serde_json::{Map, Value, json};
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
    /// Where the first failed: the source, and the line.
    first_place: Option<(usize, Option<u64>)>,
    /// The first and the last offset in each partition, where they are to be reported.
    offsets: Option<BTreeMap<i32, (i64, i64)>>,
}

impl Tally {
    /// Nothing yet; `names` are those of the sources.
    pub fn new(names: Arc<[String]>, on_error: OnError, reports: bool) -> Self {
        let offsets = reports.then(BTreeMap::new);
        Self { names, on_error, acknowledged: 0, failed: 0, first: None, first_place: None, offsets }
    }

    /// What the report says where nothing was sent.
    pub fn nothing() -> Map<String, Value> {
        Self::new(Arc::new([]), OnError::Stop, true).counted()
    }

    /// What the report says.
    pub fn counted(&self) -> Map<String, Value> {
        let (source, line) = self.first_place.map_or((None, None), |(source, line)| (Some(source), line));
        let source = source.and_then(|source| self.names.get(source)).map_or(Value::Null, |name| name.as_str().into());
        let offsets = self
            .offsets
            .iter()
            .flatten()
            .map(|(partition, (first, last))| (partition.to_string(), json!({ "first": first, "last": last })));
        [
            ("sent", (self.acknowledged + self.failed).into()),
            ("acked", self.acknowledged.into()),
            ("failed", self.failed.into()),
            ("first_failed_source", source),
            ("first_failed_line", line.map_or(Value::Null, Value::from)),
            ("offsets", Value::Object(offsets.collect())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
    }

    fn acknowledge(&mut self, metadata: &RecordMetadata) {
        self.acknowledged += 1;
        // Without acknowledgements the broker tells no offsets.
        if let Some(offsets) = self.offsets.as_mut().filter(|_| metadata.offset >= 0) {
            let range = offsets.entry(metadata.partition).or_insert((metadata.offset, metadata.offset));
            *range = (range.0.min(metadata.offset), range.1.max(metadata.offset));
        }
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
                            Ok(metadata) => self.acknowledge(&metadata),
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
        self.first_place.get_or_insert((source, line));
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
