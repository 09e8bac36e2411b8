//! The session: epochs, what goes with what, and what errors lead to.

use super::*;
use crate::share::acknowledgement::AcknowledgeType;

fn place(partition: i32) -> Place {
    Place { topic_id: Uuid::from_u128(1), partition }
}

fn session() -> Session {
    let terms = SessionTerms {
        broker: 1,
        is_implicit: false,
        retry_backoff: Duration::from_millis(100),
        retry_backoff_max: Duration::from_secs(1),
    };
    let mut session = Session::new(terms, 0);
    session.want(BTreeSet::from([place(0), place(1)]), |_| false);
    session
}

fn answer(error: ErrorCode, partitions: Vec<PartitionAnswer>) -> Answer {
    Answer { error, message: None, lock: Some(Duration::from_secs(30)), partitions }
}

fn acquired(partition: i32, first: i64, last: i64) -> PartitionAnswer {
    PartitionAnswer { place: place(partition), error: ErrorCode::None, said: Ok(()), acquired: vec![(first, last)] }
}

fn fetch(session: &mut Session, now: Instant) -> (i32, Vec<Place>, Vec<Place>, usize) {
    match session.next(now, Hunger::Waiting) {
        Some(Order::Fetch { epoch, add, forget, sayings, may_wait: true }) => (epoch, add, forget, sayings.len()),
        other => panic!("a fetch expected, not {other:?}"),
    }
}

/// A session at epoch 1 that has ten records of partition 0.
fn opened(now: Instant) -> Session {
    let mut session = session();
    assert_eq!(fetch(&mut session, now), (0, vec![place(0), place(1)], vec![], 0));
    assert_eq!(session.next(now, Hunger::Waiting), None, "one request at a time");
    let holds = session.on_answer(now, answer(ErrorCode::None, vec![acquired(0, 0, 9)]));
    assert_eq!(holds[0].as_ref().unwrap().cursor(), Some(0));
    session
}

#[test]
fn requests_name_what_changed_and_carry_what_was_said() {
    let now = crate::clock::now();
    let mut session = opened(now);
    assert_eq!(session.next(now, Hunger::None), None);
    session.ledger.acknowledge(place(0), 3, AcknowledgeType::Accept).unwrap();
    session.want(BTreeSet::from([place(0), place(2)]), |_| false);
    assert_eq!(fetch(&mut session, now), (1, vec![place(2)], vec![place(1)], 1));
    let quiet = PartitionAnswer { acquired: vec![], ..acquired(0, 0, 0) };
    session.on_answer(now, answer(ErrorCode::None, vec![quiet]));
    assert_eq!(session.ledger.take_outcomes()[0].result, Ok(()));
    // Nothing is fetched: what was said goes by itself, after a while or when a commit waits.
    session.ledger.acknowledge(place(0), 4, AcknowledgeType::Accept).unwrap();
    assert_eq!(session.next(now, Hunger::None), None);
    let later = session.deadline().unwrap();
    assert_eq!(later, now + LINGER);
    assert!(matches!(session.next(later, Hunger::None), Some(Order::Acknowledge { epoch: 2, renews: false, .. })));
    session.on_answer(later, answer(ErrorCode::None, vec![]));
    assert_eq!(session.ledger.take_outcomes()[0].result, Err(AcknowledgeError::NotAnswered));
    session.ledger.acknowledge(place(0), 5, AcknowledgeType::Accept).unwrap();
    session.flush();
    assert!(matches!(session.next(later, Hunger::Waiting), Some(Order::Acknowledge { epoch: 3, .. })));
}

#[test]
fn what_is_said_of_a_partition_that_is_not_read_any_more_goes_without_a_fetch() {
    let now = crate::clock::now();
    let mut session = opened(now);
    session.want(BTreeSet::from([place(1)]), |_| false);
    // What waited was given back.
    let Some(Order::Acknowledge { epoch: 1, sayings, .. }) = session.next(now, Hunger::Waiting) else {
        panic!("an acknowledgement expected")
    };
    assert_eq!(sayings[&place(0)], [Saying { first_offset: 0, last_offset: 9, code: 2 }]);
}

#[test]
fn a_session_that_is_lost_begins_anew_with_nothing() {
    for code in [ErrorCode::ShareSessionNotFound, ErrorCode::InvalidShareSessionEpoch] {
        let now = crate::clock::now();
        let mut session = opened(now);
        session.ledger.acknowledge(place(0), 3, AcknowledgeType::Accept).unwrap();
        fetch(&mut session, now);
        session.on_answer(now, answer(code, vec![]));
        let outcome = session.ledger.take_outcomes().remove(0);
        assert!(matches!(outcome.result, Err(AcknowledgeError::SessionLost { .. })), "{outcome:?}");
        assert!(session.ledger.is_empty() && session.take_events().is_empty());
        assert_eq!(fetch(&mut session, now), (0, vec![place(0), place(1)], vec![], 0));
        // A second time in a row there is a pause.
        session.on_answer(now, answer(code, vec![]));
        assert_eq!(session.next(now, Hunger::Waiting), None);
        let later = session.deadline().unwrap();
        assert!(later > now);
        assert_eq!(fetch(&mut session, later).0, 0);
    }
}

#[test]
fn a_partition_with_an_error_rests_and_a_leader_that_moved_takes_its_locks_along() {
    let now = crate::clock::now();
    let mut session = opened(now);
    fetch(&mut session, now);
    let moved = PartitionAnswer { error: ErrorCode::NotLeaderOrFollower, acquired: vec![], ..acquired(1, 0, 0) };
    session.on_answer(now, answer(ErrorCode::None, vec![moved]));
    assert_eq!(session.take_events(), [Event::Stale]);
    assert_eq!(fetch(&mut session, now).2, [place(1)], "it is not asked for while it rests");
    session.on_answer(now, answer(ErrorCode::None, vec![]));
    let later = session.deadline().unwrap();
    assert_eq!(fetch(&mut session, later).1, [place(1)]);
    session.on_answer(later, answer(ErrorCode::None, vec![]));
    session.ledger.acknowledge(place(0), 3, AcknowledgeType::Accept).unwrap();
    session.want(BTreeSet::from([place(1)]), |place| place.partition == 0);
    assert!(matches!(session.ledger.take_outcomes()[0].result, Err(AcknowledgeError::SessionLost { .. })));
}

#[test]
fn a_close_says_what_is_left_and_ends_the_session() {
    let now = crate::clock::now();
    let mut session = opened(now);
    session.ledger.acknowledge(place(0), 3, AcknowledgeType::Accept).unwrap();
    session.close();
    let Some(Order::Acknowledge { epoch: FINAL_EPOCH, sayings, .. }) = session.next(now, Hunger::Waiting) else {
        panic!("the last acknowledgement expected")
    };
    assert_eq!(sayings[&place(0)], [Saying { first_offset: 3, last_offset: 3, code: 1 }]);
    session.on_answer(now, answer(ErrorCode::None, vec![PartitionAnswer { acquired: vec![], ..acquired(0, 0, 0) }]));
    assert_eq!(session.ledger.take_outcomes()[0].result, Ok(()));
    assert!(session.is_closed() && session.next(now, Hunger::Waiting).is_none());
    let mut broken = opened(now);
    broken.close();
    broken.next(now, Hunger::None);
    broken.on_lost(now, "the connection broke");
    assert!(broken.is_closed());
}
