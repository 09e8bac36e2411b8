//! A new leader may not have all of what an old one had (KIP-320).

use super::*;

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

/// A topic of this name with another id.
fn made_anew(id: u128) -> TopicView {
    TopicView { id: Uuid::from_u128(id), ..view(1, 1) }
}

#[test]
fn a_topic_that_was_made_anew_begins_by_the_reset() {
    let mut positions = read_under_epoch_3(OffsetReset::Earliest, 50);
    let progress = Arc::clone(&positions.slot("t", 0).unwrap().progress);
    let in_flight = positions.take(1, now()).pop().unwrap();
    let new = made_anew(8);
    assert_eq!(positions.on_metadata(|_| Some(&new)), [(Arc::from("t"), 0, None)]);
    assert!(!progress.is_live() && !progress.marks().is_live(), "what was read was of another topic");
    assert!(positions.committable(true).is_empty(), "an offset of the old one is none of the new one's");
    assert!(!positions.give_back(1, in_flight, read(60, 60), now()).accept);
    let lookup = positions.take_lookups(now()).pop().unwrap();
    assert_eq!(lookup.question, Question::At(EARLIEST_TIMESTAMP));
    // A broker that has not heard of it yet takes nothing back.
    let old = made_anew(7);
    assert_eq!(positions.on_metadata(|_| Some(&old)), []);
    assert_eq!(positions.topic_id("t"), Some(Uuid::from_u128(8)));
    assert_eq!(positions.on_metadata(|_| Some(&new)), []);
    assert_eq!(positions.on_lookup(&lookup, Ok(Some((0, 3))), now()), None);
    let cursor = positions.take(1, now()).pop().unwrap();
    assert_eq!((cursor.offset, cursor.topic_id), (0, Uuid::from_u128(8)));
}

#[test]
fn a_topic_that_was_made_anew_is_told_where_there_is_no_reset() {
    let mut positions = read_under_epoch_3(OffsetReset::None, 50);
    let new = made_anew(8);
    let error = PartitionError::LogTruncated { offset: 50, diverging_offset: None, diverging_epoch: None };
    assert_eq!(positions.on_metadata(|_| Some(&new)), [(Arc::from("t"), 0, Some(error))]);
    assert!(positions.take(1, now()).is_empty() && positions.take_lookups(now()).is_empty(), "stopped until a seek");
    assert!(positions.seek("t", 0, Start::Offset(2)));
    assert_eq!(positions.take(1, now()).pop().unwrap().offset, 2);
    // Where nothing was read yet, the start that was asked for holds.
    let mut positions = self::positions(OffsetReset::None, &[Start::Beginning]);
    let asked = positions.take_lookups(now()).pop().unwrap();
    assert_eq!(positions.on_metadata(|_| Some(&new)), [(Arc::from("t"), 0, None)]);
    assert_eq!(positions.on_lookup(&asked, Ok(Some((3, 0))), now()), None);
    assert_eq!(positions.position("t", 0), None, "that was the old one's beginning");
    assert_eq!(positions.take_lookups(now()).pop().unwrap().question, Question::At(EARLIEST_TIMESTAMP));
}

#[test]
fn what_was_not_given_comes_again_and_marks_stay() {
    let mut positions = positions(OffsetReset::Latest, &[Start::Offset(0)]);
    positions.commit_marked_only(true);
    let cursor = positions.take(1, now()).pop().unwrap();
    let (progress, marks) = (Arc::clone(&cursor.progress), Arc::clone(cursor.progress.marks()));
    progress.hand_out(8);
    positions.give_back(1, cursor, read(10, 20), now());
    positions.give_again("t", 0, 3);
    assert_eq!((positions.position("t", 0), positions.take(1, now()).pop().unwrap().offset), (Some(3), 3));
    assert!(marks.mark(0, 3, 3));
    assert_eq!(positions.committable(true)[0].marked.offset, 3);
    positions.give_again("t", 0, 9);
    assert_eq!(positions.position("t", 0), Some(3), "what was not handed out is not given again");
}
