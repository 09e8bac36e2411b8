//! What the answer to a request means for the transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_client_core::{ErrorKind, TopicPartition};
use rkafka_protocol::ErrorCode;

use super::verdict::{Request, Verdict};
use super::{Action, Admission, Reply, Stage, Transactions};
use crate::TransactionError;
use crate::machine::sequence::ProducerIdentity;

/// How long to wait after CONCURRENT_TRANSACTIONS at most: the transaction before is being completed, which takes
/// milliseconds.
pub(super) const CONCURRENT_PAUSE: Duration = Duration::from_millis(20);

impl Transactions {
    /// Takes what became of the request under way. `pause` is how long to wait before another attempt.
    pub(crate) fn on_reply(&mut self, now: Instant, pause: Duration, reply: Reply) {
        let Some(action) = self.under_way.take() else { return };
        if self.stage == Stage::Failed {
            return;
        }
        let request = Request::of(&action);
        if request == (Request::End { commit: true }) {
            self.lost_commit |= match &reply {
                Reply::Lost(error) => error.maybe_written(),
                Reply::Refused(code) => may_be_done_in_spite_of(*code),
                _ => false,
            };
            // A first attempt that was refused otherwise, or never sent, has done nothing.
            self.in_doubt = self.lost_commit;
        }
        match reply {
            // Nonsense ends the connection that it came over, and says nothing of the next one.
            Reply::Lost(error) if error.is_retriable() || error.kind() == ErrorKind::Protocol => {
                self.retry(now, pause, action, error.to_string().into())
            }
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

    pub(super) fn fenced(&self, doing: &'static str, code: ErrorCode) -> TransactionError {
        TransactionError::Fenced { transactional_id: self.id.clone(), doing, code }
    }
}

/// Whether a transaction may be decided though its coordinator refused with `code`: it says so also where its record of
/// the decision was written and did not reach enough replicas in time, or its log has got another leader meanwhile.
fn may_be_done_in_spite_of(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::RequestTimedOut
            | ErrorCode::UnknownServerError
    )
}
