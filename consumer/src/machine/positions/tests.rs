use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const BACKOFF: Duration = Duration::from_millis(100);
const PREFERENCE: Duration = Duration::from_secs(300);

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a base for virtual time: only differences matter")]
    Instant::now()
}

fn view(partitions: i32, broker: i32) -> TopicView {
    TopicView { id: Uuid::from_u128(7), leaders: (0..partitions).map(|p| (p, Leader { broker, epoch: 3 })).collect() }
}

fn positions(reset: OffsetReset, starts: &[Start]) -> Positions {
    let mut positions = Positions::new(reset, false, BACKOFF, PREFERENCE);
    let wanted: Vec<_> = starts.iter().enumerate().map(|(p, start)| (Arc::from("t"), p as i32, *start)).collect();
    positions.assign(&wanted);
    let view = view(starts.len() as i32, 1);
    positions.on_metadata(|_| Some(&view));
    positions
}

fn read(next_offset: i64, high_watermark: i64) -> Fetched {
    Fetched::Read {
        next_offset,
        last_epoch: Some(3),
        high_watermark,
        last_stable_offset: -1,
        log_start_offset: 0,
        preferred_replica: None,
    }
}

/// Answers the one question there is: where `epoch` ends.
fn validate(positions: &mut Positions, epoch: i32, end: (i64, i32)) -> Option<PartitionError> {
    let mut lookups = positions.take_lookups(now());
    let lookup = lookups.pop().unwrap();
    assert_eq!((lookup.question, lookups.len()), (Question::EndOfEpoch(epoch), 0));
    positions.on_lookup(&lookup, Ok(Some(end)), now())
}

#[test]
fn a_cursor_is_here_or_in_flight_never_both() {
    let mut positions = positions(OffsetReset::Latest, &[Start::Offset(5)]);
    let mut taken = positions.take(1, now());
    assert_eq!(taken.len(), 1);
    assert!(positions.take(1, now()).is_empty(), "it is in flight");
    assert!(positions.take(2, now()).is_empty(), "and not another broker's");
    let cursor = taken.pop().unwrap();
    assert_eq!((cursor.offset, cursor.leader_epoch, cursor.end_known), (5, 3, false));
    assert!(positions.give_back(1, cursor, read(9, 12), now()).accept);
    let cursor = positions.take(1, now()).pop().unwrap();
    assert_eq!((cursor.offset, cursor.last_fetched_epoch, cursor.end_known), (9, 3, true));
    assert_eq!(positions.position("t", 0), Some(5), "nothing was handed out yet");
    assert_eq!(positions.lag("t", 0), Some(7));
}

#[test]
fn a_seek_voids_the_fetch_in_flight() {
    let mut positions = positions(OffsetReset::Latest, &[Start::Offset(5)]);
    let old = positions.take(1, now()).pop().unwrap();
    assert!(positions.seek("t", 0, Start::Offset(70)));
    assert!(!old.progress.is_live());
    let new = positions.take(1, now()).pop().unwrap();
    assert_eq!(new.offset, 70);
    let verdict = positions.give_back(1, old, read(9, 12), now());
    assert!(!verdict.accept);
    assert!(positions.give_back(1, new, read(71, 80), now()).accept);
    assert_eq!(positions.end_offset("t", 0), Some(80));
    assert!(!positions.seek("t", 1, Start::Beginning), "not assigned");
}

