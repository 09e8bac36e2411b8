//! A member of a share group over virtual time.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const INTERVAL: Duration = Duration::from_secs(5);

fn terms() -> MemberTerms {
    MemberTerms {
        rack: Some("r".to_owned()),
        max_poll_interval: Duration::from_secs(300),
        retry_backoff: Duration::from_millis(100),
        retry_backoff_max: Duration::from_secs(1),
    }
}

fn place(partition: i32) -> Place {
    Place { topic_id: Uuid::from_u128(7), partition }
}

fn answer(member_epoch: i32, assignment: Option<Vec<Place>>) -> Result<Answer, Failure> {
    Ok(Answer { member_epoch, interval: INTERVAL, assignment })
}

fn refusal(code: ErrorCode) -> Result<Answer, Failure> {
    Err(Failure::Refused(code, None))
}

fn topics() -> Vec<String> {
    vec!["t".to_owned()]
}

fn beat(machine: &mut Membership, now: Instant) -> Heartbeat {
    match machine.poll_action(now) {
        Some(Action::Beat(heartbeat)) => heartbeat,
        other => panic!("a heartbeat expected, not {other:?}"),
    }
}

/// A member with an assignment, at its beginning.
fn stable(now: Instant) -> Membership {
    let mut machine = Membership::new(terms(), now);
    assert_eq!((machine.poll_action(now), machine.deadline()), (None, None));
    machine.on_subscription(now, topics());
    let first = beat(&mut machine, now);
    assert_eq!(first, Heartbeat { member_epoch: 0, rack: Some("r".to_owned()), topics: Some(topics()) });
    assert_eq!(machine.poll_action(now), None, "one heartbeat at a time");
    machine.on_heartbeat(now, answer(3, Some(vec![place(1), place(0), place(1)])));
    assert_eq!(machine.poll_action(now), Some(Action::Assign(vec![place(0), place(1)])));
    assert_eq!((machine.phase(), machine.poll_action(now)), (Phase::Stable, None));
    machine
}

#[test]
fn a_member_joins_beats_as_the_broker_says_and_leaves() {
    let mut now = crate::clock::now();
    let mut machine = stable(now);
    assert_eq!(machine.deadline(), Some(now + INTERVAL));
    now += INTERVAL;
    assert_eq!(beat(&mut machine, now), Heartbeat { member_epoch: 3, rack: None, topics: None });
    machine.on_heartbeat(now, answer(4, None));
    assert_eq!(machine.poll_action(now), None, "the assignment is as it was");
    // Other topics go out at once, and are told until an answer comes.
    machine.on_subscription(now, vec!["u".to_owned()]);
    assert_eq!(beat(&mut machine, now).topics, Some(vec!["u".to_owned()]));
    machine.on_heartbeat(now, Err(Failure::Lost));
    assert_eq!(machine.poll_action(now), None);
    now = machine.deadline().expect("a retry");
    assert_eq!(beat(&mut machine, now).topics, Some(vec!["u".to_owned()]));
    machine.on_heartbeat(now, answer(5, Some(Vec::new())));
    assert_eq!(machine.poll_action(now), Some(Action::Assign(Vec::new())));
    machine.on_close(now);
    assert_eq!(beat(&mut machine, now).member_epoch, LEAVE_EPOCH);
    machine.on_heartbeat(now, Err(Failure::Lost));
    assert!(machine.is_done());
    assert_eq!(machine.deadline(), None);
}

#[test]
fn a_fenced_or_forgotten_member_gives_up_what_it_had_and_joins_again() {
    for code in [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId, ErrorCode::GroupIdNotFound] {
        let mut now = crate::clock::now();
        let mut machine = stable(now);
        now += INTERVAL;
        beat(&mut machine, now);
        machine.on_heartbeat(now, refusal(code));
        assert_eq!(machine.poll_action(now), Some(Action::Assign(Vec::new())));
        assert_eq!(beat(&mut machine, now).member_epoch, JOIN_EPOCH);
        machine.on_heartbeat(now, answer(9, Some(vec![place(0)])));
        assert_eq!(machine.poll_action(now), Some(Action::Assign(vec![place(0)])));
    }
}

#[test]
fn a_coordinator_that_moves_or_loads_is_asked_again_and_a_refusal_ends_it() {
    let mut now = crate::clock::now();
    let mut machine = stable(now);
    now += INTERVAL;
    beat(&mut machine, now);
    let mut pauses = Vec::new();
    for code in [ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress, ErrorCode::CoordinatorNotAvailable] {
        machine.on_heartbeat(now, refusal(code));
        let next = machine.deadline().expect("a retry");
        pauses.push((next - now).as_millis());
        now = next;
        assert_eq!(beat(&mut machine, now).member_epoch, 3, "it is a member all the while");
    }
    assert_eq!(pauses, [100, 200, 400]);
    machine.on_heartbeat(now, refusal(ErrorCode::GroupAuthorizationFailed));
    assert_eq!(machine.poll_action(now), Some(Action::Assign(Vec::new())));
    assert_eq!(machine.poll_action(now), Some(Action::Fail(ErrorCode::GroupAuthorizationFailed, None)));
    assert_eq!((machine.poll_action(now + INTERVAL * 9), machine.deadline()), (None, None));
    machine.on_close(now);
    assert!(machine.is_done());
}

