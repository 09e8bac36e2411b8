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

mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_client_core::{CommittedOffset, GroupMetadata, TopicPartition};
use rkafka_protocol::ErrorCode;

use super::sequence::ProducerIdentity;
use crate::{ProducerError, TransactionError};
use verdict::{Request, Verdict};

/// How long to wait after CONCURRENT_TRANSACTIONS at most: the transaction before is being completed, which takes
/// milliseconds.
const CONCURRENT_PAUSE: Duration = Duration::from_millis(20);

/// Where the producer is between two transactions, or in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The coordinator is asked for a producer id, or for another epoch. It fences whoever had the id before.
    Initializing,
    /// No transaction is open.
    Ready,
    /// Records and offsets are taken.
    Open,
    /// Something of the transaction failed: nothing more is taken or sent, and it can only be aborted.
    Doomed,
    /// It is to be committed: everything that was accepted is sent, then the coordinator is told.
    Committing,
    /// It is to be aborted: what was not sent is dropped, what is under way is waited for, then the coordinator is told.
    Aborting,
    /// Nothing more can be done.
    Failed,
}

impl Stage {
    /// Whether `next` may follow.
    pub(crate) fn may_become(self, next: Self) -> bool {
        use Stage::{Aborting, Committing, Doomed, Failed, Initializing, Open, Ready};
        match self {
            Initializing => matches!(next, Ready | Failed),
            Ready => matches!(next, Open | Failed),
            Open => matches!(next, Doomed | Committing | Aborting | Failed),
            Doomed => matches!(next, Aborting | Failed),
            Committing => matches!(next, Ready | Aborting | Failed),
            Aborting => matches!(next, Ready | Initializing | Failed),
            Failed => false,
        }
    }
}

/// What lets a partition's batches go: the transaction that it is part of, and the identity to stamp them with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Which transaction, counted from 1.
    pub(crate) number: u64,
    /// The producer's id and epoch in it.
    pub(crate) identity: ProducerIdentity,
}

/// Offsets to be committed with the transaction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offsets {
    pub(crate) group: GroupMetadata,
    pub(crate) offsets: Vec<(TopicPartition, CommittedOffset)>,
}

/// What the driver is to do. The requests are answered by [`Transactions::on_reply`], one at a time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Fail what was not sent yet.
    Drop,
    /// Wait until nothing is under way or waits to be sent; then [`Transactions::on_flushed`].
    AwaitSends,
    /// InitProducerId, with the present identity where there is one.
    Initialize { present: Option<ProducerIdentity> },
    /// AddPartitionsToTxn.
    AddPartitions { identity: ProducerIdentity, partitions: Vec<TopicPartition> },
    /// AddOffsetsToTxn.
    AddGroup { identity: ProducerIdentity, group_id: String },
    /// TxnOffsetCommit; the group's coordinator adds the group where `adds`.
    CommitOffsets { identity: ProducerIdentity, offsets: Offsets, adds: bool },
    /// EndTxn; it brings the next epoch where `bumps`.
    End { identity: ProducerIdentity, commit: bool, bumps: bool },
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Another producer id or epoch; `implicit` where the cluster's `transaction.version` is 2 or higher.
    Initialized { identity: ProducerIdentity, implicit: bool },
    /// One code for each partition; a partition without one was not answered.
    PartitionsAdded(Vec<(TopicPartition, ErrorCode)>),
    /// One code for each partition of the offsets.
    OffsetsCommitted(Vec<(TopicPartition, ErrorCode)>),
    /// The transaction ended, and this is the identity from now on, where the answer says it.
    Ended { identity: Option<ProducerIdentity>, implicit: bool },
    /// The group was added.
    GroupAdded,
    /// A code for the request as a whole.
    Refused(ErrorCode),
    /// No answer came.
    Lost(Arc<rkafka_client_core::Error>),
}