#[test]
fn an_offset_out_of_range_is_reset_or_told() {
    for (reset, timestamp) in [(OffsetReset::Earliest, EARLIEST_TIMESTAMP), (OffsetReset::Latest, LATEST_TIMESTAMP)] {
        let mut positions = positions(reset, &[Start::Offset(5)]);
        let cursor = positions.take(1, now()).pop().unwrap();
        let verdict = positions.give_back(1, cursor, Fetched::Refused(ErrorCode::OffsetOutOfRange), now());
        assert_eq!(verdict.error, None);
        let lookup = positions.take_lookups(now()).pop().unwrap();
        assert_eq!(lookup.question, Question::At(timestamp));
        assert_eq!(positions.on_lookup(&lookup, Ok(Some((40, 2))), now()), None);
        assert_eq!(positions.take(1, now()).pop().unwrap().offset, 40);
        assert_eq!(positions.position("t", 0), Some(40));
    }
    let mut positions = positions(OffsetReset::None, &[Start::Offset(5)]);
    let cursor = positions.take(1, now()).pop().unwrap();
    let verdict = positions.give_back(1, cursor, Fetched::Refused(ErrorCode::OffsetOutOfRange), now());
    assert_eq!(verdict.error, Some(PartitionError::OffsetOutOfRange { offset: 5 }));
    assert!(positions.take(1, now()).is_empty() && positions.take_lookups(now()).is_empty(), "stopped until a seek");
    assert!(positions.seek("t", 0, Start::Beginning));
    assert_eq!(positions.take_lookups(now()).len(), 1);
}

#[test]
fn what_was_fetched_is_handed_out_before_a_reset() {
    let mut positions = positions(OffsetReset::Earliest, &[Start::Offset(5)]);
    let start = now();
    let cursor = positions.take(1, start).pop().unwrap();
    let progress = Arc::clone(&cursor.progress);
    positions.give_back(1, cursor, read(9, 12), start);
    let cursor = positions.take(1, start).pop().unwrap();
    positions.give_back(1, cursor, Fetched::Refused(ErrorCode::OffsetOutOfRange), start);
    assert!(positions.take_lookups(start).is_empty(), "5 to 8 are not handed out yet");
    progress.hand_out(9);
    let cursor = positions.take(1, start + BACKOFF).pop().unwrap();
    positions.give_back(1, cursor, Fetched::Refused(ErrorCode::OffsetOutOfRange), start);
    assert_eq!(positions.take_lookups(start).len(), 1);
    assert_eq!(positions.committable(true)[0].marked.offset, 9, "and no more than was handed out is committed");
}

#[test]
fn a_truncated_log_is_read_again_from_where_it_parts() {
    let mut positions = positions(OffsetReset::Latest, &[Start::Offset(50)]);
    let cursor = positions.take(1, now()).pop().unwrap();
    positions.give_back(1, cursor, Fetched::Diverged { end_offset: 45, epoch: 2 }, now());
    let cursor = positions.take(1, now()).pop().unwrap();
    assert_eq!((cursor.offset, cursor.last_fetched_epoch), (45, 2));
    let mut positions = self::positions(OffsetReset::None, &[Start::Offset(50)]);
    let cursor = positions.take(1, now()).pop().unwrap();
    let verdict = positions.give_back(1, cursor, Fetched::Diverged { end_offset: 45, epoch: 2 }, now());
    assert_eq!(
        verdict.error,
        Some(PartitionError::LogTruncated { offset: 50, diverging_offset: Some(45), diverging_epoch: Some(2) })
    );
}

#[test]
fn the_last_so_many_never_begin_before_the_beginning() {
    for (end, beginning, expected) in [(100, 0, 90), (100, 95, 95), (3, 0, 0)] {
        let mut positions = positions(OffsetReset::Latest, &[Start::RelativeToEnd(-10)]);
        for answer in [end, beginning] {
            let lookup = positions.take_lookups(now()).pop().unwrap();
            positions.on_lookup(&lookup, Ok(Some((answer, -1))), now());
        }
        assert_eq!(positions.take(1, now()).pop().unwrap().offset, expected);
    }
}

#[test]
fn a_time_after_the_last_record_is_the_end() {
    let mut positions = positions(OffsetReset::Earliest, &[Start::Timestamp(1_700_000_000_000)]);
    let lookup = positions.take_lookups(now()).pop().unwrap();
    assert_eq!(lookup.question, Question::At(1_700_000_000_000));
    positions.on_lookup(&lookup, Ok(None), now());
    assert_eq!(positions.take_lookups(now()).pop().unwrap().question, Question::At(LATEST_TIMESTAMP));
}

