//! Faults, each of which turns a sound history into one with an anomaly.

use std::collections::{BTreeMap, HashMap};

use rkafka_history::{Action, Event, Kind, Phase};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A record that was acknowledged is nowhere.
    Lost,
    /// A record of a transaction in doubt, of which others are there, is nowhere.
    Torn,
    /// A record is there once more.
    Twice,
    /// A producer is told another offset.
    WrongOffset,
    /// An aborted record is shown to a reader of what is committed.
    Aborted,
    /// A reader is not shown what others are.
    Skipped,
    /// A reader goes back.
    Back,
    /// A commit only begins when all has been read.
    Early,
    /// A reader is shown what nobody sent.
    Phantom,
    /// Two records of one producer change places.
    Reordered,
    /// A group's offset is gone.
    NoOffset,
    /// A group's offset is one that nobody committed.
    OtherOffset,
    /// A log is cut off after it was read.
    Cut,
}

impl Plant {
    pub const ALL: [Self; 13] = [
        Self::Lost,
        Self::Torn,
        Self::Twice,
        Self::WrongOffset,
        Self::Aborted,
        Self::Skipped,
        Self::Back,
        Self::Early,
        Self::Phantom,
        Self::Reordered,
        Self::NoOffset,
        Self::OtherOffset,
        Self::Cut,
    ];

    /// One of which must be found.
    pub fn names(self) -> &'static [Kind] {
        match self {
            Self::Lost | Self::Cut => &[Kind::LostWrite],
            Self::Torn => &[Kind::TornTransaction],
            Self::Twice => &[Kind::Duplicate],
            Self::WrongOffset => &[Kind::InconsistentOffsets],
            Self::Aborted => &[Kind::AbortedRead],
            Self::Skipped => &[Kind::PollSkip, Kind::IntPollSkip],
            Self::Back => &[Kind::IntNonmonotonicPoll],
            Self::Early => &[Kind::PrecommittedRead],
            Self::Phantom => &[Kind::PhantomRecord],
            Self::Reordered => &[Kind::NonmonotonicSend, Kind::IntNonmonotonicSend],
            Self::NoOffset => &[Kind::LostCommit],
            Self::OtherOffset => &[Kind::PhantomCommit],
        }
    }
}

type Records = Vec<(i64, String)>;

/// The one records that a poll returned, by partition.
fn records(event: &mut Event) -> Option<(&String, &mut Records)> {
    match &mut event.action {
        Action::Poll { records, .. } => records.iter_mut().next(),
        _ => None,
    }
}

/// Takes a value out of every poll of some processes.
fn hide(events: &mut [Event], value: &str, of: impl Fn(&str) -> bool) {
    for event in events.iter_mut().filter(|event| of(&event.process)) {
        if let Some((_, records)) = records(event) {
            records.retain(|(_, read)| read != value);
        }
    }
}

/// What the ends of sends and commits say.
struct Known {
    /// By transaction: how its commit ended.
    commits: HashMap<String, Phase>,
    /// Acknowledged records with their process, partition and transaction, in their order.
    sent: Vec<(String, String, String, Option<String>)>,
}

impl Known {
    fn of(events: &[Event]) -> Self {
        let mut known = Self { commits: HashMap::new(), sent: Vec::new() };
        for event in events {
            match &event.action {
                Action::Commit { transaction } => drop(known.commits.insert(transaction.clone(), event.phase)),
                Action::Send { partition, value, transaction, .. } if event.phase == Phase::Ok => {
                    known.sent.push((event.process.clone(), partition.clone(), value.clone(), transaction.clone()));
                }
                _ => {}
            }
        }
        known
    }

    fn is_committed(&self, transaction: Option<&String>) -> bool {
        transaction.is_none_or(|name| self.commits.get(name) == Some(&Phase::Ok))
    }
}

/// What a process read: partition, offset, value.
fn read_by(events: &mut [Event], process: &str) -> Vec<(String, i64, String)> {
    let mut all = Vec::new();
    for event in events.iter_mut().filter(|event| event.process == process) {
        if let Some((partition, records)) = records(event) {
            all.extend(records.iter().map(|(offset, value)| (partition.clone(), *offset, value.clone())));
        }
    }
    all
}

fn pick<T: Clone>(from: &[T], which: usize) -> Option<T> {
    from.get(which.checked_rem(from.len())?).cloned()
}

