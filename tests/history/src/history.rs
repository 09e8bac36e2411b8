//! Events as one history, in order, with each beginning beside its end.

use std::collections::HashMap;
use std::fmt;

use crate::checks;
use crate::event::{Action, Event, Phase};
use crate::facts::Facts;
use crate::report::Report;

/// Why events are no history: whoever wrote them made a mistake, which says nothing of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// An operation from its beginning to its end.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) process: usize,
    pub(crate) action: Action,
    pub(crate) begun: u64,
    /// When it ended; never, where nobody knows.
    pub(crate) ended: u64,
    pub(crate) phase: Phase,
}

/// What happened, of all processes.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub(crate) processes: Vec<String>,
    /// In the order in which they began.
    pub(crate) operations: Vec<Operation>,
    /// Ends of operations that had ended already, in words.
    pub(crate) second_ends: Vec<(usize, String)>,
}

impl History {
    /// Takes events: those of one process in their order, and the processes in any.
    ///
    /// # Errors
    /// An operation begins twice, ends as another than it began as, or ends and never began; or a value is sent twice.
    pub fn new(events: impl IntoIterator<Item = Event>) -> Result<Self, Malformed> {
        let mut history = Self::default();
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut open: HashMap<(usize, u64), usize> = HashMap::new();
        let mut latest: Vec<u64> = Vec::new();
        for event in events {
            let process = *names.entry(event.process.clone()).or_insert_with(|| {
                history.processes.push(event.process.clone());
                latest.push(0);
                latest.len() - 1
            });
            // A clock that is set back does not change the order in which a process did things.
            let time = event.time.max(latest[process]);
            latest[process] = time;
            history.take(process, time, event, &mut open)?;
        }
        // Stable: what a process did in one moment stays in its order.
        history.operations.sort_by_key(|operation| operation.begun);
        history.check_values()?;
        Ok(history)
    }

    /// Takes events as lines of JSON; empty lines count for nothing, and neither does a last one that was cut off as its
    /// writer was killed.
    ///
    /// # Errors
    /// A line is no event, with the number of the line; or as [`new`](Self::new).
    pub fn from_json_lines(text: &str) -> Result<Self, Malformed> {
        Self::new(events(text)?)
    }

    /// Takes several files of JSON lines as one history.
    ///
    /// # Errors
    /// As [`from_json_lines`](Self::from_json_lines).
    pub fn from_files<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Malformed> {
        let mut all = Vec::new();
        for text in texts {
            all.extend(events(text)?);
        }
        Self::new(all)
    }

    /// Everything in it that must not be, and its figures.
    pub fn judge(&self) -> Report {
        let facts = Facts::of(self);
        let mut report = Report::new(facts.summary());
        checks::all(&facts, &mut report);
        report.sort();
        report
    }

    fn take(
        &mut self,
        process: usize,
        time: u64,
        event: Event,
        open: &mut HashMap<(usize, u64), usize>,
    ) -> Result<(), Malformed> {
        let who = || format!("operation {} of {}", event.id, self.processes[process]);
        let key = (process, event.id);
        if event.phase == Phase::Invoke {
            if open.insert(key, self.operations.len()).is_some() {
                return Err(Malformed(format!("{} begins twice", who())));
            }
            let operation =
                Operation { process, action: event.action, begun: time, ended: u64::MAX, phase: Phase::Info };
            self.operations.push(operation);
            return Ok(());
        }
        match open.get(&key) {
            None if event.action.may_stand_alone() => {
                open.insert(key, self.operations.len());
                let phase = event.phase;
                self.operations.push(Operation { process, action: event.action, begun: time, ended: time, phase });
            }
            None => return Err(Malformed(format!("{} ends and never began: {:?}", who(), event.action))),
            Some(index) => {
                let begun = &mut self.operations[*index];
                if !event.action.ends(&begun.action) {
                    let (begun, ended) = (&begun.action, &event.action);
                    return Err(Malformed(format!("{} begins as {begun:?} and ends as {ended:?}", who())));
                }
                if begun.ended != u64::MAX {
                    let what = format!("ended as {:?} and again as {:?}: {:?}", begun.phase, event.phase, event.action);
                    self.second_ends.push((process, what));
                } else {
                    begun.ended = time;
                    begun.phase = event.phase;
                    begun.action = event.action;
                }
            }
        }
        Ok(())
    }

    fn check_values(&self) -> Result<(), Malformed> {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for operation in &self.operations {
            if let Action::Send { value, .. } = &operation.action
                && let Some(before) = seen.insert(value, operation.process)
            {
                let (one, other) = (&self.processes[before], &self.processes[operation.process]);
                return Err(Malformed(format!("{value} is sent twice, by {one} and {other}: it names no record")));
            }
        }
        Ok(())
    }
}

fn events(text: &str) -> Result<Vec<Event>, Malformed> {
    let mut events = Vec::new();
    let is_cut = !text.ends_with('\n');
    let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()).peekable();
    while let Some((line, number)) = lines.next() {
        match serde_json::from_str(line) {
            Ok(event) => events.push(event),
            Err(_) if is_cut && lines.peek().is_none() => {}
            Err(error) => return Err(Malformed(format!("line {number}: {error}: {line}"))),
        }
    }
    Ok(events)
}
