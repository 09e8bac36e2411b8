//! What was said in a group's life, and what of it must not be.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a member has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// By a hook, with the generation or member epoch where the client tells it.
    Assigned(Option<i32>, Vec<i32>),
    Revoked(Option<i32>, Vec<i32>),
    Lost(Vec<i32>),
    Read {
        partition: i32,
        offset: i64,
        value: String,
    },
    /// Acknowledged commits: a partition, and the offset of the next record.
    Committed(Vec<(i32, i64)>),
    Error(String),
    /// The client has given up.
    Fatal(String),
}

impl Event {
    /// Reads a line: its time and what it says. `None` for any other line.
    pub(super) fn parse(line: &str) -> Option<(u64, Self)> {
        let (at, rest) = line.split_once(' ')?;
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let numbers = || -> Option<(Option<i32>, Vec<i32>)> {
            let numbers: Result<Vec<i32>, _> = rest.split_whitespace().map(str::parse).collect();
            let (epoch, places) = numbers.ok()?.split_first().map(|(epoch, places)| (*epoch, places.to_vec()))?;
            Some(((epoch >= 0).then_some(epoch), places))
        };
        let event = match word {
            "assigned" => numbers().map(|(epoch, places)| Self::Assigned(epoch, places))?,
            "revoked" => numbers().map(|(epoch, places)| Self::Revoked(epoch, places))?,
            "lost" => Self::Lost(numbers()?.1),
            "read" => {
                let mut words = rest.splitn(3, ' ');
                let partition = words.next()?.parse().ok()?;
                Self::Read { partition, offset: words.next()?.parse().ok()?, value: words.next()?.to_owned() }
            }
            "committed" => {
                let pairs = rest.split_whitespace().map(|pair| {
                    let (partition, offset) = pair.split_once(':')?;
                    Some((partition.parse().ok()?, offset.parse().ok()?))
                });
                Self::Committed(pairs.collect::<Option<_>>()?)
            }
            "error" => Self::Error(rest.to_owned()),
            "fatal" => Self::Fatal(rest.to_owned()),
            _ => return None,
        };
        Some((at.parse().ok()?, event))
    }
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stopped,
    Killed,
}

/// One life of a member, from the start of its process to its end.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) name: String,
    /// Who the group takes it for: lives of one static member are one to it.
    pub(super) identity: String,
    pub(super) events: Vec<(u64, Event)>,
    /// Whether it is Java's consumer by the protocol of KIP-848. That takes an assignment for its own before the hook is
    /// called, in the application's next poll; closed before that poll, it says of all of it that it gives it up.
    pub(super) gives_up_what_it_was_not_told: bool,
    /// Since when it is gone, and how it went.
    pub(super) end: Option<(u64, End)>,
}

impl Life {
    fn is_given_more_after(&self, time: u64) -> bool {
        self.events
            .iter()
            .any(|(at, event)| *at > time && matches!(event, Event::Assigned(_, list) if !list.is_empty()))
    }
}

/// What the group had committed, as it told somebody else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// When it was asked, and when it had answered.
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// All that is known.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) lives: Vec<Life>,
    /// The values of records that were acknowledged, by partition, each in the order of sending.
    pub(super) sent: BTreeMap<i32, Vec<String>>,
    pub(super) samples: Vec<Sample>,
    /// Whether commits may fail without a word, as those that are automatic do while a broker is away.
    pub(super) commits_may_fail: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    Revoked,
    Lost,
    Stopped,
    Killed,
    /// It goes on.
    Open,
}

/// One life's ownership of a partition.
#[derive(Debug, Clone)]
struct Span {
    life: usize,
    from: u64,
    to: u64,
    from_epoch: Option<i32>,
    to_epoch: Option<i32>,
    close: Close,
    /// First and last offset that was read, and when the first was.
    first: Option<(u64, i64)>,
    last: Option<i64>,
    /// Whether an error was told meanwhile, so that what was read need not be committed.
    had_errors: bool,
}

