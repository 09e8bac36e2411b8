//! The machine against a model that keeps a fate for each offset, over random schedules.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::*;

const SETTINGS: ShareSettings =
    ShareSettings { record_lock_duration_ms: 1_000, delivery_count_limit: 3, max_record_locks: 20 };

fn limits(mode: AcquireMode, max_records: i32) -> AcquireLimits {
    AcquireLimits { mode, max_records, batch_size: 5 }
}

fn new_partition() -> SharePartition {
    SharePartition::restored(&PersistedState::default())
}

fn take(partition: &mut SharePartition, member: &str, read: &[(i64, i64)], max: i32) -> Vec<(i64, i64, i16)> {
    let mode = limits(AcquireMode::BatchOptimized, max);
    let ranges = partition.acquire(0, &Arc::from(member), read, mode, &SETTINGS);
    ranges.iter().map(|range| (range.first_offset, range.last_offset, range.delivery_count)).collect()
}

fn acknowledge(
    partition: &mut SharePartition,
    member: &str,
    first_offset: i64,
    last_offset: i64,
    types: &[i8],
) -> Result<StateChange, ErrorCode> {
    let batch = Acknowledgement { first_offset, last_offset, types };
    let change = partition.decide_acknowledge(0, member, &[batch], &SETTINGS)?;
    partition.apply(&change);
    Ok(change)
}

#[test]
fn a_record_goes_to_one_member_until_it_is_given_back() {
    let mut partition = new_partition();
    assert_eq!(take(&mut partition, "a", &[(0, 4), (5, 9)], 3), [(0, 4, 1)]);
    assert_eq!(partition.next_fetch_offset(), 5);
    assert_eq!(take(&mut partition, "b", &[(0, 4), (5, 9)], 3), [(5, 9, 1)]);
    assert_eq!(acknowledge(&mut partition, "b", 0, 4, &[1]), Err(ErrorCode::InvalidRecordState));
    acknowledge(&mut partition, "a", 0, 4, &[1, 1, 2, 1, 1]).unwrap();
    assert_eq!((partition.start_offset(), partition.next_fetch_offset()), (2, 2));
    assert_eq!(partition.delivery_complete_count(), 2);
    assert_eq!(take(&mut partition, "b", &[(0, 4)], 3), [(2, 2, 2)]);
    acknowledge(&mut partition, "b", 2, 2, &[1]).unwrap();
    assert_eq!((partition.start_offset(), partition.delivery_complete_count()), (5, 0));
}

#[test]
fn all_of_a_request_comes_true_or_nothing() {
    let mut partition = new_partition();
    take(&mut partition, "a", &[(0, 4)], 10);
    let before = partition.persisted();
    let batches = [
        Acknowledgement { first_offset: 0, last_offset: 1, types: &[1] },
        Acknowledgement { first_offset: 4, last_offset: 5, types: &[1] },
    ];
    assert_eq!(partition.decide_acknowledge(0, "a", &batches, &SETTINGS), Err(ErrorCode::InvalidRecordState));
    assert_eq!(partition.persisted(), before);
    // What is done with already may be said again: the answer may have been lost.
    acknowledge(&mut partition, "a", 0, 1, &[1]).unwrap();
    assert!(!acknowledge(&mut partition, "a", 0, 1, &[1]).unwrap().is_persistent());
}

#[test]
fn a_record_that_comes_back_too_often_is_archived() {
    let mut partition = new_partition();
    for delivery in 1..=3 {
        assert_eq!(take(&mut partition, "a", &[(0, 0)], 1), [(0, 0, delivery)]);
        acknowledge(&mut partition, "a", 0, 0, &[2]).unwrap();
    }
    assert_eq!(partition.start_offset(), 1);
    assert!(take(&mut partition, "a", &[(0, 0)], 1).is_empty());
}

#[test]
fn a_lock_ends_by_itself_unless_it_is_renewed() {
    let mut partition = new_partition();
    take(&mut partition, "a", &[(0, 3)], 4);
    assert_eq!(partition.deadline_ms(), Some(1_000));
    let batch = Acknowledgement { first_offset: 1, last_offset: 2, types: &[4] };
    let change = partition.decide_acknowledge(900, "a", &[batch], &SETTINGS).unwrap();
    assert!(!change.is_persistent());
    partition.apply(&change);
    assert_eq!(partition.decide_expired(999, &SETTINGS), None);
    let change = partition.decide_expired(1_000, &SETTINGS).unwrap();
    partition.apply(&change);
    assert_eq!(partition.deadline_ms(), Some(1_900));
    // The delivery counted, because the record may have been processed.
    assert_eq!(take(&mut partition, "b", &[(0, 3)], 4), [(0, 0, 2), (3, 3, 2)]);
    // What a session gives back at its end was not processed.
    let change = partition.decide_release("b").unwrap();
    partition.apply(&change);
    assert_eq!(take(&mut partition, "c", &[(0, 3)], 4), [(0, 0, 2), (3, 3, 2)]);
}

