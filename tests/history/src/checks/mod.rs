//! The checks, each of which adds what it finds to the report.

mod offsets;
mod order;
mod records;
mod transactions;

use crate::event::Action;
use crate::facts::Facts;
use crate::report::{Kind, Report};

pub(crate) fn all(facts: &Facts<'_>, report: &mut Report) {
    clients(facts, report);
    records::check(facts, report);
    order::check(facts, report);
    transactions::check(facts, report);
    offsets::check(facts, report);
}

/// What clients themselves did wrong.
fn clients(facts: &Facts<'_>, report: &mut Report) {
    for (process, what) in &facts.history.second_ends {
        report.add(Kind::SecondEnd, format!("{}: {what}", facts.who(*process)));
    }
    let mut closed = vec![None; facts.history.processes.len()];
    for operation in &facts.history.operations {
        if operation.action == (Action::Closed {}) {
            closed[operation.process] = Some(operation.ended);
        }
    }
    for operation in &facts.history.operations {
        if closed[operation.process].is_some_and(|closed| operation.begun <= closed) && operation.ended == u64::MAX {
            report.add(Kind::Unanswered, format!("{}: {:?}", facts.who(operation.process), operation.action));
        }
    }
}