impl Span {
    fn begun(life: usize, from: u64, from_epoch: Option<i32>) -> Self {
        let (first, last, had_errors) = (None, None, false);
        Self { life, from, to: u64::MAX, from_epoch, to_epoch: None, close: Close::Open, first, last, had_errors }
    }
}

/// What has happened, in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) lives: usize,
    pub(super) records: usize,
    pub(super) reads: usize,
    pub(super) ownerships: usize,
    pub(super) lost: usize,
}

impl History {
    /// Everything in it that must not be, a line for each; or what has happened, in figures.
    pub(super) fn judge(&self) -> Result<Summary, String> {
        let mut wrong = Vec::new();
        let spans = self.spans(&mut wrong);
        let read = self.earliest_reads(&mut wrong);
        self.judge_what_was_sent(&read, &mut wrong);
        for (partition, spans) in &spans {
            let done = DoneBy::new(read.get(partition));
            self.judge_owners(*partition, spans, &mut wrong);
            self.judge_beginnings(*partition, spans, &done, &mut wrong);
            self.judge_samples(*partition, &done, &mut wrong);
        }
        if wrong.is_empty() {
            let events = || self.lives.iter().flat_map(|life| &life.events).map(|(_, event)| event);
            return Ok(Summary {
                lives: self.lives.len(),
                records: self.sent.values().map(Vec::len).sum(),
                reads: events().filter(|event| matches!(event, Event::Read { .. })).count(),
                ownerships: spans.values().map(Vec::len).sum(),
                lost: spans.values().flatten().filter(|span| span.close == Close::Lost).count(),
            });
        }
        wrong.sort();
        let mut text = format!("{} things are wrong:\n", wrong.len());
        for line in wrong.iter().take(40) {
            let _ = writeln!(text, "  {line}");
        }
        Err(text)
    }

    /// What the members said but for what they read and committed, a life after another, for messages.
    pub(super) fn moves(&self) -> String {
        let mut text = String::new();
        for (number, life) in self.lives.iter().enumerate() {
            let _ = writeln!(text, "{} ({number}), {:?}", life.name, life.end);
            let moves =
                life.events.iter().filter(|(_, event)| !matches!(event, Event::Read { .. } | Event::Committed(_)));
            for (at, event) in moves {
                let _ = writeln!(text, "  {at} {event:?}");
            }
        }
        text
    }

    fn who(&self, span: &Span) -> String {
        let life = &self.lives[span.life];
        format!("{} ({}, from {} to {:?} {})", life.name, span.life, span.from, span.close, span.to)
    }