/// How a transaction ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Committed,
    /// It was, or is being, aborted; with the reason where it was not the application's wish.
    Aborted(Option<TransactionError>),
}

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

    /// Takes what became of the request under way. `pause` is how long to wait before another attempt.
    pub(crate) fn on_reply(&mut self, now: Instant, pause: Duration, reply: Reply) {
        let Some(action) = self.under_way.take() else { return };
        if self.stage == Stage::Failed {
            return;
        }
        let request = Request::of(&action);
        if request == (Request::End { commit: true }) {
            if let Reply::Lost(error) = &reply {
                self.lost_commit |= error.maybe_written();
            }
            // A first attempt that was refused, or never sent, has done nothing.
            self.in_doubt = self.lost_commit;
        }
        match reply {
            Reply::Lost(error) if error.is_retriable() => self.retry(now, pause, action, error.to_string().into()),
            Reply::Lost(error) => {
                if let Some(code) = error.code() {
                    return self.refused(now, pause, action, code, None);
                }
                self.fail(TransactionError::Client { doing: request.doing(), source: error });
            }
            Reply::Refused(code) => self.refused(now, pause, action, code, None),
            Reply::Initialized { identity, implicit } => {
                self.succeeded();
                self.identity = Some(identity);
                self.offered_implicit = implicit;
                self.needs_bump = false;
                self.become_stage(Stage::Ready);
            }
            Reply::PartitionsAdded(codes) => {
                let Action::AddPartitions { identity, partitions } = action else { return };
                self.partitions_added(now, pause, identity, partitions, &codes);
            }
            Reply::GroupAdded => {
                self.succeeded();
                if let Action::AddGroup { group_id, .. } = action {
                    self.groups.insert(group_id);
                }
            }
            Reply::OffsetsCommitted(codes) => self.offsets_committed(now, pause, action, &codes),
            Reply::Ended { identity, implicit } => {
                self.succeeded();
                let Action::End { commit, bumps, .. } = action else { return };
                self.offered_implicit = implicit;
                if bumps && let Some(identity) = identity {
                    self.identity = Some(identity);
                    self.needs_bump = false;
                }
                self.finish(commit);
            }
        }
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.trouble = None;
    }

    fn retry(&mut self, now: Instant, pause: Duration, action: Action, trouble: Arc<str>) {
        tracing::debug!(transactional_id = &*self.id, %trouble, "another attempt follows");
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(trouble);
        self.not_before = Some(now + pause);
        // The rest is looked for anew: what is to be done stands in the state, but for partitions on their way.
        if let Action::AddPartitions { partitions, .. } = action
            && self.sending() != 0
        {
            self.wanted.extend(partitions);
        }
    }

    /// A refusal of the request, or of `partition` in it.
    fn refused(
        &mut self,
        now: Instant,
        pause: Duration,
        action: Action,
        code: ErrorCode,
        partition: Option<TopicPartition>,
    ) {
        let request = Request::of(&action);
        match request.verdict(code) {
            Verdict::Retry => {
                let pause = if code == ErrorCode::ConcurrentTransactions { pause.min(CONCURRENT_PAUSE) } else { pause };
                self.retry(now, pause, action, code.name().into());
            }
            Verdict::Fenced => self.fail(self.fenced(request.doing(), code)),
            Verdict::Fatal => {
                let (transactional_id, doing) = (self.id.clone(), request.doing());
                self.fail(TransactionError::Refused { transactional_id, doing, code });
            }
            Verdict::Abort { bump } => {
                self.needs_bump |= bump;
                if matches!(action, Action::End { .. }) && self.stage == Stage::Aborting {
                    // There is nothing to abort any more; another epoch makes sure of it.
                    return self.become_initializing();
                }
                let doing = request.doing();
                self.doom(match (action, partition) {
                    (Action::CommitOffsets { offsets, .. }, _) => {
                        TransactionError::Offsets { group_id: offsets.group.group_id, code }
                    }
                    (Action::AddGroup { group_id, .. }, _) => TransactionError::Offsets { group_id, code },
                    (_, Some(partition)) => TransactionError::Partition { partition, code },
                    _ => TransactionError::MustAbort { doing, code },
                });
                if self.stage == Stage::Initializing {
                    let transactional_id = self.id.clone();
                    self.fail(TransactionError::Refused { transactional_id, doing, code });
                }
            }
        }
    }

    fn partitions_added(
        &mut self,
        now: Instant,
        pause: Duration,
        identity: ProducerIdentity,
        partitions: Vec<TopicPartition>,
        codes: &[(TopicPartition, ErrorCode)],
    ) {
        let mut again = Vec::new();
        // The worst is what counts; that another partition failed is why one was not attempted.
        let mut worst: Option<(TopicPartition, ErrorCode)> = None;
        for partition in partitions {
            let code =
                codes.iter().find(|(of, _)| *of == partition).map_or(ErrorCode::UnknownServerError, |(_, code)| *code);
            if code == ErrorCode::None {
                self.added.insert(partition.clone());
                if self.sending() != 0 {
                    self.admitted.push((partition, Admission { number: self.number, identity }));
                }
                continue;
            }
            let rank = |code: ErrorCode| match Request::AddPartitions.verdict(code) {
                _ if code == ErrorCode::OperationNotAttempted => 0,
                Verdict::Retry => 1,
                Verdict::Abort { .. } => 2,
                Verdict::Fatal | Verdict::Fenced => 3,
            };
            if worst.as_ref().is_none_or(|(_, present)| rank(code) > rank(*present)) {
                worst = Some((partition.clone(), code));
            }
            again.push(partition);
        }
        match worst {
            None => self.succeeded(),
            Some((partition, code)) => {
                let action = Action::AddPartitions { identity, partitions: again };
                self.refused(now, pause, action, code, Some(partition));
            }
        }
    }

    fn offsets_committed(
        &mut self,
        now: Instant,
        pause: Duration,
        action: Action,
        codes: &[(TopicPartition, ErrorCode)],
    ) {
        let Action::CommitOffsets { offsets, .. } = &action else { return };
        let code_of = |place: &TopicPartition| {
            codes.iter().find(|(of, _)| of == place).map_or(ErrorCode::UnknownServerError, |(_, code)| *code)
        };
        let refusals = offsets.offsets.iter().map(|(place, _)| (place.clone(), code_of(place)));
        let mut refusals = refusals.filter(|(_, code)| *code != ErrorCode::None).collect::<Vec<_>>();
        // A retry repeats the whole commit, so that what cannot be retried comes first.
        refusals.sort_by_key(|(_, code)| Request::CommitOffsets.verdict(*code) == Verdict::Retry);
        match refusals.into_iter().next() {
            None => {
                self.succeeded();
                if let Some((ticket, _)) = self.offsets.pop_front() {
                    self.taken.insert(ticket, Ok(()));
                }
            }
            Some((place, code)) => self.refused(now, pause, action, code, Some(place)),
        }
    }

    fn fenced(&self, doing: &'static str, code: ErrorCode) -> TransactionError {
        TransactionError::Fenced { transactional_id: self.id.clone(), doing, code }
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
