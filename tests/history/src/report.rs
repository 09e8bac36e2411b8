//! What was found.

use std::collections::BTreeMap;
use std::fmt;

/// What is wrong. The names in text are Jepsen's, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A record that was acknowledged, and committed if it was in a transaction, is not there: readers went past it.
    LostWrite,
    /// A record is there at more than one offset.
    Duplicate,
    /// An offset has two records, or a record is not where the broker said that it is.
    InconsistentOffsets,
    /// Within one poll or transaction, a reader went past a record that others were shown.
    IntPollSkip,
    /// From one poll to the next, a reader went past a record that others were shown.
    PollSkip,
    /// Within one poll or transaction, a reader went back.
    IntNonmonotonicPoll,
    /// From one poll to the next, a reader went back.
    NonmonotonicPoll,
    /// Others' records lie between two of one transaction in a partition. Kafka does not promise otherwise.
    IntSendSkip,
    /// Within a transaction, a later record lies before an earlier one of its partition.
    IntNonmonotonicSend,
    /// A record that was sent later lies before an earlier one of the same producer and partition.
    NonmonotonicSend,
    /// A reader was shown a record of an aborted transaction, or one of which its producer was told that it was not written
    /// (Adya's G1a).
    AbortedRead,
    /// Of a transaction whose end nobody was told, a reader was shown one record, and another of it is not there.
    TornTransaction,
    /// A reader was shown a record before its transaction was to be committed.
    PrecommittedRead,
    /// Transactions wrote before and after each other, in a circle (Adya's G0). Kafka does not promise otherwise.
    G0,
    /// Transactions read what each other wrote, in a circle (Adya's G1c). Only reads count: that a reader of a transaction
    /// wrote before it is nothing that Kafka forbids.
    G1c,
    /// A record that was acknowledged was read by nobody, and nobody read so far that it must be lost.
    Unseen,
    /// A reader was shown a record that nobody had sent.
    PhantomRecord,
    /// Offsets of a group that were acknowledged are not there, or older ones are.
    LostCommit,
    /// Offsets of a group that were refused or belong to an aborted transaction are there.
    AbortedCommit,
    /// Offsets of a group that nobody had committed are there.
    PhantomCommit,
    /// A client said twice how an operation ended.
    SecondEnd,
    /// A client ended in good order and never said how an operation ended.
    Unanswered,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::LostWrite,
        Self::Duplicate,
        Self::InconsistentOffsets,
        Self::IntPollSkip,
        Self::PollSkip,
        Self::IntNonmonotonicPoll,
        Self::NonmonotonicPoll,
        Self::IntSendSkip,
        Self::IntNonmonotonicSend,
        Self::NonmonotonicSend,
        Self::AbortedRead,
        Self::TornTransaction,
        Self::PrecommittedRead,
        Self::G0,
        Self::G1c,
        Self::Unseen,
        Self::PhantomRecord,
        Self::LostCommit,
        Self::AbortedCommit,
        Self::PhantomCommit,
        Self::SecondEnd,
        Self::Unanswered,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::LostWrite => "lost-write",
            Self::Duplicate => "duplicate",
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::IntPollSkip => "int-poll-skip",
            Self::PollSkip => "poll-skip",
            Self::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::IntSendSkip => "int-send-skip",
            Self::IntNonmonotonicSend => "int-nonmonotonic-send",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::AbortedRead => "aborted-read",
            Self::TornTransaction => "torn-transaction",
            Self::PrecommittedRead => "precommitted-read",
            Self::G0 => "G0",
            Self::G1c => "G1c",
            Self::Unseen => "unseen",
            Self::PhantomRecord => "phantom-record",
            Self::LostCommit => "lost-commit",
            Self::AbortedCommit => "aborted-commit",
            Self::PhantomCommit => "phantom-commit",
            Self::SecondEnd => "second-end",
            Self::Unanswered => "unanswered",
        }
    }

    /// Whether Kafka promises that it does not happen. It does not promise that transactions write alone.
    pub fn is_forbidden(self) -> bool {
        !matches!(self, Self::IntSendSkip | Self::G0)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anomaly {
    /// Which.
    pub kind: Kind,
    /// What happened, with processes, partitions, offsets and values.
    pub text: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.text)
    }
}

/// How much there was to judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Clients.
    pub processes: u64,
    /// Records that were sent.
    pub sent: u64,
    /// Of these: those that were acknowledged.
    pub acknowledged: u64,
    /// Those of which nobody knows whether they were written.
    pub unknown: u64,
    /// Of the unknown: those that were read.
    pub unknown_and_read: u64,
    /// Those that were not written, as their producers were told.
    pub refused: u64,
    /// Records that were read, each as often as it was.
    pub read: u64,
    /// Transactions of which a commit was acknowledged.
    pub committed: u64,
    /// Transactions that were refused, aborted, or left.
    pub aborted: u64,
    /// Transactions of which nobody was told how they ended.
    pub in_doubt: u64,
    /// Of those in doubt: such of which something was seen.
    pub in_doubt_and_seen: u64,
    /// Commits of a group's offsets that were acknowledged, beside and within transactions.
    pub offsets_committed: u64,
    /// Questions for a group's offsets that were answered.
    pub offsets_read: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} processes; {} records sent, {} acknowledged, {} of unknown fate ({} of them there), {} refused; {} read; \
             transactions: {} committed, {} aborted, {} in doubt ({} of them seen); offsets: {} committed, {} asked for",
            self.processes,
            self.sent,
            self.acknowledged,
            self.unknown,
            self.unknown_and_read,
            self.refused,
            self.read,
            self.committed,
            self.aborted,
            self.in_doubt,
            self.in_doubt_and_seen,
            self.offsets_committed,
            self.offsets_read,
        )
    }
}

/// What was found in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its figures.
    pub summary: Summary,
    /// What is wrong, by kind. What Kafka does not forbid is among it.
    pub anomalies: Vec<Anomaly>,
}

/// How many anomalies of one kind are told in words.
const TOLD: usize = 10;

impl Report {
    pub(crate) fn new(summary: Summary) -> Self {
        Self { summary, anomalies: Vec::new() }
    }

    pub(crate) fn add(&mut self, kind: Kind, text: String) {
        self.anomalies.push(Anomaly { kind, text });
    }

    pub(crate) fn sort(&mut self) {
        self.anomalies.sort();
        self.anomalies.dedup();
    }

    /// How many anomalies of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.anomalies.iter().filter(|anomaly| anomaly.kind == kind).count()
    }

    /// Which kinds there are.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.anomalies.iter().map(|anomaly| anomaly.kind).collect();
        kinds.dedup();
        kinds
    }

    /// Whether there is nothing that Kafka promises not to happen.
    pub fn is_valid(&self) -> bool {
        self.anomalies.iter().all(|anomaly| !anomaly.kind.is_forbidden())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.summary)?;
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        for anomaly in &self.anomalies {
            *counts.entry(anomaly.kind).or_default() += 1;
        }
        if counts.is_empty() {
            return write!(formatter, "\nno anomalies");
        }
        for (kind, count) in counts {
            let remark = if kind.is_forbidden() { "" } else { " (Kafka does not forbid it)" };
            write!(formatter, "\n{kind}: {count}{remark}")?;
            let told = self.anomalies.iter().filter(|anomaly| anomaly.kind == kind && kind.is_forbidden());
            for anomaly in told.take(TOLD) {
                write!(formatter, "\n  {}", anomaly.text)?;
            }
        }
        Ok(())
    }
}