#[test]
fn limits_are_kept() {
    let mut partition = new_partition();
    let member: Arc<str> = Arc::from("a");
    let strict = limits(AcquireMode::RecordLimit, 3);
    let ranges = partition.acquire(0, &member, &[(0, 9)], strict, &SETTINGS);
    assert_eq!(ranges, [AcquiredRange { first_offset: 0, last_offset: 2, delivery_count: 1 }]);
    // 20 locks, and whole batches: the second batch still begins below the limit.
    let ranges = take(&mut partition, "a", &[(0, 9), (10, 29), (30, 39)], 100);
    assert_eq!(ranges, [(3, 9, 1), (10, 29, 1)]);
    assert!(!partition.can_acquire(&SETTINGS));
    assert!(take(&mut partition, "a", &[(30, 39)], 100).is_empty());
    acknowledge(&mut partition, "a", 5, 5, &[2]).unwrap();
    assert!(partition.can_acquire(&SETTINGS), "what came back may be acquired always");
}

#[test]
fn aborted_records_are_not_delivered() {
    let mut partition = new_partition();
    partition.apply(&partition.decide_archive(2, 3).unwrap());
    assert_eq!(take(&mut partition, "a", &[(0, 5)], 10), [(0, 1, 1), (4, 5, 1)]);
    partition.apply(&partition.decide_archive(0, 7).unwrap());
    assert_eq!(partition.start_offset(), 0, "what a member holds stays with it");
    acknowledge(&mut partition, "a", 0, 1, &[1]).unwrap();
    acknowledge(&mut partition, "a", 4, 5, &[1]).unwrap();
    assert_eq!(partition.start_offset(), 8);
}

#[test]
fn what_the_log_has_lost_is_lost() {
    let mut partition = new_partition();
    take(&mut partition, "a", &[(0, 9)], 5);
    partition.move_start(7);
    assert_eq!((partition.start_offset(), partition.end_offset()), (7, 10));
    acknowledge(&mut partition, "a", 0, 9, &[1]).unwrap();
    assert_eq!(partition.start_offset(), 10);
    partition.move_start(20);
    assert_eq!((partition.next_fetch_offset(), partition.in_flight_count()), (20, 0));
}

#[test]
fn bad_acknowledgements_are_refused_with_words() {
    let check = |first_offset, last_offset, types| {
        Acknowledgement::check_all(&[Acknowledgement { first_offset, last_offset, types }], false)
    };
    assert!(check(0, 2, &[1, 1, 1]).is_ok());
    for (first, last, types) in [
        (-1, 2, &[1][..]),
        (3, 2, &[1]),
        (0, 2, &[1, 1]),
        (0, 2, &[]),
        (0, 0, &[9]),
        (0, 0, &[4]),
        (0, i64::MAX, &[1, 1]),
    ] {
        let (error, words) = check(first, last, types).unwrap_err();
        assert_eq!(error, ErrorCode::InvalidRequest);
        assert!(!words.is_empty());
    }
    let overlapping =
        [(0, 4), (4, 5)].map(|(first_offset, last_offset)| Acknowledgement { first_offset, last_offset, types: &[1] });
    assert!(Acknowledgement::check_all(&overlapping, false).is_err());
}