    /// Who owned what and when, by partition and time. Reads outside of an ownership, and holes in one, are wrong.
    fn spans(&self, wrong: &mut Vec<String>) -> BTreeMap<i32, Vec<Span>> {
        let mut spans: BTreeMap<i32, Vec<Span>> = BTreeMap::new();
        for (number, life) in self.lives.iter().enumerate() {
            let mut open: BTreeMap<i32, Span> = BTreeMap::new();
            // Who has been put out may say of what it had that it gives it up; it has lost it.
            let mut is_out = false;
            for (at, event) in &life.events {
                let mut close = |open: &mut BTreeMap<i32, Span>, places: &[i32], epoch, how| {
                    for place in places {
                        match open.remove(place) {
                            Some(span) => {
                                let ended = Span { to: *at, to_epoch: epoch, close: how, ..span };
                                spans.entry(*place).or_default().push(ended);
                            }
                            None if life.gives_up_what_it_was_not_told && !life.is_given_more_after(*at) => {}
                            None => wrong.push(format!("{} at {at}: {place} was taken and never given", life.name)),
                        }
                    }
                };
                match event {
                    Event::Assigned(epoch, places) => {
                        for place in places {
                            if open.insert(*place, Span::begun(number, *at, *epoch)).is_some() {
                                wrong.push(format!("{} at {at}: {place} was given twice", life.name));
                            }
                        }
                    }
                    Event::Revoked(_, places) if is_out => close(&mut open, places, None, Close::Lost),
                    Event::Revoked(epoch, places) => close(&mut open, places, *epoch, Close::Revoked),
                    Event::Lost(places) => close(&mut open, places, None, Close::Lost),
                    Event::Read { partition, offset, .. } => match open.get_mut(partition) {
                        Some(span) => {
                            if span.last.is_some_and(|last| last + 1 != *offset) {
                                let last = span.last.unwrap_or_default();
                                wrong.push(format!("{} at {at}: {partition} has {offset} after {last}", life.name));
                            }
                            span.first.get_or_insert((*at, *offset));
                            span.last = Some(*offset);
                        }
                        None => {
                            wrong.push(format!("{} at {at}: reads {offset} of {partition}, not its own", life.name));
                        }
                    },
                    Event::Error(_) => open.values_mut().for_each(|span| span.had_errors = true),
                    Event::Fatal(_) => is_out = true,
                    Event::Committed(_) => {}
                }
            }
            for (place, span) in open {
                let (to, close) = match life.end {
                    Some((at, End::Stopped)) => (at, Close::Stopped),
                    Some((at, End::Killed)) => (at, Close::Killed),
                    None => (u64::MAX, Close::Open),
                };
                spans.entry(place).or_default().push(Span { to, close, ..span });
            }
        }
        // A commit that fails comes after its hook has said what goes.
        for span in spans.values_mut().flatten().filter(|span| span.close == Close::Revoked) {
            let after = self.lives[span.life].events.iter().skip_while(|(at, _)| *at < span.to);
            let until =
                after.take_while(|(_, event)| !matches!(event, Event::Assigned(_, places) if !places.is_empty()));
            span.had_errors |= until.into_iter().any(|(_, event)| matches!(event, Event::Error(_)));
        }
        spans.values_mut().for_each(|spans| spans.sort_by_key(|span| (span.from, span.to)));
        spans
    }

    /// When each record was read for the first time. Two values at one offset are wrong.
    fn earliest_reads(&self, wrong: &mut Vec<String>) -> BTreeMap<i32, BTreeMap<i64, (u64, &str)>> {
        let mut reads: BTreeMap<i32, BTreeMap<i64, (u64, &str)>> = BTreeMap::new();
        for (at, event) in self.lives.iter().flat_map(|life| &life.events) {
            if let Event::Read { partition, offset, value } = event {
                let first = reads.entry(*partition).or_default().entry(*offset).or_insert((*at, value));
                first.0 = first.0.min(*at);
                if first.1 != value {
                    wrong.push(format!("{partition} has two records at {offset}: {value} and {}", first.1));
                }
            }
        }
        reads
    }

    /// Every acknowledged record is read, at one offset, in the order of sending.
    fn judge_what_was_sent(&self, read: &BTreeMap<i32, BTreeMap<i64, (u64, &str)>>, wrong: &mut Vec<String>) {
        for (partition, values) in &self.sent {
            let mut at: BTreeMap<&str, i64> = BTreeMap::new();
            for (offset, (_, value)) in read.get(partition).into_iter().flatten() {
                if let Some(other) = at.insert(value, *offset) {
                    wrong.push(format!("{partition}: {value} is there at {other} and at {offset}"));
                }
            }
            let mut last = -1;
            for value in values {
                match at.get(value.as_str()) {
                    None => wrong.push(format!("{partition}: {value} was acknowledged and never read")),
                    Some(offset) if *offset < last => wrong.push(format!("{partition}: {value} is out of order")),
                    Some(offset) => last = *offset,
                }
            }
        }
    }