#[test]
fn nothing_committed_goes_by_the_reset() {
    let mut positions = positions(OffsetReset::None, &[Start::Committed, Start::Committed]);
    let lookups = positions.take_lookups(now());
    assert!(lookups.iter().all(|lookup| lookup.question == Question::Committed));
    assert_eq!(positions.on_lookup(&lookups[0], Ok(None), now()), Some(PartitionError::NoOffset));
    assert_eq!(positions.on_lookup(&lookups[1], Ok(Some((8, 2))), now()), None);
    validate(&mut positions, 2, (9, 2));
    let cursor = positions.take(1, now()).pop().unwrap();
    assert_eq!((cursor.offset, cursor.last_fetched_epoch), (8, 2));
    assert!(positions.committable(true).is_empty(), "8 is committed already");
}

#[test]
fn a_lost_answer_waits_and_a_new_leader_ends_the_wait() {
    let mut positions = positions(OffsetReset::Latest, &[Start::Offset(5)]);
    let start = now();
    let cursor = positions.take(1, start).pop().unwrap();
    let verdict = positions.give_back(1, cursor, Fetched::Refused(ErrorCode::NotLeaderOrFollower), start);
    assert!(verdict.refresh_metadata && verdict.error.is_none());
    assert!(positions.take(1, start).is_empty());
    assert_eq!(positions.deadline(start), Some(start + BACKOFF));
    let view = view(1, 2);
    positions.on_metadata(|_| Some(&view));
    assert_eq!(positions.take(2, start).len(), 1, "the new leader is asked at once");
}

#[test]
fn who_was_served_last_comes_last() {
    let mut positions = positions(OffsetReset::Latest, &[Start::Offset(0); 3]);
    let mut cursors = positions.take(1, now());
    let last = cursors.remove(0);
    let served = last.partition;
    positions.give_back(1, last, read(10, 20), now());
    for cursor in cursors {
        positions.give_back(1, cursor, read(0, 20), now());
    }
    assert_eq!(positions.take(1, now()).last().map(|cursor| cursor.partition), Some(served));
}

#[test]
fn the_end_is_where_the_application_is_not_where_the_fetch_is() {
    let mut positions = positions(OffsetReset::Latest, &[Start::Offset(0), Start::Offset(0)]);
    assert!(!positions.is_at_end(), "no end is known");
    let cursors = positions.take(1, now());
    let progress: Vec<_> = cursors.iter().map(|cursor| Arc::clone(&cursor.progress)).collect();
    for (cursor, next) in cursors.into_iter().zip([10, 0]) {
        positions.give_back(1, cursor, read(next, next), now());
    }
    assert!(!positions.is_at_end(), "ten records were fetched and not handed out");
    progress[0].hand_out(10);
    assert!(positions.is_at_end());
    assert_eq!(positions.committable(false).iter().map(|all| all.marked.offset).sum::<i64>(), 0, "nor dealt with yet");
    progress[0].settle();
    assert_eq!(positions.committable(false).iter().map(|all| all.marked.offset).sum::<i64>(), 10);
    assert!(
        !Positions::new(OffsetReset::Latest, false, BACKOFF, PREFERENCE).is_at_end(),
        "nothing assigned has no end"
    );
}

#[test]
fn a_rewind_forgets_what_was_fetched_but_not_what_was_handed_out() {
    let mut positions = positions(OffsetReset::Latest, &[Start::Offset(0)]);
    let cursor = positions.take(1, now()).pop().unwrap();
    let progress = Arc::clone(&cursor.progress);
    positions.give_back(1, cursor, read(10, 20), now());
    progress.hand_out(4);
    positions.rewind("t", 0);
    assert_eq!(positions.take(1, now()).pop().unwrap().offset, 4);
    assert_eq!(positions.committable(true)[0].marked.offset, 4);
    assert_eq!(positions.committable(false)[0].marked.offset, 0);
}

