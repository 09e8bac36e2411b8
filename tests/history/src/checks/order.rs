//! The order in which a process reads a partition, and in which its own records are there.

use std::collections::HashMap;

use crate::facts::{Facts, Point, Run, Send};
use crate::report::{Kind, Report};

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    for run in &facts.runs {
        polls(facts, run, report);
    }
    sends(facts, report);
}

/// Whether two records came within one poll or one transaction.
fn are_together(one: &Point<'_>, other: &Point<'_>) -> bool {
    one.poll == other.poll || (one.transaction.is_some() && one.transaction == other.transaction)
}

fn polls(facts: &Facts<'_>, run: &Run<'_>, report: &mut Report) {
    let (partition, who) = (run.partition, facts.who(run.process));
    let mut next = run.start;
    let mut before: Option<&Point<'_>> = None;
    for point in &run.points {
        let is_within = before.is_some_and(|before| are_together(before, point));
        let offset = point.offset;
        let after = before.map_or_else(String::new, |before| format!(" after {}", before.offset));
        if offset < next {
            let kind = if is_within { Kind::IntNonmonotonicPoll } else { Kind::NonmonotonicPoll };
            report.add(kind, format!("{partition}: {who} reads {offset}{after}, where {next} comes next"));
        } else {
            let between = facts.log.get(partition).into_iter().flat_map(|cells| cells.range(next..offset));
            for (skipped, cell) in between.filter(|(_, cell)| facts.must_be_shown(cell, point.isolation)) {
                let kind = if is_within { Kind::IntPollSkip } else { Kind::PollSkip };
                let (value, reader) = (cell.value, facts.who(cell.reader));
                let what = format!("{partition}: {who} reads {offset}{after}, and goes past {value} at {skipped}");
                report.add(kind, format!("{what}, which {reader} read"));
            }
        }
        next = offset + 1;
        before = Some(point);
    }
}

/// Records of one producer in one partition, in the order in which they were sent.
fn sends(facts: &Facts<'_>, report: &mut Report) {
    let mut by_place: HashMap<(&str, i64), &Send<'_>> = HashMap::new();
    for send in &facts.sends {
        if let Some(offset) = facts.offset_of(send) {
            by_place.insert((send.partition, offset), send);
        }
    }
    let mut last: HashMap<(usize, &str), (&Send<'_>, i64)> = HashMap::new();
    for send in &facts.sends {
        let Some(offset) = facts.offset_of(send) else { continue };
        let Some((before, earlier)) = last.insert((send.process, send.partition), (send, offset)) else { continue };
        let is_within = send.transaction.is_some() && send.transaction == before.transaction;
        let (partition, who) = (send.partition, facts.who(send.process));
        if offset < earlier {
            let kind = if is_within { Kind::IntNonmonotonicSend } else { Kind::NonmonotonicSend };
            let (one, other) = (before.value, send.value);
            report
                .add(kind, format!("{partition}: {who} sent {one} before {other}; they are at {earlier} and {offset}"));
        } else if is_within {
            let mut between = (earlier + 1..offset).filter_map(|at| by_place.get(&(partition, at)));
            if let Some(other) = between.find(|other| other.transaction != send.transaction) {
                let (one, two, by) = (before.value, send.value, facts.who(other.process));
                let what = format!("{partition}: {} of {by} is between {one} and {two} of {who}", other.value);
                report.add(Kind::IntSendSkip, what);
            }
        }
    }
}