    /// No two members own a partition at one time, nor in one generation.
    fn judge_owners(&self, partition: i32, spans: &[Span], wrong: &mut Vec<String>) {
        let identity = |span: &Span| &self.lives[span.life].identity;
        // Who was put out learns it late; that it could do nothing any more is seen by generations and by offsets.
        let known: Vec<&Span> = spans.iter().filter(|span| span.close != Close::Lost).collect();
        for pair in known.windows(2) {
            if pair[0].to > pair[1].from {
                let (one, other) = (self.who(pair[0]), self.who(pair[1]));
                wrong.push(format!("{partition} has two owners at one time: {one} and {other}"));
            }
        }
        let mut by_epoch: Vec<&Span> = spans.iter().filter(|span| span.from_epoch.is_some()).collect();
        by_epoch.sort_by_key(|span| (span.from_epoch, span.from));
        for pair in by_epoch.windows(2).filter(|pair| identity(pair[0]) != identity(pair[1])) {
            let meets = pair[0].from_epoch == pair[1].from_epoch || pair[0].to_epoch > pair[1].from_epoch;
            if meets {
                let tell = |span: &Span| format!("{} {:?} to {:?}", self.who(span), span.from_epoch, span.to_epoch);
                let (one, other) = (tell(pair[0]), tell(pair[1]));
                wrong.push(format!("{partition} has two owners in one generation: {one} and {other}"));
            }
        }
    }

    /// Every owner begins where all before it is done, and not before what was committed.
    fn judge_beginnings(&self, partition: i32, spans: &[Span], done: &DoneBy, wrong: &mut Vec<String>) {
        let mut committed: Vec<(u64, i64, &str)> = Vec::new();
        for (at, event) in self.lives.iter().flat_map(|life| &life.events) {
            if let Event::Committed(offsets) = event {
                let of_this = offsets.iter().filter(|(place, _)| *place == partition);
                committed.extend(of_this.map(|(_, offset)| (*at, *offset, "by who did it")));
            }
        }
        let told = self.samples.iter().filter(|sample| sample.partition == partition);
        committed.extend(told.map(|sample| (sample.answered, sample.offset, "by the group")));
        if !self.commits_may_fail {
            // Who gives up in good order has committed.
            let orderly = spans.iter().filter(|span| matches!(span.close, Close::Revoked | Close::Stopped));
            let orderly = orderly.filter(|span| !span.had_errors);
            committed
                .extend(orderly.filter_map(|span| span.last.map(|last| (span.to, last + 1, "by its orderly end"))));
        }
        for span in spans {
            let Some((at, first)) = span.first else { continue };
            if !done.before(first, at) {
                wrong.push(format!("{partition}: {} begins at {first}, and not all before is read", self.who(span)));
            }
            // Of one moment it is not known what came first.
            let known = committed.iter().filter(|(when, ..)| *when < span.from).max_by_key(|(_, offset, _)| *offset);
            if let Some((when, offset, by)) = known.filter(|(_, offset, _)| first < *offset) {
                let who = self.who(span);
                wrong.push(format!("{partition}: {who} begins at {first}, {offset} was committed at {when} {by}"));
            }
        }
    }

    /// What is committed was read, and does not go back.
    fn judge_samples(&self, partition: i32, done: &DoneBy, wrong: &mut Vec<String>) {
        let mut last = 0;
        for sample in self.samples.iter().filter(|sample| sample.partition == partition) {
            if !done.before(sample.offset, sample.answered) {
                wrong.push(format!("{partition}: {} is committed at {} and not read", sample.offset, sample.answered));
            }
            if sample.offset < last {
                let (now, at) = (sample.offset, sample.asked);
                wrong.push(format!("{partition}: the committed offset goes back from {last} to {now} at {at}"));
            }
            last = last.max(sample.offset);
        }
    }
}

/// Since when all records up to an offset are read.
struct DoneBy(Vec<u64>);

impl DoneBy {
    fn new(reads: Option<&BTreeMap<i64, (u64, &str)>>) -> Self {
        let mut done = Vec::new();
        let mut latest = 0;
        for (expected, (offset, (at, _))) in (0..).zip(reads.into_iter().flatten()) {
            if expected != *offset {
                break;
            }
            latest = latest.max(*at);
            done.push(latest);
        }
        Self(done)
    }

    /// Whether all records below the offset were read by then.
    fn before(&self, offset: i64, at: u64) -> bool {
        match usize::try_from(offset) {
            Ok(0) | Err(_) => true,
            Ok(count) => self.0.get(count - 1).is_some_and(|done| *done <= at),
        }
    }
}
