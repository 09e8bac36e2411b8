//! Each record by itself: whether it is there, how often, where, and whether it may be.

use std::collections::BTreeMap;

use crate::event::{Isolation, Phase};
use crate::facts::{Facts, Fate, Outcome, Send};
use crate::report::{Kind, Report};

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    places(facts, report);
    missing(facts, report);
    gone(facts, report);
    forbidden(facts, report);
}

/// Records at several offsets, offsets with several records, and records that are not where they are said to be.
fn places(facts: &Facts<'_>, report: &mut Report) {
    for (value, places) in &facts.places {
        if places.len() > 1 {
            report.add(Kind::Duplicate, format!("{value} is at {}", told(places)));
        }
        for (partition, offset) in places {
            let cell = facts.log.get(partition).and_then(|cells| cells.get(offset));
            if let Some(cell) = cell.filter(|cell| cell.value != *value) {
                let what = format!("{partition} has {} and {value} at {offset}", cell.value);
                report.add(Kind::InconsistentOffsets, what);
            }
        }
    }
    let mut acknowledged: BTreeMap<(&str, i64), &Send<'_>> = BTreeMap::new();
    for send in &facts.sends {
        let Some(offset) = send.told else { continue };
        let (partition, value) = (send.partition, send.value);
        if let Some(other) = acknowledged.insert((partition, offset), send) {
            let what = format!("{partition}: {} and {value} were both acknowledged at {offset}", other.value);
            report.add(Kind::InconsistentOffsets, what);
        }
        if let Some(places) = facts.places.get(value)
            && !places.contains(&(partition, offset))
        {
            let what = format!("{value} was acknowledged at {partition} {offset}, and is at {}", told(places));
            report.add(Kind::InconsistentOffsets, what);
        }
    }
}

fn told(places: &[(&str, i64)]) -> String {
    let mut places: Vec<String> = places.iter().map(|(partition, offset)| format!("{partition} {offset}")).collect();
    places.sort();
    places.join(", ")
}

/// Records that must be there and were read by nobody.
fn missing(facts: &Facts<'_>, report: &mut Report) {
    // From where to where each run went, once for all that is missing: runs are long.
    let mut reached: BTreeMap<&str, Vec<(i64, i64, usize)>> = BTreeMap::new();
    for run in &facts.runs {
        if let Some(last) = run.points.iter().map(|point| point.offset).max() {
            reached.entry(run.partition).or_default().push((run.start, last, run.process));
        }
    }
    let mut unseen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for send in facts.sends.iter().filter(|send| !facts.places.contains_key(send.value)) {
        let Fate::Surely(since) = facts.fate_of_record(send) else { continue };
        let (value, partition) = (send.value, send.partition);
        let passed = send.told.and_then(|offset| {
            let mut of_this = reached.get(partition).into_iter().flatten();
            of_this.find(|(start, last, _)| *start <= offset && *last > offset).map(|(.., process)| *process)
        });
        let drained = || {
            let mut all = facts.drained.iter();
            all.find(|(_, of, begun)| *of == partition && since < *begun).map(|(process, ..)| *process)
        };
        let Some(reader) = passed.or_else(drained) else {
            unseen.entry(partition).or_default().push(value);
            continue;
        };
        let by = facts.who(send.process);
        let at = send.told.map_or_else(String::new, |offset| format!(" at {offset}"));
        let transaction = send.transaction.map(|transaction| &facts.transactions[transaction]);
        let (kind, why) = match transaction {
            Some(one) if one.outcome == Outcome::Seen => {
                (Kind::TornTransaction, format!(" in {}, of which something else is there", one.name))
            }
            Some(one) => (Kind::LostWrite, format!(" in {}, which was committed", one.name)),
            None => (Kind::LostWrite, String::new()),
        };
        let reader = facts.who(reader);
        report.add(kind, format!("{partition}: {value} of {by} was acknowledged{at}{why}, and {reader} went past it"));
    }
    for (partition, values) in unseen {
        let some: Vec<&str> = values.iter().take(5).copied().collect();
        report.add(Kind::Unseen, format!("{partition}: {} records, such as {}", values.len(), some.join(", ")));
    }
}

/// Records that were read, and were not there any more when somebody read everything. What one goes past is found by the
/// order of reading; this is about the end of a log.
fn gone(facts: &Facts<'_>, report: &mut Report) {
    for (process, partition, begun) in &facts.drained {
        let of_this = facts.runs.iter().filter(|run| run.process == *process && run.partition == *partition);
        let points = of_this.flat_map(|run| &run.points);
        let isolation = points.clone().next().map_or(Isolation::ReadCommitted, |point| point.isolation);
        let last = points.map(|point| point.offset).max().unwrap_or(-1);
        let after = facts.log.get(partition).into_iter().flat_map(|cells| cells.range(last + 1..));
        for (offset, cell) in after.filter(|(_, cell)| cell.read < *begun && facts.must_be_shown(cell, isolation)) {
            let (value, before, now) = (cell.value, facts.who(cell.reader), facts.who(*process));
            let what =
                format!("{partition}: {value} was read at {offset} by {before}, and {now} found the end before it");
            report.add(Kind::LostWrite, what);
        }
    }
}

/// Records that were read and should not have been.
fn forbidden(facts: &Facts<'_>, report: &mut Report) {
    for run in &facts.runs {
        for point in &run.points {
            let (offset, value) = (point.offset, point.value);
            let read = format!("{}: {} read {value} at {offset}", run.partition, facts.who(run.process));
            let Some(send) = facts.by_value.get(value).map(|send| &facts.sends[*send]) else {
                report.add(Kind::PhantomRecord, format!("{read}, which nobody sent"));
                continue;
            };
            if send.partition != run.partition {
                report.add(Kind::PhantomRecord, format!("{read}, which was sent to {}", send.partition));
            }
            let at = facts.history.operations[point.poll].ended;
            if at < send.begun {
                report.add(Kind::PhantomRecord, format!("{read}, before it was sent"));
            }
            if send.phase == Phase::Fail {
                report.add(
                    Kind::AbortedRead,
                    format!("{read}, of which {} was told that it is not written", facts.who(send.process)),
                );
            }
            let transaction = send.transaction.map(|transaction| &facts.transactions[transaction]);
            let Some(transaction) = transaction.filter(|_| point.isolation == Isolation::ReadCommitted) else {
                continue;
            };
            if transaction.outcome == Outcome::Aborted {
                report.add(Kind::AbortedRead, format!("{read}, of {}, which was aborted", transaction.name));
            } else if at < transaction.commit_begun {
                let name = transaction.name;
                report.add(Kind::PrecommittedRead, format!("{read}, of {name}, before that was to be committed"));
            }
        }
    }
}
