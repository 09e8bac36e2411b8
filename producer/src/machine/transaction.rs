//! The transactions of one producer, one after another: what is told to the coordinators, and when.
//!
//! ```text
//! Initializing -> Ready -> Open -> Committing -> Ready
//!                            \ -> Doomed -> Aborting -> Ready, or Initializing where the epoch must be bumped
//! ```
//!
//! By `transaction.version` 2 (KIP-890) brokers add partitions and groups by themselves, and each end of a transaction
//! brings the epoch of the next one. Before, partitions and groups are added by requests of their own, and the epoch
//! is bumped only after a failure (KIP-360).
//!
//! **Invariant:** the coordinator is told to commit only after every record that was accepted was acknowledged, and
//! every offset was taken; of a transaction of which anything failed it is never told to commit.
//! **Invariant:** one request at a time is under way.

mod action;
mod replies;
mod stage;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use rkafka_client_core::TopicPartition;
use rkafka_protocol::ErrorCode;

use super::sequence::ProducerIdentity;
use crate::{ProducerError, TransactionError};
pub(crate) use action::{Action, Admission, End, Offsets, Reply};
pub(crate) use stage::Stage;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    Needed,
    UnderWay,
    Done,
}

/// The transactions of one producer.
#[derive(Debug)]
pub(crate) struct Transactions {
    id: Arc<str>,
    stage: Stage,
    identity: Option<ProducerIdentity>,
    /// Whether brokers add partitions by themselves; as the coordinator told last, and as this transaction has it.
    offered_implicit: bool,
    implicit: bool,
    number: u64,
    /// Why the transaction is doomed, or the producer failed.
    error: Option<TransactionError>,
    /// The sequence of a partition has a gap, or the coordinator asks for it: the epoch must be bumped.
    needs_bump: bool,
    /// The coordinator may know of the transaction.
    started: bool,
    /// It was told to commit, and may have done it.
    in_doubt: bool,
    /// An attempt to commit had no answer.
    lost_commit: bool,
    wanted: BTreeSet<TopicPartition>,
    added: HashSet<TopicPartition>,
    admitted: Vec<(TopicPartition, Admission)>,
    groups: HashSet<String>,
    offsets: VecDeque<(u64, Offsets)>,
    next_ticket: u64,
    /// What became of offsets, by ticket, until it is asked for.
    taken: HashMap<u64, Result<(), TransactionError>>,
    flush: Flush,
    drop_wanted: bool,
    under_way: Option<Action>,
    not_before: Option<Instant>,
    failures: u32,
    trouble: Option<Arc<str>>,
    last_end: Option<(u64, End)>,
}

impl Transactions {
    pub(crate) fn new(id: Arc<str>) -> Self {
        Self {
            id,
            stage: Stage::Initializing,
            identity: None,
            offered_implicit: false,
            implicit: false,
            number: 0,
            error: None,
            needs_bump: false,
            started: false,
            in_doubt: false,
            lost_commit: false,
            wanted: BTreeSet::new(),
            added: HashSet::new(),
            admitted: Vec::new(),
            groups: HashSet::new(),
            offsets: VecDeque::new(),
            next_ticket: 0,
            taken: HashMap::new(),
            flush: Flush::Done,
            drop_wanted: false,
            under_way: None,
            not_before: None,
            failures: 0,
            trouble: None,
            last_end: None,
        }
    }

    fn become_stage(&mut self, next: Stage) {
        debug_assert!(self.stage.may_become(next), "{:?} -> {next:?}", self.stage);
        tracing::debug!(transactional_id = &*self.id, from = ?self.stage, to = ?next, "transaction");
        self.stage = next;
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Which transaction may send, or 0.
    pub(crate) fn sending(&self) -> u64 {
        if matches!(self.stage, Stage::Open | Stage::Committing) { self.number } else { 0 }
    }

    /// Whether brokers add partitions to the transaction by themselves.
    pub(crate) fn is_implicit(&self) -> bool {
        self.implicit
    }

    /// Why the transaction can only be aborted, or the producer can do nothing more.
    pub(crate) fn error(&self) -> Option<&TransactionError> {
        self.error.as_ref()
    }

    /// Whether the end of a transaction is under way.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Committing | Stage::Aborting)
    }