#[derive(Debug, Clone)]
enum Step {
    Assign(u8),
    Seek(i32, i64),
    Pause(i32, bool),
    Take(i32),
    Return(usize, u8),
    Lookup,
    Answer(usize, u8),
    Metadata(u8),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u8>().prop_map(Step::Assign),
        (0..6i32, 0..100i64).prop_map(|(p, offset)| Step::Seek(p, offset)),
        (0..6i32, any::<bool>()).prop_map(|(p, paused)| Step::Pause(p, paused)),
        (0..3i32).prop_map(Step::Take),
        (any::<usize>(), any::<u8>()).prop_map(|(i, how)| Step::Return(i, how)),
        Just(Step::Lookup),
        (any::<usize>(), any::<u8>()).prop_map(|(i, how)| Step::Answer(i, how)),
        any::<u8>().prop_map(Step::Metadata),
        (0..300u16).prop_map(Step::Wait),
    ]
}

fn fetched(how: u8, offset: i64) -> Fetched {
    match how % 8 {
        0 => Fetched::Lost,
        1 => Fetched::Refused(ErrorCode::NotLeaderOrFollower),
        2 => Fetched::Refused(ErrorCode::OffsetOutOfRange),
        3 => Fetched::Refused(ErrorCode::TopicAuthorizationFailed),
        4 => Fetched::Diverged { end_offset: offset - 3, epoch: 1 },
        5 => Fetched::Malformed("nonsense".to_owned()),
        _ => read(offset + i64::from(how), offset + 300),
    }
}

proptest! {
    /// Whatever happens, no partition is in two fetches of one life, and once all is answered every partition that is
    /// assigned can be fetched again: none is forgotten.
    #[test]
    fn no_partition_is_doubled_or_forgotten(steps in proptest::collection::vec(step(), 0..120)) {
        let mut time = now();
        let mut positions = Positions::new(OffsetReset::Earliest, false, BACKOFF, PREFERENCE);
        let mut flights: Vec<Cursor> = Vec::new();
        let mut lookups: Vec<Lookup> = Vec::new();
        for step in steps {
            match step {
                Step::Assign(mask) => {
                    let wanted: Vec<_> = (0..6).filter(|p| mask >> p & 1 == 1)
                        .map(|p| (Arc::from("t"), p, if mask & 64 == 0 { Start::Beginning } else { Start::Committed }))
                        .collect();
                    positions.assign(&wanted);
                    prop_assert_eq!(positions.assignment().len(), wanted.len());
                }
                Step::Seek(p, offset) => { positions.seek("t", p, Start::Offset(offset)); }
                Step::Pause(p, paused) => { positions.set_paused("t", p, paused); }
                Step::Take(broker) => flights.extend(positions.take(broker, time)),
                Step::Return(i, how) => if !flights.is_empty() {
                    let cursor = flights.swap_remove(i % flights.len());
                    let outcome = fetched(how, cursor.offset);
                    positions.give_back(1, cursor, outcome, time);
                },
                Step::Lookup => lookups.extend(positions.take_lookups(time)),
                Step::Answer(i, how) => if !lookups.is_empty() {
                    let lookup = lookups.swap_remove(i % lookups.len());
                    match how % 4 {
                        0 => positions.on_lookup_lost(&lookup, time),
                        1 => { positions.on_lookup(&lookup, Err(ErrorCode::NotLeaderOrFollower), time); }
                        2 => { positions.on_lookup(&lookup, Ok(None), time); }
                        _ => { positions.on_lookup(&lookup, Ok(Some((i64::from(how), 1))), time); }
                    }
                },
                Step::Metadata(seed) => {
                    let view = TopicView {
                        id: Uuid::from_u128(7),
                        leaders: (0..6).filter(|p| seed >> p & 1 == 1)
                            .map(|p| (p, Leader { broker: (i32::from(seed) + p) % 3, epoch: i32::from(seed) })).collect(),
                    };
                    positions.on_metadata(|_| Some(&view));
                }
                Step::Wait(ms) => time += Duration::from_millis(u64::from(ms)),
            }
            let mut alive: BTreeMap<i32, usize> = BTreeMap::new();
            for cursor in flights.iter().filter(|cursor| cursor.progress.is_live()) {
                *alive.entry(cursor.partition).or_default() += 1;
            }
            prop_assert!(alive.values().all(|count| *count == 1), "two fetches of one life: {:?}", alive);
        }
        for cursor in flights {
            positions.give_back(1, cursor, Fetched::Lost, time);
        }
        for lookup in lookups {
            positions.on_lookup_lost(&lookup, time);
        }
        let view = view(6, 1);
        positions.on_metadata(|_| Some(&view));
        for (topic, partition) in positions.assignment() {
            positions.set_paused(&topic, partition, false);
        }
        time += BACKOFF;
        for _ in 0..12 {
            time += BACKOFF;
            for lookup in positions.take_lookups(time) {
                positions.on_lookup(&lookup, Ok(Some((1, 1))), time);
            }
        }
        prop_assert_eq!(positions.take(1, time).len(), positions.assignment().len());
    }
}

