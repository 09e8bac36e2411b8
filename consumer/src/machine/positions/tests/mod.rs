mod schedules;
mod truncation;

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
    let again =
        positions.committable(true).into_iter().map(|one| (one.partition, one.marked.offset, one.marked.leader_epoch));
    assert_eq!(again.collect::<Vec<_>>(), [(lookups[1].partition, 8, 2)], "what is committed is committed again");
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
