//! The course of a transaction, step by step.

use rkafka_protocol::ErrorCode;

use super::super::{ProducerIdentity, TransactionState};
use super::world::{ID, TIMEOUT_MS, World};

/// A world whose producer is at the last epoch that clients see.
fn nearly_exhausted() -> (World, ProducerIdentity) {
    let mut world = World::new();
    let producer = ProducerIdentity { id: 7, epoch: i16::MAX - 1 };
    world.seed(producer);
    (world, producer)
}

#[test]
fn a_producer_that_goes_on_may_ask_twice() {
    let mut world = World::new();
    let first = world.init(None).unwrap();
    assert_eq!(first, ProducerIdentity { id: 1_001, epoch: 0 });
    let second = world.init(Some(first)).unwrap();
    assert_eq!(second, ProducerIdentity { epoch: 1, ..first });
    assert_eq!(world.init(Some(first)), Ok(second), "the answer was lost");
    let other = world.init(None).unwrap();
    assert_eq!(other.epoch, 2);
    assert_eq!(world.init(Some(second)), Err(ErrorCode::ProducerFenced), "another one has the id now");
    let stranger = ProducerIdentity { id: 7, epoch: 0 };
    assert_eq!(world.init(Some(stranger)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn who_names_itself_to_a_coordinator_that_forgot_begins_anew() {
    let mut world = World::new();
    let remembered = ProducerIdentity { id: 7, epoch: 5 };
    let given = world.init(Some(remembered)).unwrap();
    assert_eq!(given, ProducerIdentity { id: 1_001, epoch: 0 });
}

#[test]
fn an_exhausted_epoch_gives_a_new_producer_id() {
    let (mut world, producer) = nearly_exhausted();
    let next = world.init(Some(producer)).unwrap();
    assert_eq!(next.epoch, 0);
    assert_ne!(next.id, producer.id);
    assert_eq!(world.init(Some(producer)), Ok(next), "the answer was lost");
    // Without a name the same.
    let (mut world, producer) = nearly_exhausted();
    let next = world.init(None).unwrap();
    assert_eq!(next.epoch, 0);
    assert_eq!(world.init(Some(producer)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn a_transaction_at_the_last_epoch_ends_with_a_new_producer_id() {
    let (mut world, producer) = nearly_exhausted();
    world.add(producer, 0, 2).unwrap();
    let next = world.end(producer, true, 2).unwrap();
    assert_eq!(next.epoch, 0);
    assert_ne!(next.id, producer.id);
    assert_eq!(world.transaction().producer(), ProducerIdentity { epoch: i16::MAX, ..producer });
    assert_eq!(world.end(producer, true, 2), Err(ErrorCode::ConcurrentTransactions));
    world.write_markers();
    assert_eq!(world.transaction().producer(), next);
    assert_eq!(world.end(producer, true, 2), Ok(next), "the answer was lost");
    assert_eq!(world.end(producer, false, 2), Err(ErrorCode::InvalidTxnState));
    world.restart();
    assert_eq!(world.end(producer, true, 2), Ok(next), "the answer was lost, and the coordinator fell");
    world.add(next, 0, 2).unwrap();
}

#[test]
fn fencing_at_the_last_epoch_uses_the_one_that_was_kept_for_it() {
    let (mut world, producer) = nearly_exhausted();
    world.add(producer, 0, 2).unwrap();
    assert_eq!(world.init(None), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(world.transaction().producer_epoch, i16::MAX);
    assert_eq!(world.init(None), Err(ErrorCode::ConcurrentTransactions), "markers are being written");
    world.write_markers();
    let next = world.init(None).unwrap();
    assert_eq!(next.epoch, 0);
    assert_ne!(next.id, producer.id);
}

#[test]
fn ends_are_judged_by_kafkas_table() {
    // Version 2, by state and result: what a retry (the epoch before) and what the present epoch is told.
    for (committed, commit, retry, current) in [
        (false, false, Ok(()), Ok(())),
        (false, true, Err(ErrorCode::InvalidTxnState), Err(ErrorCode::InvalidTxnState)),
        (true, false, Err(ErrorCode::InvalidTxnState), Ok(())),
        (true, true, Ok(()), Err(ErrorCode::InvalidTxnState)),
    ] {
        let complete = || {
            let mut world = World::new();
            let before = world.init(None).unwrap();
            world.add(before, 0, 2).unwrap();
            let now = world.end(before, committed, 2).unwrap();
            world.write_markers();
            (world, before, now)
        };
        let (mut world, before, now) = complete();
        assert_eq!(world.end(before, commit, 2).map(drop), retry, "{committed} {commit}");
        assert_eq!(world.transaction().producer(), now, "a retry changes nothing");
        let (mut world, _, now) = complete();
        let answer = world.end(now, commit, 2);
        assert_eq!(answer.map(drop), current, "{committed} {commit}");
        if let Ok(next) = answer {
            assert_eq!(next.epoch, now.epoch + 1, "an abort of nothing has the epoch go up all the same");
        }
        let newer = ProducerIdentity { epoch: now.epoch + 1, ..now };
        let (mut world, _, _) = complete();
        assert_eq!(world.end(newer, commit, 2), Err(ErrorCode::ProducerFenced));
    }
    let mut world = World::new();
    let producer = world.init(None).unwrap();
    assert_eq!(world.end(producer, true, 2), Err(ErrorCode::InvalidTxnState));
    assert_eq!(world.end(producer, false, 2).unwrap().epoch, 1);
    world.write_markers();
    assert_eq!(world.state(), TransactionState::CompleteAbort);

    // Version 1: nothing is known of retries, and nothing can be ended that did not begin.
    let mut world = World::new();
    let producer = world.init(None).unwrap();
    for commit in [true, false] {
        assert_eq!(world.end(producer, commit, 0), Err(ErrorCode::InvalidTxnState));
    }
    world.add(producer, 0, 0).unwrap();
    assert_eq!(world.end(producer, true, 0), Ok(producer));
    assert_eq!(world.end(producer, true, 0), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(world.end(producer, false, 0), Err(ErrorCode::InvalidTxnState));
    assert_eq!(world.add(producer, 1, 0), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(world.verify(producer, 0), Err(ErrorCode::ConcurrentTransactions));
    world.write_markers();
    assert_eq!(world.end(producer, true, 0), Ok(producer));
    assert_eq!(world.end(producer, false, 0), Err(ErrorCode::InvalidTxnState));
    assert_eq!(world.verify(producer, 0), Err(ErrorCode::TransactionAbortable));
}

#[test]
fn markers_that_cannot_be_written_are_written_later() {
    let mut world = World::new();
    let producer = world.init(None).unwrap();
    world.add(producer, 0, 2).unwrap();
    world.end(producer, true, 2).unwrap();
    world.fail_markers = true;
    world.write_markers();
    assert_eq!(world.state(), TransactionState::PrepareCommit);
    assert!(world.shard.unmarked(world.now).is_empty(), "not at once");
    let at_ms = world.shard.deadline_ms().unwrap();
    world.fail_markers = false;
    world.pass(at_ms - world.now.monotonic_ms);
    world.do_due();
    assert_eq!(world.state(), TransactionState::CompleteCommit);
}

#[test]
fn a_restart_sends_the_markers_again() {
    for commit in [true, false] {
        let mut world = World::new();
        let producer = world.init(None).unwrap();
        world.add(producer, 0, 2).unwrap();
        world.end(producer, commit, 2).unwrap();
        // The marker is there, its completion is not.
        let work = world.shard.take_markers(ID).unwrap();
        world.partitions.entry(0).or_default().epochs.insert(work.producer_id, work.producer_epoch);
        world.restart();
        assert_eq!(world.shard.deadline_ms(), Some(world.now.monotonic_ms));
        world.do_due();
        assert!(world.state().may_expire());
    }
}

#[test]
fn time_ends_a_transaction_also_across_a_restart() {
    for restarts in [false, true] {
        let mut world = World::new();
        let producer = world.init(None).unwrap();
        world.add(producer, 0, 2).unwrap();
        world.pass(i64::from(TIMEOUT_MS) / 2);
        if restarts {
            world.restart();
        }
        assert_eq!(world.shard.deadline_ms(), Some(i64::from(TIMEOUT_MS)));
        world.pass(i64::from(TIMEOUT_MS) / 2 - 1);
        world.do_due();
        assert_eq!(world.state(), TransactionState::Ongoing);
        world.pass(1);
        world.fail_appends = true;
        world.do_due();
        assert_eq!(world.state(), TransactionState::Ongoing, "it could not be written");
        world.fail_appends = false;
        world.pass(2_000);
        world.do_due();
        assert_eq!(world.state(), TransactionState::CompleteAbort);
        assert_eq!(world.transaction().producer_epoch, producer.epoch + 1);
        assert_eq!(world.add(producer, 0, 2), Err(ErrorCode::ProducerFenced));
    }
}

#[test]
fn an_id_that_nobody_uses_is_forgotten_and_an_open_transaction_is_not() {
    let mut world = World::new();
    world.init(None).unwrap();
    world.pass(604_800_000 - 1);
    world.do_due();
    assert!(world.shard.transaction(ID).is_some());
    world.pass(3_600_000);
    world.do_due();
    assert!(world.shard.transaction(ID).is_none());
    assert_eq!(world.shard.deadline_ms(), None);
    let anew = world.init(None).unwrap();
    assert_eq!(anew, ProducerIdentity { id: 1_002, epoch: 0 }, "an id is never given twice");
}

#[test]
fn an_append_that_fails_changes_nothing() {
    let mut world = World::new();
    world.fail_appends = true;
    assert_eq!(world.init(None), Err(ErrorCode::NotCoordinator));
    world.fail_appends = false;
    let producer = world.init(None).unwrap();
    world.fail_appends = true;
    assert!(world.add(producer, 0, 2).is_err());
    assert_eq!(world.state(), TransactionState::Empty);
    world.fail_appends = false;
    world.add(producer, 0, 2).unwrap();
    world.fail_appends = true;
    assert!(world.end(producer, true, 2).is_err());
    assert_eq!(world.init(None), Err(ErrorCode::NotCoordinator), "the fence was not written");
    world.fail_appends = false;
    assert_eq!(world.end(producer, true, 2).unwrap().epoch, 1, "nobody was fenced");
}

#[test]
fn a_producer_whose_transaction_took_too_long_may_go_on() {
    for version in [0, 2] {
        let mut world = World::new();
        let producer = world.init(None).unwrap();
        world.add(producer, 0, version).unwrap();
        world.pass(i64::from(TIMEOUT_MS) + 1);
        world.do_due();
        world.write_markers();
        assert_eq!(world.state(), TransactionState::CompleteAbort);
        let next = ProducerIdentity { epoch: producer.epoch + 1, ..producer };
        assert_eq!(world.init(Some(producer)), Ok(next));
        assert_eq!(world.init(Some(producer)), Ok(next), "the answer was lost");
        let other = world.init(None).unwrap();
        assert_eq!(world.init(Some(producer)), Err(ErrorCode::ProducerFenced), "{other:?} has the id now");
    }
}

#[test]
fn nobody_is_given_the_epoch_after_which_no_marker_can_come() {
    let (mut world, producer) = nearly_exhausted();
    world.add(producer, 0, 2).unwrap();
    assert_eq!(world.init(Some(producer)), Err(ErrorCode::ConcurrentTransactions));
    world.write_markers();
    assert_eq!(world.transaction().producer(), ProducerIdentity { epoch: i16::MAX, ..producer });
    let next = world.init(Some(producer)).unwrap();
    assert_eq!(next.epoch, 0);
    assert_ne!(next.id, producer.id);
    assert_eq!(world.init(Some(producer)), Ok(next), "the answer was lost");
}