#[test]
fn sessions_go_by_their_epochs() {
    let key: SessionKey = (Arc::from("group"), Arc::from("member"));
    let (one, two) = ((Uuid::from_u128(1), 0), (Uuid::from_u128(1), 1));
    let mut sessions = ShareSessions::new(1);
    assert_eq!(sessions.fetch(&key, 1, 7, &[one], &[], false), Err(SessionError::NotFound));
    assert_eq!(sessions.fetch(&key, 0, 7, &[one], &[], true), Err(SessionError::NotNow));
    assert_eq!(sessions.fetch(&key, 0, 7, &[one, two], &[], false).unwrap().fetch, [one, two]);
    let other: SessionKey = (Arc::from("group"), Arc::from("other"));
    assert_eq!(sessions.fetch(&other, 0, 8, &[one], &[], false), Err(SessionError::LimitReached));
    assert_eq!(sessions.fetch(&key, 2, 7, &[], &[], false), Err(SessionError::WrongEpoch));
    assert_eq!(sessions.fetch(&key, 1, 7, &[], &[], true).unwrap().fetch, [one, two]);
    assert_eq!(sessions.fetch(&key, 2, 7, &[], &[], false).unwrap().fetch, [two, one]);
    assert_eq!(sessions.acknowledge(&key, 0), Err(SessionError::WrongEpoch));
    assert_eq!(sessions.acknowledge(&key, 3).unwrap().released, []);
    assert_eq!(sessions.fetch(&key, 4, 7, &[], &[two], false).unwrap().fetch, [one]);
    assert_eq!(sessions.acknowledge(&key, -1).unwrap().released, [one]);
    sessions.fetch(&key, 0, 7, &[one], &[], false).unwrap();
    assert_eq!(sessions.disconnected(8), []);
    assert_eq!(sessions.disconnected(7), [(key, vec![one])]);
    assert!(sessions.is_empty());
}

#[test]
fn a_session_of_very_many_partitions_takes_no_square_of_them() {
    let key: SessionKey = (Arc::from("group"), Arc::from("member"));
    let many: Vec<TopicPartition> = (0..200_000).map(|index| (Uuid::from_u128(1), index)).collect();
    let mut sessions = ShareSessions::new(1);
    assert_eq!(sessions.fetch(&key, 0, 7, &many, &[], false).unwrap().fetch, many);
    assert_eq!(sessions.fetch(&key, 1, 7, &many, &many[1..], false).unwrap().fetch.len(), many.len());
    assert_eq!(sessions.fetch(&key, 2, 7, &[], &many[..199_999], false).unwrap().fetch, many[199_999..]);
    assert_eq!(sessions.fetch(&key, 3, 7, &many[..1], &[], false).unwrap().fetch, [many[199_999], many[0]]);
}