#[test]
fn the_end_of_what_was_handed_out_does_not_move_a_position_that_was_reset() {
    let mut positions = positions(OffsetReset::Earliest, &[Start::Offset(100)]);
    let progress = Arc::clone(&positions.slot("t", 0).unwrap().progress);
    let cursor = positions.take(1, now()).pop().unwrap();
    positions.give_back(1, cursor, Fetched::Refused(ErrorCode::OffsetOutOfRange), now());
    let lookup = positions.take_lookups(now()).pop().unwrap();
    assert_eq!(positions.on_lookup(&lookup, Ok(Some((0, 3))), now()), None);
    // The application comes to the end of the chunk that it was in.
    progress.hand_out(100);
    progress.settle();
    assert_eq!(positions.position("t", 0), Some(0));
    assert_eq!(
        positions.committable(true).first().map(|one| one.marked.offset),
        Some(0),
        "100 would pass over all records"
    );
}

#[test]
fn a_preferred_replica_is_read_until_it_fails_or_the_preference_ends() {
    let start = now();
    let mut positions = positions(OffsetReset::Earliest, &[Start::Offset(5)]);
    let prefer = Fetched::Read {
        next_offset: 5,
        last_epoch: None,
        high_watermark: 9,
        last_stable_offset: -1,
        log_start_offset: -1,
        preferred_replica: Some(2),
    };
    let cursor = positions.take(1, start).pop().unwrap();
    assert!(positions.give_back(1, cursor, prefer.clone(), start).new_source);
    assert_eq!((positions.source("t", 0), positions.sources().len()), (Some(2), 1));
    assert!(positions.take(1, start).is_empty(), "not the leader any more");
    let cursor = positions.take(2, start).pop().unwrap();
    assert!(positions.give_back(2, cursor, read(7, 9), start).accept);
    // A replica that is behind refuses; the leader is asked at once, and no reset follows.
    let cursor = positions.take(2, start).pop().unwrap();
    let verdict = positions.give_back(2, cursor, Fetched::Refused(ErrorCode::OffsetOutOfRange), start);
    assert!(verdict.new_source && verdict.error.is_none());
    let cursor = positions.take(1, start).pop().unwrap();
    assert_eq!(cursor.offset, 7);
    positions.give_back(1, cursor, prefer, start);
    assert_eq!(positions.expire_preferences(start), Some(start + PREFERENCE));
    assert_eq!(positions.expire_preferences(start + PREFERENCE), None);
    assert_eq!(positions.take(1, start + PREFERENCE).len(), 1, "the leader says anew who is to be asked");
}