#[test]
fn an_application_that_does_not_come_back_leaves_and_returns_with_its_next_call() {
    let begun = crate::clock::now();
    let mut machine = stable(begun);
    let mut now = begun;
    let expiry = begun + Duration::from_secs(300);
    while now < expiry {
        if let Some(Action::Beat(_)) = machine.poll_action(now) {
            machine.on_heartbeat(now, answer(3, None));
        }
        now = machine.deadline().expect("a heartbeat, or the end");
    }
    assert_eq!(now, expiry);
    assert_eq!(machine.poll_action(now), Some(Action::Assign(Vec::new())));
    assert_eq!(beat(&mut machine, now).member_epoch, LEAVE_EPOCH);
    machine.on_heartbeat(now, answer(LEAVE_EPOCH, None));
    assert_eq!((machine.phase(), machine.deadline()), (Phase::Stale, None));
    now += Duration::from_secs(1000);
    machine.on_poll(now);
    let again = beat(&mut machine, now);
    assert_eq!((again.member_epoch, again.topics), (JOIN_EPOCH, Some(topics())));
}

#[test]
fn who_unsubscribes_leaves_and_may_come_back_before_the_answer() {
    let now = crate::clock::now();
    let mut machine = stable(now);
    machine.on_subscription(now, Vec::new());
    assert_eq!(machine.poll_action(now), Some(Action::Assign(Vec::new())));
    assert_eq!(beat(&mut machine, now).member_epoch, LEAVE_EPOCH);
    machine.on_subscription(now, topics());
    assert_eq!(machine.poll_action(now), None);
    machine.on_heartbeat(now, answer(LEAVE_EPOCH, None));
    assert_eq!(beat(&mut machine, now).member_epoch, JOIN_EPOCH);
    // Closed while the answer to the join is out: it says goodbye all the same.
    machine.on_close(now);
    machine.on_heartbeat(now, answer(1, Some(vec![place(0)])));
    assert_eq!(beat(&mut machine, now).member_epoch, LEAVE_EPOCH);
    machine.on_heartbeat(now, answer(LEAVE_EPOCH, None));
    assert!(machine.is_done());
}

proptest! {
    /// Whatever happens in whatever order: phases change as they may, one heartbeat is under way, there is always something
    /// to wait for, and a close comes to an end.
    #[test]
    fn a_member_never_gets_stuck(steps in proptest::collection::vec((0u8..9, 0u64..40_000), 1..80)) {
        let mut now = crate::clock::now();
        let mut machine = Membership::new(terms(), now);
        let mut is_under_way = false;
        let mut seen = machine.phase();
        for (step, ms) in steps {
            now += Duration::from_millis(ms);
            match step {
                0 => machine.on_subscription(now, topics()),
                1 => machine.on_subscription(now, Vec::new()),
                2 => machine.on_poll(now),
                3 if is_under_way => {
                    machine.on_heartbeat(now, answer(1, Some(vec![place(0)])));
                    is_under_way = false;
                }
                4 if is_under_way => {
                    machine.on_heartbeat(now, refusal(ErrorCode::FencedMemberEpoch));
                    is_under_way = false;
                }
                5 if is_under_way => {
                    machine.on_heartbeat(now, Err(Failure::Lost));
                    is_under_way = false;
                }
                _ => {}
            }
            let after_event = machine.phase();
            prop_assert!(seen == after_event || seen.may_become(after_event), "{seen:?} to {after_event:?} by {step}");
            seen = after_event;
            while let Some(action) = machine.poll_action(now) {
                if let Action::Beat(_) = action {
                    prop_assert!(!is_under_way);
                    is_under_way = true;
                }
            }
            let after_poll = machine.phase();
            prop_assert!(seen == after_poll || seen.may_become(after_poll), "{seen:?} to {after_poll:?} by time");
            seen = after_poll;
            if matches!(seen, Phase::Joining | Phase::Stable | Phase::Leaving) {
                prop_assert!(is_under_way || machine.deadline().is_some_and(|at| at > now));
            }
        }
        machine.on_close(now);
        for _ in 0..4 {
            while let Some(action) = machine.poll_action(now) {
                is_under_way |= matches!(action, Action::Beat(_));
            }
            if std::mem::take(&mut is_under_way) {
                machine.on_heartbeat(now, Err(Failure::Lost));
            }
            now = machine.deadline().unwrap_or(now);
        }
        while machine.poll_action(now).is_some() {}
        prop_assert!(machine.is_done(), "{:?}", machine.phase());
    }
}
