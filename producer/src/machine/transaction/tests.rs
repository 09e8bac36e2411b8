mod world;

use std::time::Duration;

use rkafka_client_core::{CommittedOffset, GroupMetadata};
use rkafka_protocol::ErrorCode;

use super::replies::CONCURRENT_PAUSE;
use super::*;
use crate::partitioner::next_random;

const PAUSE: Duration = Duration::from_millis(100);
const FIRST: ProducerIdentity = ProducerIdentity { id: 7, epoch: 0 };

fn place(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn offsets() -> Offsets {
    Offsets { group: GroupMetadata::new("g"), offsets: vec![(place(9), CommittedOffset::new(5))] }
}

struct Course {
    machine: Transactions,
    now: Instant,
}

impl Course {
    /// A producer that has its id.
    fn ready(implicit: bool) -> Self {
        let mut course = Self { machine: Transactions::new("tx".into()), now: crate::clock::now() };
        assert_eq!(course.action(), Some(Action::Initialize { present: None }));
        assert_eq!(course.machine.begin(), None, "there is no id yet");
        course.reply(Reply::Initialized { identity: FIRST, implicit });
        assert_eq!(course.machine.stage(), Stage::Ready);
        course
    }

    fn action(&mut self) -> Option<Action> {
        self.machine.poll_action(self.now)
    }

    fn reply(&mut self, reply: Reply) {
        self.machine.on_reply(self.now, PAUSE, reply);
    }

    fn ended(&mut self, identity: Option<ProducerIdentity>, implicit: bool) {
        self.reply(Reply::Ended { identity, implicit });
    }

    /// Begins, with one partition in the transaction.
    fn begin_with_partition(&mut self, implicit: bool) -> u64 {
        let number = self.machine.begin().expect("ready");
        assert!(self.machine.want(place(0)));
        if !implicit {
            assert!(!self.machine.want(place(0)), "it is wanted already");
            assert!(matches!(self.action(), Some(Action::AddPartitions { .. })));
            self.reply(Reply::PartitionsAdded(vec![(place(0), ErrorCode::None)]));
        }
        let admitted = self.machine.take_admitted();
        assert_eq!(admitted.len(), 1);
        assert_eq!(admitted[0].1.number, number);
        number
    }

    fn flush(&mut self) {
        assert_eq!(self.action(), Some(Action::AwaitSends));
        assert_eq!(self.action(), None, "nothing is told while records are under way");
        self.machine.on_flushed();
    }
}

fn refused(code: ErrorCode) -> ProducerError {
    ProducerError::Refused { topic: "t".into(), partition: 0, code, detail: None, maybe_written: false }
}

fn lost() -> Reply {
    let error = rkafka_client_core::Error::new(rkafka_client_core::ErrorKind::Disconnected, "reset");
    Reply::Lost(Arc::new(error.with_maybe_written(true)))
}

#[test]
fn stages_follow_each_other_as_documented() {
    use Stage::{Aborting, Committing, Doomed, Failed, Initializing, Open, Ready};
    let all = [Initializing, Ready, Open, Doomed, Committing, Aborting, Failed];
    let legal: Vec<_> = all
        .iter()
        .flat_map(|from| all.iter().map(move |to| (*from, *to)))
        .filter(|(from, to)| from.may_become(*to))
        .collect();
    let mut expected = vec![
        (Initializing, Ready),
        (Ready, Open),
        (Open, Doomed),
        (Open, Committing),
        (Open, Aborting),
        (Doomed, Aborting),
        (Committing, Ready),
        (Committing, Aborting),
        (Aborting, Ready),
        (Aborting, Initializing),
    ];
    expected.extend(all.iter().filter(|from| **from != Failed).map(|from| (*from, Failed)));
    assert_eq!(legal.len(), expected.len());
    assert!(expected.iter().all(|pair| legal.contains(pair)));
}

#[test]
fn by_version_2_each_end_brings_the_next_epoch() {
    let mut course = Course::ready(true);
    for epoch in 0..3 {
        let number = course.begin_with_partition(true);
        course.machine.end(true);
        course.flush();
        let identity = ProducerIdentity { epoch, ..FIRST };
        assert_eq!(course.action(), Some(Action::End { identity, commit: true, bumps: true }));
        assert!(course.machine.is_in_doubt());
        course.ended(Some(ProducerIdentity { epoch: epoch + 1, ..FIRST }), true);
        assert!(matches!(course.machine.end_of(number), Some(End::Committed)));
        assert_eq!((course.machine.stage(), course.machine.is_in_doubt()), (Stage::Ready, false));
    }
}

#[test]
fn by_version_1_partitions_are_added_together_and_once() {
    let mut course = Course::ready(false);
    course.machine.begin().expect("ready");
    assert!(course.machine.want(place(1)) && course.machine.want(place(0)));
    let partitions = vec![place(0), place(1)];
    assert_eq!(course.action(), Some(Action::AddPartitions { identity: FIRST, partitions: partitions.clone() }));
    assert!(!course.machine.want(place(0)), "it is being added");
    assert!(course.machine.want(place(2)));
    assert_eq!(course.action(), None, "one request at a time");
    // The transaction before is being completed: all of them again, soon.
    let busy = partitions.iter().map(|place| (place.clone(), ErrorCode::ConcurrentTransactions)).collect();
    course.reply(Reply::PartitionsAdded(busy));
    assert_eq!(course.action(), None);
    assert_eq!(course.machine.deadline(), Some(course.now + CONCURRENT_PAUSE));
    course.now += CONCURRENT_PAUSE;
    let partitions = vec![place(0), place(1), place(2)];
    assert_eq!(course.action(), Some(Action::AddPartitions { identity: FIRST, partitions: partitions.clone() }));
    course.reply(Reply::PartitionsAdded(partitions.iter().map(|place| (place.clone(), ErrorCode::None)).collect()));
    assert_eq!(course.machine.take_admitted().len(), 3);
    course.machine.end(true);
    course.flush();
    assert_eq!(course.action(), Some(Action::End { identity: FIRST, commit: true, bumps: false }));
    course.ended(Some(FIRST), false);
    // The epoch stays, and in the next transaction partitions are added anew.
    course.machine.begin().expect("ready");
    assert!(course.machine.want(place(0)));
    assert_eq!(course.action(), Some(Action::AddPartitions { identity: FIRST, partitions: vec![place(0)] }));
}

#[test]
fn one_partition_that_is_refused_dooms_the_transaction_and_not_the_producer() {
    let mut course = Course::ready(false);
    course.machine.begin().expect("ready");
    course.machine.want(place(0));
    course.machine.want(place(1));
    course.action();
    let ticket = course.machine.add_offsets(offsets());
    let codes = vec![(place(0), ErrorCode::OperationNotAttempted), (place(1), ErrorCode::TopicAuthorizationFailed)];
    course.reply(Reply::PartitionsAdded(codes));
    assert_eq!((course.machine.stage(), course.machine.sending()), (Stage::Doomed, 0));
    let error = course.machine.error().expect("doomed");
    assert!(error.is_abortable() && error.to_string().contains("t-1"), "{error}");
    assert!(course.machine.take_result(ticket).expect("told at once").is_err());
    assert_eq!(course.action(), Some(Action::Drop));
    assert_eq!(course.action(), None, "the application has the word");
    course.machine.end(true);
    assert_eq!(course.machine.stage(), Stage::Aborting, "it cannot be committed");
    assert_eq!(course.action(), Some(Action::Drop));
    course.flush();
    assert_eq!(course.action(), Some(Action::End { identity: FIRST, commit: false, bumps: false }));
    course.ended(None, false);
    assert_eq!(course.machine.stage(), Stage::Ready, "no sequence has a gap");
}

#[test]
fn after_a_lost_record_version_1_asks_for_another_epoch() {
    for implicit in [false, true] {
        let mut course = Course::ready(implicit);
        let number = course.begin_with_partition(implicit);
        course.machine.end(true);
        assert_eq!(course.action(), Some(Action::AwaitSends));
        course.machine.on_send_failed(&refused(ErrorCode::OutOfOrderSequenceNumber));
        assert!(matches!(course.machine.end_of(number), Some(End::Aborted(Some(error))) if error.is_abortable()));
        assert_eq!(course.action(), Some(Action::Drop));
        course.flush();
        assert_eq!(course.action(), Some(Action::End { identity: FIRST, commit: false, bumps: implicit }));
        let next = ProducerIdentity { epoch: 1, ..FIRST };
        course.ended(Some(if implicit { next } else { FIRST }), implicit);
        if !implicit {
            assert_eq!(course.action(), Some(Action::Initialize { present: Some(FIRST) }), "KIP-360");
            course.reply(Reply::Initialized { identity: next, implicit });
        }
        assert_eq!(course.machine.stage(), Stage::Ready);
        course.machine.begin().expect("ready");
        assert_eq!(course.machine.identity, Some(next));
    }
}

#[test]
fn fatal_refusals_end_the_producer() {
    for code in
        [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch, ErrorCode::TransactionalIdAuthorizationFailed]
    {
        let mut course = Course::ready(true);
        course.begin_with_partition(true);
        course.machine.end(true);
        course.flush();
        course.action();
        course.reply(Reply::Refused(code));
        let error = course.machine.error().expect("failed").clone();
        assert!(error.is_fatal() && !error.is_abortable() && !error.may_have_been_written(), "{error}");
        assert_eq!(course.action(), Some(Action::Drop));
        assert_eq!((course.action(), course.machine.begin()), (None, None));
    }
    // A record that was fenced, too.
    let mut course = Course::ready(true);
    course.begin_with_partition(true);
    course.machine.on_send_failed(&refused(ErrorCode::ProducerFenced));
    assert!(course.machine.error().is_some_and(TransactionError::is_fenced));
    assert_eq!(course.machine.stage(), Stage::Failed);
}

/// The coordinator may have written its decision, and then have lost its log or not enough replicas.
#[test]
fn a_commit_that_was_refused_by_who_is_no_coordinator_any_more_is_in_doubt() {
    for (code, doubted) in [
        (ErrorCode::NotCoordinator, true),
        (ErrorCode::CoordinatorNotAvailable, true),
        (ErrorCode::CoordinatorLoadInProgress, false),
        (ErrorCode::ConcurrentTransactions, false),
    ] {
        let mut course = Course::ready(true);
        course.begin_with_partition(true);
        course.machine.end(true);
        course.flush();
        assert!(course.action().is_some());
        course.reply(Reply::Refused(code));
        course.now += PAUSE;
        assert!(course.action().is_some());
        course.reply(Reply::Refused(ErrorCode::ProducerFenced));
        let error = course.machine.error().expect("failed");
        assert_eq!(error.may_have_been_written(), doubted, "{code}: {error}");
    }
}

/// Whoever asks how the last one ended must not be told of the one before.
#[test]
fn a_commit_whose_end_is_never_known_is_not_taken_for_the_one_before() {
    let mut course = Course::ready(true);
    course.begin_with_partition(true);
    course.machine.end(true);
    course.flush();
    assert!(course.action().is_some());
    course.ended(Some(ProducerIdentity { id: 7, epoch: 1 }), true);
    assert!(matches!(course.machine.last_end(), Some(End::Committed)));
    course.begin_with_partition(true);
    course.machine.end(true);
    course.flush();
    assert!(course.action().is_some());
    course.reply(lost());
    course.now += PAUSE;
    assert!(course.action().is_some());
    course.reply(Reply::Refused(ErrorCode::ProducerFenced));
    assert!(course.machine.last_end().is_none(), "{:?}", course.machine.last_end());
    assert!(course.machine.error().is_some_and(TransactionError::may_have_been_written));
}

#[test]
fn a_commit_without_an_answer_is_in_doubt_until_it_has_one() {
    let mut course = Course::ready(true);
    let number = course.begin_with_partition(true);
    course.machine.end(true);
    course.flush();
    for code in [None, Some(ErrorCode::NotCoordinator), Some(ErrorCode::CoordinatorLoadInProgress)] {
        assert!(matches!(course.action(), Some(Action::End { commit: true, .. })));
        course.reply(code.map_or_else(lost, Reply::Refused));
        assert!(course.machine.end_of(number).is_none() && course.machine.is_in_doubt());
        assert_eq!(course.action(), None, "not without a pause");
        course.now += PAUSE;
    }
    assert!(course.action().is_some());
    course.reply(Reply::Refused(ErrorCode::ProducerFenced));
    let error = course.machine.error().expect("failed");
    assert!(error.is_fenced() && error.may_have_been_written(), "{error}");
}

#[test]
fn offsets_are_added_by_group_first_in_version_1() {
    for implicit in [false, true] {
        let mut course = Course::ready(implicit);
        course.machine.begin().expect("ready");
        let tickets = [course.machine.add_offsets(offsets()), course.machine.add_offsets(offsets())];
        if !implicit {
            assert!(matches!(course.action(), Some(Action::AddGroup { .. })));
            course.reply(Reply::GroupAdded);
        }
        course.machine.end(true);
        course.flush_beside();
        for ticket in tickets {
            assert!(matches!(course.action(), Some(Action::CommitOffsets { adds, .. }) if adds == implicit));
            assert!(course.machine.take_result(ticket).is_none());
            course.reply(Reply::OffsetsCommitted(vec![(place(9), ErrorCode::CoordinatorLoadInProgress)]));
            course.now += PAUSE;
            assert!(matches!(course.action(), Some(Action::CommitOffsets { .. })));
            course.reply(Reply::OffsetsCommitted(vec![(place(9), ErrorCode::None)]));
            assert!(course.machine.take_result(ticket).expect("known").is_ok());
        }
        assert!(matches!(course.action(), Some(Action::End { commit: true, .. })), "after the offsets");
    }
}

impl Course {
    fn flush_beside(&mut self) {
        assert_eq!(self.action(), Some(Action::AwaitSends));
        self.machine.on_flushed();
    }
}

#[test]
fn what_the_coordinator_knows_nothing_of_costs_no_request() {
    let mut course = Course::ready(true);
    for commit in [true, false] {
        let number = course.machine.begin().expect("ready");
        course.machine.end(commit);
        if !commit {
            assert_eq!(course.action(), Some(Action::Drop));
        }
        course.flush_beside();
        assert_eq!(course.action(), None);
        assert_eq!(course.machine.stage(), Stage::Ready);
        assert_eq!(matches!(course.machine.end_of(number), Some(End::Committed)), commit);
    }
}

#[test]
fn a_transaction_that_its_coordinator_aborted_is_begun_anew() {
    let mut course = Course::ready(true);
    course.begin_with_partition(true);
    course.machine.end(true);
    course.flush();
    course.action();
    course.reply(Reply::Refused(ErrorCode::InvalidTxnState));
    assert_eq!(course.machine.stage(), Stage::Aborting);
    assert_eq!(course.action(), Some(Action::Drop));
    course.flush();
    assert!(matches!(course.action(), Some(Action::End { commit: false, .. })));
    course.reply(Reply::Refused(ErrorCode::InvalidTxnState));
    assert_eq!(course.action(), Some(Action::Initialize { present: Some(FIRST) }));
}