#[test]
fn a_rewind_goes_to_what_is_committed_else_to_where_reading_began() {
    let mut positions = positions(OffsetReset::Latest, &[Start::Committed, Start::Offset(5), Start::End]);
    // The first begins at the reset, for nothing is committed; the third waits for an answer still.
    let lookups = positions.take_lookups(now());
    let first = lookups.iter().find(|lookup| lookup.question == Question::Committed).unwrap();
    assert_eq!(positions.on_lookup(first, Ok(None), now()), None);
    let reset = positions.take_lookups(now()).pop().unwrap();
    assert_eq!(positions.on_lookup(&reset, Ok(Some((40, 2))), now()), None);
    for cursor in positions.take(1, now()) {
        let next = cursor.offset + 10;
        cursor.progress.hand_out(next);
        assert!(positions.give_back(1, cursor, read(next, 99), now()).accept);
    }
    assert_eq!((positions.position("t", 0), positions.position("t", 1)), (Some(50), Some(15)));
    // What was fetched and is fetched again is no new beginning.
    positions.rewind("t", 0);
    positions.rewind_to_committed();
    let mut lookups = positions.take_lookups(now());
    lookups.sort_by_key(|lookup| lookup.partition);
    assert_eq!(
        lookups.iter().map(|lookup| (lookup.partition, lookup.question)).collect::<Vec<_>>(),
        [(0, Question::Committed), (1, Question::Committed)]
    );
    assert_eq!(positions.on_lookup(&lookups[0], Ok(None), now()), None);
    assert_eq!(positions.on_lookup(&lookups[1], Ok(Some((12, 2))), now()), None);
    assert_eq!((positions.position("t", 0), positions.position("t", 1)), (Some(40), Some(12)));
}

/// Positions at offset 50 that were reached by reading under epoch 3, with `handed_out` given to the application.
fn read_under_epoch_3(reset: OffsetReset, handed_out: i64) -> Positions {
    let mut positions = positions(reset, &[Start::Offset(0)]);
    let cursor = positions.take(1, now()).pop().unwrap();
    cursor.progress.hand_out(handed_out);
    cursor.progress.begin_batch(3);
    positions.give_back(1, cursor, read(50, 60), now());
    positions
}

fn elect(positions: &mut Positions, broker: i32, epoch: i32) {
    let view = TopicView { id: Uuid::from_u128(7), leaders: HashMap::from([(0, Leader { broker, epoch })]) };
    positions.on_metadata(|_| Some(&view));
}

#[test]
fn a_new_leader_is_asked_for_the_end_of_the_old_epoch_before_it_is_fetched_from() {
    let mut positions = read_under_epoch_3(OffsetReset::Latest, 50);
    elect(&mut positions, 2, 4);
    assert!(positions.take(2, now()).is_empty() && !positions.can_take(2, now()));
    assert!(positions.is_unsettled(2));
    assert_eq!(validate(&mut positions, 3, (50, 3)), None);
    let cursor = positions.take(2, now()).pop().unwrap();
    assert_eq!((cursor.offset, cursor.leader_epoch), (50, 4));
    // A leader that changes while a fetch is in flight is asked when the fetch is back.
    elect(&mut positions, 1, 5);
    assert!(positions.give_back(2, cursor, read(50, 60), now()).look_up);
    // And one that changes while it is asked is asked anew: the answer of the one before says nothing.
    let old = positions.take_lookups(now()).pop().unwrap();
    elect(&mut positions, 2, 6);
    assert_eq!(positions.on_lookup(&old, Ok(Some((10, 3))), now()), None);
    assert_eq!(validate(&mut positions, 3, (55, 3)), None);
    assert_eq!(positions.take(2, now()).len(), 1);
}

#[test]
fn a_truncation_is_told_with_where_the_logs_part_or_reset() {
    let mut positions = read_under_epoch_3(OffsetReset::None, 50);
    elect(&mut positions, 2, 4);
    assert_eq!(
        validate(&mut positions, 3, (45, 2)),
        Some(PartitionError::LogTruncated { offset: 50, diverging_offset: Some(45), diverging_epoch: Some(2) })
    );
    assert!(positions.take(2, now()).is_empty() && positions.take_lookups(now()).is_empty(), "stopped until a seek");
    assert!(positions.seek("t", 0, Start::Offset(45)));
    assert_eq!(positions.take(2, now()).pop().unwrap().offset, 45);

    let mut positions = read_under_epoch_3(OffsetReset::Latest, 50);
    elect(&mut positions, 2, 4);
    assert_eq!(validate(&mut positions, 3, (45, 2)), None);
    let cursor = positions.take(2, now()).pop().unwrap();
    assert_eq!((cursor.offset, cursor.last_fetched_epoch), (45, 2), "where the logs part, and not at the end");
    assert_eq!(positions.position("t", 0), Some(45));
}