#[derive(Debug, Clone)]
enum Step {
    Acquire { member: u8, from: i64, batches: Vec<i64>, max: i32, is_strict: bool },
    Acknowledge { member: u8, first: i64, types: Vec<i8> },
    Release(u8),
    Archive(i64, i64),
    Pass(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0u8..3;
    prop_oneof![
        6 => (member.clone(), 0i64..4, prop::collection::vec(1i64..6, 1..4), 1i32..12, any::<bool>()).prop_map(
            |(member, from, batches, max, is_strict)| Step::Acquire { member, from, batches, max, is_strict }
        ),
        6 => (member.clone(), 0i64..12, prop::collection::vec(0i8..5, 1..6))
            .prop_map(|(member, first, types)| Step::Acknowledge { member, first, types }),
        1 => member.prop_map(Step::Release),
        1 => (0i64..12, 0i64..4).prop_map(|(first, more)| Step::Archive(first, first + more)),
        2 => (1i64..800).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Available,
    With(u8, i64),
    Final,
}

/// One entry an offset: fate and deliveries.
#[derive(Debug, Default)]
struct Model {
    start: i64,
    offsets: BTreeMap<i64, (Fate, i16)>,
}

impl Model {
    fn of(&self, offset: i64) -> (Fate, i16) {
        self.offsets.get(&offset).cloned().unwrap_or((Fate::Available, 0))
    }

    fn set(&mut self, offset: i64, fate: Fate, count: i16) {
        if offset >= self.start {
            self.offsets.insert(offset, (fate, count));
        }
        while self.of(self.start).0 == Fate::Final {
            self.start += 1;
        }
    }

    fn give_back(&mut self, offset: i64, count: i16) {
        let fate = if count >= SETTINGS.delivery_count_limit { Fate::Final } else { Fate::Available };
        self.set(offset, fate, count);
    }
}

fn name(member: u8) -> Arc<str> {
    Arc::from(format!("member-{member}"))
}

proptest! {
    #[test]
    fn the_machine_is_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let (mut partition, mut model, mut now) = (new_partition(), Model::default(), 0i64);
        for step in steps {
            let before = partition.start_offset();
            match step {
                Step::Acquire { member, from, batches, max, is_strict } => {
                    let mut first = before + from;
                    let mut read = Vec::new();
                    for length in batches {
                        read.push((first, first + length - 1));
                        first += length;
                    }
                    let mode = if is_strict { AcquireMode::RecordLimit } else { AcquireMode::BatchOptimized };
                    let got = partition.acquire(now, &name(member), &read, limits(mode, max), &SETTINGS);
                    let mut total = 0;
                    for range in &got {
                        for offset in range.first_offset..=range.last_offset {
                            let (fate, count) = model.of(offset);
                            prop_assert_eq!(fate, Fate::Available, "offset {} is with somebody", offset);
                            prop_assert_eq!(range.delivery_count, count + 1);
                            prop_assert!(read.iter().any(|(first, last)| (*first..=*last).contains(&offset)));
                            model.set(offset, Fate::With(member, now + SETTINGS.record_lock_duration_ms), count + 1);
                            total += 1;
                        }
                    }
                    if is_strict {
                        prop_assert!(total <= i64::from(max));
                    }
                    let is_free = |offset: &i64| *offset >= before && model.of(*offset).0 == Fate::Available;
                    let left = read.iter().flat_map(|(first, last)| *first..=*last).filter(is_free).count();
                    if total == 0 && partition.in_flight_count() < SETTINGS.max_record_locks {
                        prop_assert_eq!(left, 0, "what is available is given");
                    }
                }
                Step::Acknowledge { member, first, types } => {
                    let (first, last) = (before + first, before + first + types.len() as i64 - 1);
                    let batch = [Acknowledgement { first_offset: first, last_offset: last, types: &types }];
                    let is_held = |offset: i64| matches!(model.of(offset).0, Fate::With(holder, _) if holder == member);
                    let all_held = (first..=last).all(|offset| offset < model.start || is_held(offset));
                    match partition.decide_acknowledge(now, &name(member), &batch, &SETTINGS) {
                        Ok(change) => {
                            prop_assert!(all_held);
                            partition.apply(&change);
                            for (offset, kind) in (first..=last).zip(&types) {
                                let count = model.of(offset).1;
                                match kind {
                                    2 => model.give_back(offset, count),
                                    4 => model.set(offset, Fate::With(member, now + SETTINGS.record_lock_duration_ms), count),
                                    _ => model.set(offset, Fate::Final, count),
                                }
                            }
                        }
                        Err(_) => prop_assert!(!all_held),
                    }
                }
                Step::Release(member) => {
                    if let Some(change) = partition.decide_release(&name(member)) {
                        partition.apply(&change);
                    }
                    for (offset, (fate, count)) in model.offsets.clone() {
                        if matches!(fate, Fate::With(holder, _) if holder == member) {
                            model.set(offset, Fate::Available, count - 1);
                        }
                    }
                }
                Step::Archive(first, last) => {
                    let (first, last) = (before + first, before + last);
                    if let Some(change) = partition.decide_archive(first, last) {
                        partition.apply(&change);
                    }
                    for offset in first..=last {
                        let (fate, count) = model.of(offset);
                        if fate == Fate::Available {
                            model.set(offset, Fate::Final, count);
                        }
                    }
                }
                Step::Pass(ms) => {
                    now += ms;
                    if let Some(change) = partition.decide_expired(now, &SETTINGS) {
                        partition.apply(&change);
                    }
                    for (offset, (fate, count)) in model.offsets.clone() {
                        if matches!(fate, Fate::With(_, until) if until <= now) {
                            model.give_back(offset, count);
                        }
                    }
                    prop_assert!(partition.deadline_ms().is_none_or(|deadline| deadline > now));
                }
                Step::Restart => {
                    let persisted = partition.persisted();
                    partition = SharePartition::restored(&persisted);
                    prop_assert_eq!(partition.persisted(), persisted);
                    for (offset, (fate, count)) in model.offsets.clone() {
                        if matches!(fate, Fate::With(..)) {
                            model.set(offset, Fate::Available, count - 1);
                        }
                    }
                }
            }
            prop_assert!(partition.start_offset() >= before, "the start never goes back");
            prop_assert_eq!(partition.start_offset(), model.start);
            let done = model.offsets.range(model.start..).filter(|(_, (fate, _))| *fate == Fate::Final).count();
            prop_assert_eq!(partition.delivery_complete_count() as usize, done);
            let next = (model.start..).find(|offset| model.of(*offset).0 == Fate::Available);
            prop_assert_eq!(Some(partition.next_fetch_offset()), next);
        }
    }
}
