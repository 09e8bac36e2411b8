//! Transactions beside each other: circles in which each comes before the next.
//!
//! One writes before another where its record lies before the other's in a partition; it is read by another where that
//! one's polls, made within a transaction, return its records.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Isolation;
use crate::facts::Facts;
use crate::report::{Kind, Report};

type Edges = BTreeMap<usize, BTreeSet<usize>>;

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    for (kind, edges) in [(Kind::G0, writes(facts)), (Kind::G1c, reads(facts))] {
        for circle in circles(&edges) {
            let names: Vec<&str> = circle.iter().take(8).map(|one| facts.transactions[*one].name).collect();
            report.add(kind, format!("{} transactions: {}", circle.len(), names.join(", ")));
        }
    }
}

/// Who wrote next after whom, by partition.
fn writes(facts: &Facts<'_>) -> Edges {
    let mut by_place: BTreeMap<(&str, i64), usize> = BTreeMap::new();
    for send in facts.sends.iter().filter(|send| facts.places.contains_key(send.value)) {
        if let (Some(transaction), Some(offset)) = (send.transaction, facts.offset_of(send)) {
            by_place.insert((send.partition, offset), transaction);
        }
    }
    let mut edges = Edges::new();
    let mut before: Option<(&str, usize)> = None;
    for ((partition, _), transaction) in by_place {
        if let Some((same, earlier)) = before
            && same == partition
            && earlier != transaction
        {
            edges.entry(earlier).or_default().insert(transaction);
        }
        before = Some((partition, transaction));
    }
    edges
}

/// Who read what whom had written. Who reads what is not committed may well read in circles.
fn reads(facts: &Facts<'_>) -> Edges {
    let mut edges = Edges::new();
    for point in facts.runs.iter().flat_map(|run| &run.points) {
        let send = facts.by_value.get(point.value).map(|send| &facts.sends[*send]);
        let writer = send.and_then(|send| send.transaction);
        if let (Some(reader), Some(writer), Isolation::ReadCommitted) = (point.transaction, writer, point.isolation) {
            edges.entry(writer).or_default().insert(reader);
        }
    }
    edges
}

/// The sets of nodes that each reach each other, of more than one node or of one that reaches itself (Tarjan's algorithm,
/// with a stack of its own).
fn circles(edges: &Edges) -> Vec<Vec<usize>> {
    let nodes: BTreeSet<usize> = edges.iter().flat_map(|(from, to)| to.iter().chain([from])).copied().collect();
    let mut number: BTreeMap<usize, usize> = BTreeMap::new();
    let mut lowest: BTreeMap<usize, usize> = BTreeMap::new();
    let mut waiting: Vec<usize> = Vec::new();
    let mut is_waiting: BTreeSet<usize> = BTreeSet::new();
    let mut found = Vec::new();
    let next = |node: usize| edges.get(&node).into_iter().flatten().copied().collect::<Vec<_>>();
    for root in nodes {
        if number.contains_key(&root) {
            continue;
        }
        let mut path = vec![(root, next(root).into_iter())];
        let enter = |node: usize, number: &mut BTreeMap<usize, usize>, lowest: &mut BTreeMap<usize, usize>| {
            let count = number.len();
            number.insert(node, count);
            lowest.insert(node, count);
        };
        enter(root, &mut number, &mut lowest);
        waiting.push(root);
        is_waiting.insert(root);
        while let Some((node, rest)) = path.last_mut() {
            let node = *node;
            if let Some(to) = rest.next() {
                if !number.contains_key(&to) {
                    enter(to, &mut number, &mut lowest);
                    waiting.push(to);
                    is_waiting.insert(to);
                    path.push((to, next(to).into_iter()));
                } else if is_waiting.contains(&to) {
                    let reached = lowest[&node].min(number[&to]);
                    lowest.insert(node, reached);
                }
                continue;
            }
            path.pop();
            if let Some((above, _)) = path.last() {
                let reached = lowest[above].min(lowest[&node]);
                lowest.insert(*above, reached);
            }
            if lowest[&node] == number[&node] {
                let at = waiting.iter().rposition(|one| *one == node).unwrap_or_default();
                let circle = waiting.split_off(at);
                is_waiting.retain(|one| !circle.contains(one));
                if circle.len() > 1 || edges.get(&node).is_some_and(|to| to.contains(&node)) {
                    found.push(circle);
                }
            }
        }
    }
    found
}