/// The history with the fault, or `None` where it cannot have it.
pub fn plant(mut events: Vec<Event>, fault: Plant, which: usize) -> Option<Vec<Event>> {
    let known = Known::of(&events);
    let committed = read_by(&mut events, "last-committed");
    let all = read_by(&mut events, "last-all");
    match fault {
        Plant::Lost => {
            let must = known.sent.iter().filter(|(.., transaction)| known.is_committed(transaction.as_ref()));
            let (_, _, value, _) = pick(&must.cloned().collect::<Vec<_>>(), which)?;
            hide(&mut events, &value, |_| true);
        }
        Plant::Torn => {
            let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (_, _, value, transaction) in
                known.sent.iter().filter(|(_, _, value, _)| committed.iter().any(|(_, _, read)| read == value))
            {
                let in_doubt = transaction.as_ref().filter(|name| known.commits.get(*name) == Some(&Phase::Info));
                if let Some(name) = in_doubt {
                    parts.entry(name.clone()).or_default().push(value.clone());
                }
            }
            let several: Vec<Vec<String>> = parts.into_values().filter(|values| values.len() > 1).collect();
            let value = pick(&pick(&several, which)?, which)?;
            hide(&mut events, &value, |_| true);
        }
        Plant::Twice => {
            let (at, _, value) = pick(&committed, which)?;
            let last = events.iter_mut().rev().filter(|event| event.process == "last-committed");
            let mut of_this = last.filter_map(records).filter(|(partition, _)| **partition == at);
            of_this.next()?.1.push((10_000, value));
        }
        Plant::WrongOffset => {
            let (_, _, value, _) = pick(&known.sent, which)?;
            all.iter().find(|(_, _, read)| *read == value)?;
            for event in &mut events {
                if let Action::Send { value: sent, offset: Some(offset), .. } = &mut event.action
                    && *sent == value
                {
                    *offset += 10_000;
                }
            }
        }
        Plant::Aborted => {
            let aborted = known
                .sent
                .iter()
                .filter(|(.., transaction)| transaction.as_ref().is_some_and(|name| !known.commits.contains_key(name)));
            let (.., value, _) = pick(&aborted.cloned().collect::<Vec<_>>(), which)?;
            let (at, offset, value) = all.iter().find(|(_, _, read)| *read == value)?.clone();
            let readers = events.iter_mut().filter(|event| event.process == "last-committed");
            let (_, records) = readers.filter_map(records).find(|(partition, _)| **partition == at)?;
            records.push((offset, value));
            records.sort();
        }
        Plant::Skipped => {
            let before_others = committed
                .iter()
                .filter(|(at, offset, _)| all.iter().any(|(partition, later, _)| partition == at && later > offset));
            let (.., value) = pick(&before_others.collect::<Vec<_>>(), which)?.clone();
            hide(&mut events, &value, |process| process == "last-all");
        }
        Plant::Back => {
            let polls = events.iter_mut().filter_map(records).map(|(_, records)| records);
            let mut long: Vec<&mut Records> = polls.filter(|records| records.len() > 1).collect();
            let count = long.len();
            long.get_mut(which.checked_rem(count)?)?.reverse();
        }
        Plant::Early => {
            let seen = |name: &String| {
                let mut of_this = known.sent.iter().filter(|(.., transaction)| transaction.as_ref() == Some(name));
                of_this.any(|(_, _, value, _)| committed.iter().any(|(_, _, read)| read == value))
            };
            let mut names: Vec<String> = known.commits.keys().filter(|name| seen(name)).cloned().collect();
            names.sort();
            let name = pick(&names, which)?;
            let is_this =
                |event: &Event| matches!(&event.action, Action::Commit { transaction } if *transaction == name);
            let (late, mut kept): (Vec<Event>, Vec<Event>) = events.into_iter().partition(is_this);
            kept.extend(late.into_iter().map(|event| Event { time: event.time + 1_000_000, ..event }));
            events = kept;
        }
        Plant::Phantom => {
            let polls = events.iter_mut().filter_map(records).flat_map(|(_, records)| records);
            let mut read: Vec<&mut (i64, String)> = polls.collect();
            let count = read.len();
            read.get_mut(which.checked_rem(count)?)?.1 = "nobody's".to_owned();
        }
        Plant::Reordered => {
            let pairs: Vec<(String, String)> = known
                .sent
                .iter()
                .enumerate()
                .filter_map(|(number, (process, at, value, transaction))| {
                    let mut later = known.sent[number + 1..].iter();
                    let next = later.find(|(who, to, ..)| who == process && to == at)?;
                    (next.3 == *transaction).then(|| (value.clone(), next.2.clone()))
                })
                .collect();
            let (one, other) = pick(&pairs, which)?;
            // They are read where the other one was, and acknowledged there.
            let swapped = |value: &str| match value {
                value if value == one => Some(other.clone()),
                value if value == other => Some(one.clone()),
                _ => None,
            };
            let mut offsets = HashMap::new();
            for event in &events {
                if let Action::Send { value, offset: Some(offset), .. } = &event.action {
                    offsets.insert(value.clone(), *offset);
                }
            }
            for event in &mut events {
                if let Action::Send { value, offset: Some(offset), .. } = &mut event.action
                    && let Some(other) = swapped(value)
                {
                    *offset = offsets[&other];
                }
                for (_, value) in records(event).into_iter().flat_map(|(_, records)| records) {
                    if let Some(other) = swapped(value) {
                        *value = other;
                    }
                }
            }
        }
        Plant::NoOffset | Plant::OtherOffset => {
            let answers = events.iter_mut().filter(|event| event.phase == Phase::Ok);
            let mut told: Vec<&mut Option<i64>> = answers
                .filter_map(|event| match &mut event.action {
                    // What this group committed was acknowledged for certain.
                    Action::ReadOffsets { group, offsets } if fault == Plant::OtherOffset || group == "plain" => {
                        offsets.values_mut().next()
                    }
                    _ => None,
                })
                .filter(|offset| offset.is_some())
                .collect();
            let count = told.len();
            let answer = told.get_mut(which.checked_rem(count)?)?;
            if fault == Plant::OtherOffset {
                **answer = Some(1_000_000);
            } else {
                let certain = **answer;
                let is_acknowledged = |event: &Event| {
                    event.phase == Phase::Ok
                        && matches!(&event.action, Action::CommitOffsets { offsets, transaction: None, .. }
                            if offsets.values().copied().next() == certain)
                };
                **answer = None;
                if !events.iter().any(is_acknowledged) {
                    return None;
                }
            }
        }
        Plant::Cut => {
            let before = [read_by(&mut events, "reader0"), read_by(&mut events, "reader1")].concat();
            let (at, from, _) = pick(&before, which)?;
            for event in events.iter_mut().filter(|event| event.process.starts_with("last")) {
                if let Some((partition, records)) = records(event)
                    && *partition == at
                {
                    records.retain(|(offset, _)| *offset < from);
                }
            }
        }
    }
    Some(events)
}