#[test]
fn what_was_fetched_ahead_and_is_gone_is_nobodys_loss() {
    let mut positions = read_under_epoch_3(OffsetReset::None, 40);
    elect(&mut positions, 2, 4);
    assert_eq!(validate(&mut positions, 3, (45, 3)), None);
    let cursor = positions.take(2, now()).pop().unwrap();
    assert_eq!((cursor.offset, cursor.last_fetched_epoch), (40, 3));
}

#[test]
fn a_leader_that_cannot_tell_where_logs_part_leads_to_the_reset() {
    for (reset, error) in [
        (OffsetReset::Earliest, None),
        (
            OffsetReset::None,
            Some(PartitionError::LogTruncated { offset: 50, diverging_offset: None, diverging_epoch: None }),
        ),
    ] {
        let mut positions = read_under_epoch_3(reset, 50);
        elect(&mut positions, 2, 4);
        let lookup = positions.take_lookups(now()).pop().unwrap();
        assert_eq!(positions.on_lookup(&lookup, Ok(None), now()), error);
        let next = positions.take_lookups(now()).pop().map(|lookup| lookup.question);
        assert_eq!(next, error.is_none().then_some(Question::At(EARLIEST_TIMESTAMP)));
    }
    // A broker that is too old to be asked is believed.
    let mut positions = read_under_epoch_3(OffsetReset::None, 50);
    elect(&mut positions, 2, 4);
    let lookup = positions.take_lookups(now()).pop().unwrap();
    assert_eq!(positions.on_lookup(&lookup, Err(ErrorCode::UnsupportedVersion), now()), None);
    assert_eq!(positions.take(2, now()).len(), 1);
}

#[test]
fn a_question_that_fails_or_is_lost_is_asked_again_after_a_backoff() {
    let start = now();
    let mut positions = read_under_epoch_3(OffsetReset::None, 50);
    elect(&mut positions, 2, 4);
    let lookup = positions.take_lookups(start).pop().unwrap();
    assert_eq!(positions.on_lookup(&lookup, Err(ErrorCode::NotLeaderOrFollower), start), None);
    assert!(positions.take_lookups(start).is_empty());
    let lookup = positions.take_lookups(start + BACKOFF).pop().unwrap();
    positions.on_lookup_lost(&lookup, start + BACKOFF);
    assert_eq!(positions.deadline(start + BACKOFF), Some(start + BACKOFF * 2));
    assert_eq!(positions.take_lookups(start + BACKOFF * 2).len(), 1);
}

#[test]
fn a_position_that_is_newer_than_the_metadata_waits_for_metadata_but_not_for_ever() {
    let mut time = now();
    let mut positions = positions(OffsetReset::None, &[Start::OffsetOfEpoch { offset: 50, leader_epoch: 9 }]);
    for _ in 0..5 {
        assert!(positions.take_lookups(time).is_empty());
        assert!(positions.take_stale() && !positions.take_stale());
        assert!(positions.take(1, time).is_empty());
        time += BACKOFF;
    }
    // The topic was made anew: its epochs begin anew.
    assert!(positions.take_lookups(time).is_empty());
    assert_eq!(positions.take(1, time).pop().unwrap().offset, 50);
}

#[test]
fn a_reset_by_duration_asks_for_a_time_so_long_ago_and_ends_at_the_end() {
    let ago = Duration::from_secs(3_600);
    let mut positions = positions(OffsetReset::ByDuration(ago), &[Start::Committed]);
    let lookup = positions.take_lookups(now()).pop().unwrap();
    positions.on_lookup(&lookup, Ok(None), now());
    let lookup = positions.take_lookups(now()).pop().unwrap();
    assert_eq!(lookup.question, Question::Ago(ago));
    positions.on_lookup(&lookup, Ok(None), now());
    let lookup = positions.take_lookups(now()).pop().unwrap();
    assert_eq!(lookup.question, Question::At(LATEST_TIMESTAMP), "nothing is as young");
    positions.on_lookup(&lookup, Ok(Some((7, 3))), now());
    assert_eq!(positions.position("t", 0), Some(7));
}
