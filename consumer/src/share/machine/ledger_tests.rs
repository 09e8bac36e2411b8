//! The ledger: each thing said has one outcome, and locks run out.

use std::time::Duration;

use uuid::Uuid;

use super::*;

const LOCK: Duration = Duration::from_secs(30);

fn place() -> Place {
    Place { topic_id: Uuid::from_u128(1), partition: 0 }
}

/// A ledger that has the offsets 10 to 19, and the hold that hands them out.
fn ledger(is_implicit: bool, now: Instant) -> (Ledger, Arc<Hold>) {
    let mut ledger = Ledger::new(is_implicit, 0);
    let hold = Arc::new(Hold::new(1, 0, place(), 10));
    ledger.acquire(&hold, [(10, 19)], now + LOCK, now + LOCK - LOCK / 10);
    (ledger, hold)
}

fn said(ledger: &mut Ledger) -> Vec<(i64, i64, i8)> {
    let sayings = ledger.take_off(true).remove(&place()).unwrap_or_default();
    sayings.into_iter().map(|saying| (saying.first_offset, saying.last_offset, saying.code)).collect()
}

#[test]
fn what_is_said_flies_once_and_has_one_outcome() {
    let now = crate::clock::now();
    let (mut ledger, _hold) = ledger(false, now);
    ledger.acknowledge(place(), 12, AcknowledgeType::Reject).unwrap();
    ledger.acknowledge(place(), 12, AcknowledgeType::Accept).unwrap();
    assert!(ledger.acknowledge_held(place(), 10, 14, AcknowledgeType::Release));
    ledger.say(place(), 19, 19, GAP);
    assert_eq!(said(&mut ledger), [(10, 11, 2), (12, 12, 1), (13, 14, 2), (19, 19, 0)]);
    assert_eq!(said(&mut ledger), []);
    assert_eq!(ledger.acknowledge(place(), 12, AcknowledgeType::Release), Err(AcknowledgeError::NotHeld));
    assert_eq!(ledger.acknowledge(place(), 20, AcknowledgeType::Release), Err(AcknowledgeError::NotHeld));
    assert!(ledger.is_open(0));
    ledger.land(place(), Ok(()), now);
    assert!(!ledger.is_open(0));
    let outcomes = ledger.take_outcomes();
    assert_eq!(outcomes, [Outcome { place: place(), offsets: vec![(10, 14), (19, 19)], result: Ok(()), commit: 0 }]);
    ledger.acknowledge(place(), 15, AcknowledgeType::Accept).unwrap();
}

#[test]
fn a_share_coordinator_that_is_away_is_asked_again_and_a_refusal_is_told() {
    let now = crate::clock::now();
    let (mut ledger, _hold) = ledger(false, now);
    ledger.acknowledge(place(), 10, AcknowledgeType::Accept).unwrap();
    let refused = |code| Err(AcknowledgeError::Refused { code, message: None });
    assert_eq!(said(&mut ledger), [(10, 10, 1)]);
    ledger.land(place(), refused(ErrorCode::RequestTimedOut), now);
    assert_eq!(ledger.take_outcomes(), []);
    assert_eq!(said(&mut ledger), [(10, 10, 1)]);
    ledger.land(place(), refused(ErrorCode::InvalidRecordState), now);
    let outcomes = ledger.take_outcomes();
    assert_eq!((outcomes.len(), &outcomes[0].result), (1, &refused(ErrorCode::InvalidRecordState)));
}

#[test]
fn coming_back_accepts_and_the_end_of_the_lock_takes_away() {
    let now = crate::clock::now();
    let (mut ledger, hold) = ledger(true, now);
    assert!(hold.hand_out(13));
    ledger.collect();
    assert!(!ledger.has_said(), "the application has not come back");
    assert!(ledger.awaits_return());
    hold.settle(13);
    assert!(hold.hand_out(14));
    ledger.collect();
    assert_eq!(said(&mut ledger), [(10, 12, 1)]);
    ledger.land(place(), Ok(()), now);
    ledger.take_outcomes();
    // A tenth of the lock is left: nothing more is handed out, what waits goes back, what is in hand may be accepted.
    ledger.expire(now + LOCK - LOCK / 10);
    assert!(!hold.hand_out(15));
    assert_eq!(said(&mut ledger), [(14, 19, 2)]);
    ledger.land(place(), Ok(()), now);
    ledger.take_outcomes();
    hold.settle(14);
    ledger.collect();
    assert_eq!(said(&mut ledger), [(13, 13, 1)]);
    ledger.land(place(), Ok(()), now);
    assert!(ledger.is_empty());
    assert_eq!(ledger.deadline(), None);
}

#[test]
fn what_is_in_hand_when_the_lock_ends_is_told_and_never_sent() {
    let now = crate::clock::now();
    let (mut implicit, hold) = ledger(true, now);
    assert!(hold.hand_out(12));
    implicit.expire(now + LOCK);
    hold.settle(12);
    implicit.collect();
    assert_eq!(said(&mut implicit), []);
    let outcomes = implicit.take_outcomes();
    assert_eq!((&outcomes[0].offsets, &outcomes[0].result), (&vec![(10, 11)], &Err(AcknowledgeError::LockExpired)));
    let (mut explicit, hold) = ledger(false, now);
    assert!(hold.hand_out(12));
    explicit.acknowledge(place(), 10, AcknowledgeType::Accept).unwrap();
    explicit.expire(now + LOCK);
    assert_eq!(explicit.acknowledge(place(), 11, AcknowledgeType::Accept), Err(AcknowledgeError::NotHeld));
    assert_eq!(said(&mut explicit), []);
    let outcomes = explicit.take_outcomes();
    assert_eq!((&outcomes[0].offsets, &outcomes[0].result), (&vec![(10, 10)], &Err(AcknowledgeError::LockExpired)));
}

#[test]
fn a_renewed_lock_begins_anew() {
    let now = crate::clock::now();
    let (mut ledger, hold) = ledger(false, now);
    assert!(hold.hand_out(20));
    ledger.acknowledge(place(), 10, AcknowledgeType::Renew).unwrap();
    assert!(ledger.has_renewals());
    assert_eq!(said(&mut ledger), [(10, 10, 4)]);
    ledger.land(place(), Ok(()), now + LOCK * 2);
    ledger.expire(now + LOCK);
    ledger.acknowledge(place(), 10, AcknowledgeType::Accept).unwrap();
    assert_eq!(ledger.acknowledge(place(), 11, AcknowledgeType::Accept), Err(AcknowledgeError::NotHeld));
}

#[test]
fn a_lost_session_fails_what_was_said_and_ends_what_waits() {
    let now = crate::clock::now();
    for gives_back in [false, true] {
        let (mut ledger, hold) = ledger(true, now);
        assert!(hold.hand_out(12));
        ledger.lose(None, gives_back, &AcknowledgeError::NotAnswered);
        assert!(!hold.hand_out(13) && ledger.is_empty());
        assert_eq!(ledger.take_outcomes().len(), usize::from(!gives_back));
    }
}