    /// The last failure that another attempt may mend.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.clone()
    }

    /// How many attempts failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the coordinator may commit the transaction, or has.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// How transaction `number` ended, once that is decided; of the last one only.
    pub(crate) fn end_of(&self, number: u64) -> Option<&End> {
        self.last_end.as_ref().filter(|(of, _)| *of == number).map(|(_, end)| end)
    }

    /// How the last transaction ended whose end was called for.
    pub(crate) fn last_end(&self) -> Option<&End> {
        self.last_end.as_ref().map(|(_, end)| end)
    }

    /// Begins a transaction and gives its number; `None` where one is not possible now.
    pub(crate) fn begin(&mut self) -> Option<u64> {
        if self.stage != Stage::Ready {
            return None;
        }
        self.become_stage(Stage::Open);
        self.number += 1;
        self.implicit = self.offered_implicit;
        self.started = false;
        self.in_doubt = false;
        self.lost_commit = false;
        self.error = None;
        self.taken.clear();
        Some(self.number)
    }

    /// The end by the application's wish. Nothing where no transaction is open, or its end is decided.
    pub(crate) fn end(&mut self, commit: bool) {
        match self.stage {
            Stage::Open if commit => {
                self.become_stage(Stage::Committing);
                // How the one before ended says nothing of this one, should its end never be known.
                self.last_end = None;
                self.flush = Flush::Needed;
            }
            Stage::Open | Stage::Doomed => self.begin_abort(),
            _ => {}
        }
    }

    fn begin_abort(&mut self) {
        self.become_stage(Stage::Aborting);
        self.last_end = Some((self.number, End::Aborted(self.error.clone())));
        self.flush = Flush::Needed;
        self.drop_wanted = true;
        self.wanted.clear();
        self.admitted.clear();
        self.fail_offsets();
    }

    fn fail_offsets(&mut self) {
        let error = self.error.clone().unwrap_or(TransactionError::Closed { may_have_been_written: false });
        self.taken.extend(self.offsets.drain(..).map(|(ticket, _)| (ticket, Err(error.clone()))));
    }

    /// The transaction cannot be committed any more.
    fn doom(&mut self, error: TransactionError) {
        if matches!(self.stage, Stage::Open | Stage::Committing) {
            tracing::warn!(transactional_id = &*self.id, %error, "the transaction can only be aborted");
        }
        match self.stage {
            Stage::Open => {
                self.become_stage(Stage::Doomed);
                self.error = Some(error);
                self.drop_wanted = true;
                self.wanted.clear();
                self.admitted.clear();
                self.fail_offsets();
            }
            Stage::Committing => {
                self.error = Some(error);
                self.in_doubt = false;
                self.begin_abort();
            }
            Stage::Initializing | Stage::Ready | Stage::Doomed | Stage::Aborting | Stage::Failed => {}
        }
    }

    /// Nothing can be done any more.
    pub(crate) fn fail(&mut self, error: TransactionError) {
        if self.stage == Stage::Failed {
            return;
        }
        if !matches!(error, TransactionError::Closed { .. }) {
            tracing::error!(transactional_id = &*self.id, %error, "the transactional producer cannot go on");
        }
        self.become_stage(Stage::Failed);
        self.error = Some(match error {
            closed @ TransactionError::Closed { .. } => closed,
            error if self.in_doubt => TransactionError::InDoubt { source: Box::new(error) },
            error => error,
        });
        self.drop_wanted = true;
        self.wanted.clear();
        self.admitted.clear();
        self.fail_offsets();
    }

    /// A record that was accepted was not delivered.
    pub(crate) fn on_send_failed(&mut self, error: &ProducerError) {
        self.needs_bump = true;
        self.on_record_refused(error);
    }

    /// A record was not accepted. As in Java, the transaction is then not whole.
    pub(crate) fn on_record_refused(&mut self, error: &ProducerError) {
        if !matches!(self.stage, Stage::Open | Stage::Doomed | Stage::Committing | Stage::Aborting) {
            return;
        }
        let fenced = match error {
            ProducerError::Refused { code: code @ ErrorCode::ProducerFenced, .. } => Some(*code),
            _ => None,
        };
        let wrapped = TransactionError::Record(error.clone());
        match fenced {
            Some(code) => self.fail(self.fenced("sending records", code)),
            None if wrapped.is_fatal() => self.fail(wrapped),
            None => self.doom(wrapped),
        }
    }

    /// Batches that may be in the log were given up: their sequence numbers are missing.
    pub(crate) fn on_gap(&mut self) {
        self.needs_bump = true;
    }

    /// A partition has records to send. Says whether that is news.
    pub(crate) fn want(&mut self, partition: TopicPartition) -> bool {
        let (Some(identity), true) = (self.identity, self.sending() != 0) else { return false };
        let admission = Admission { number: self.number, identity };
        if self.implicit || self.added.contains(&partition) {
            self.started = true;
            self.admitted.push((partition, admission));
            return true;
        }
        let under_way = matches!(&self.under_way, Some(Action::AddPartitions { partitions, .. }) if partitions.contains(&partition));
        !under_way && self.wanted.insert(partition)
    }

    /// Partitions whose batches may go now.
    pub(crate) fn take_admitted(&mut self) -> Vec<(TopicPartition, Admission)> {
        std::mem::take(&mut self.admitted)
    }

    /// Takes offsets to be committed with the transaction, and gives a ticket to ask for their fate.
    pub(crate) fn add_offsets(&mut self, offsets: Offsets) -> u64 {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        if self.stage == Stage::Open {
            self.offsets.push_back((ticket, offsets));
        } else {
            let error = self.error.clone().unwrap_or(TransactionError::Closed { may_have_been_written: false });
            self.taken.insert(ticket, Err(error));
        }
        ticket
    }

    /// What became of offsets, once.
    pub(crate) fn take_result(&mut self, ticket: u64) -> Option<Result<(), TransactionError>> {
        self.taken.remove(&ticket)
    }

    /// What is to be done now.
    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if std::mem::take(&mut self.drop_wanted) {
            return Some(Action::Drop);
        }
        if self.flush == Flush::Needed && matches!(self.stage, Stage::Committing | Stage::Aborting) {
            self.flush = Flush::UnderWay;
            return Some(Action::AwaitSends);
        }
        if self.under_way.is_some() || self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        self.not_before = None;
        let action = self.next_request()?;
        self.under_way = Some(action.clone());
        Some(action)
    }

    fn next_request(&mut self) -> Option<Action> {
        if self.stage == Stage::Initializing {
            return Some(Action::Initialize { present: self.identity });
        }
        let identity = self.identity?;
        match self.stage {
            Stage::Open | Stage::Committing => {
                if !self.wanted.is_empty() {
                    self.started = true;
                    let partitions = std::mem::take(&mut self.wanted).into_iter().collect();
                    return Some(Action::AddPartitions { identity, partitions });
                }
                if let Some((_, offsets)) = self.offsets.front() {
                    self.started = true;
                    if !self.implicit && !self.groups.contains(&offsets.group.group_id) {
                        return Some(Action::AddGroup { identity, group_id: offsets.group.group_id.clone() });
                    }
                    return Some(Action::CommitOffsets { identity, offsets: offsets.clone(), adds: self.implicit });
                }
                if self.stage == Stage::Committing && self.flush == Flush::Done {
                    return self.tell_end(identity, true);
                }
                None
            }
            Stage::Aborting if self.flush == Flush::Done => self.tell_end(identity, false),
            _ => None,
        }
    }

    fn tell_end(&mut self, identity: ProducerIdentity, commit: bool) -> Option<Action> {
        if !self.started {
            // The coordinator knows nothing of the transaction.
            self.finish(commit);
            return None;
        }
        self.in_doubt = commit;
        Some(Action::End { identity, commit, bumps: self.implicit })
    }

    /// When to ask again although nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.under_way.is_none())
    }

    /// Nothing of the transaction is under way any more.
    pub(crate) fn on_flushed(&mut self) {
        if self.flush == Flush::UnderWay {
            self.flush = Flush::Done;
        }
    }

    /// The transaction is over.
    fn finish(&mut self, commit: bool) {
        if commit {
            self.last_end = Some((self.number, End::Committed));
        }
        if !commit && self.needs_bump {
            return self.become_initializing();
        }
        self.become_stage(Stage::Ready);
        self.clear();
    }

    fn become_initializing(&mut self) {
        self.become_stage(Stage::Initializing);
        self.clear();
    }

    fn clear(&mut self) {
        self.wanted.clear();
        self.added.clear();
        self.admitted.clear();
        self.groups.clear();
        self.offsets.clear();
        self.error = None;
        self.in_doubt = false;
    }
}
