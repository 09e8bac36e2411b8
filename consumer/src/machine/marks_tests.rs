//! Marks against a list of every record, over random holes, orders and stores.

use proptest::prelude::*;

use super::*;

fn marked(offset: i64, leader_epoch: i32) -> Option<Marked> {
    Some(Marked { offset, leader_epoch, metadata: String::new() })
}

#[test]
fn nothing_beyond_a_record_that_is_not_done_can_be_committed() {
    let marks = Marks::default();
    assert_eq!(marks.committable(-1, -1), None, "it has not begun");
    marks.start(10, 1);
    assert_eq!(marks.committable(10, 1), marked(10, 1));
    marks.hand_out(13);
    assert!(marks.mark(11, 12, 2));
    assert_eq!(marks.committable(13, 2), marked(10, 1), "10 is not done");
    assert!(marks.mark(10, 11, 2));
    assert_eq!(marks.committable(13, 2), marked(12, 2));
    assert!(marks.is_behind());
    assert!(marks.mark(12, 13, 3));
    assert!(!marks.is_behind());
    assert_eq!(marks.committable(20, 3), marked(20, 3), "behind the last record are only markers of transactions");
}

#[test]
fn what_the_application_stores_counts_and_keeps_its_metadata_until_the_next_mark() {
    let marks = Marks::default();
    marks.start(0, -1);
    marks.hand_out(10);
    assert!(marks.mark(4, 6, 1));
    assert!(marks.mark(8, 9, 1));
    assert!(marks.store(Marked { offset: 3, leader_epoch: 1, metadata: "page 3".to_owned() }));
    assert_eq!(marks.committable(10, 1).map(|one| (one.offset, one.metadata)), Some((3, "page 3".to_owned())));
    assert!(marks.mark(3, 4, 1));
    assert_eq!(marks.committable(10, 1).map(|one| (one.offset, one.metadata)), Some((6, String::new())));
    // Back again: what was done beyond it stays done.
    assert!(marks.store(Marked { offset: 5, leader_epoch: 1, metadata: String::new() }));
    assert!(marks.mark(5, 8, 1));
    assert_eq!(marks.committable(10, 1), marked(9, 1));
}

#[test]
fn a_life_that_has_ended_takes_no_marks() {
    let marks = Marks::default();
    marks.start(0, -1);
    marks.hand_out(1);
    marks.end();
    assert!(!marks.mark(0, 1, 1));
    assert!(!marks.store(Marked { offset: 1, leader_epoch: -1, metadata: String::new() }));
    assert!(marks.is_behind());
}

#[test]
fn what_a_truncation_left_is_done_before_what_came_after_it() {
    let before = Arc::new(Marks::default());
    before.start(80, 1);
    before.hand_out(100);
    let after = Marks::cut(Arc::clone(&before), 95);
    after.start(95, 2);
    after.hand_out(97);
    assert!(after.mark(95, 97, 3));
    assert_eq!(after.committable(97, 3), marked(80, 1));
    assert!(before.mark(80, 90, 1));
    assert_eq!(after.committable(97, 3), marked(90, 1));
    assert!(before.mark(90, 96, 2), "record 95 of the log that is no more is not that of the new one");
    assert_eq!(after.committable(97, 3), marked(97, 3));
    after.end();
    assert!(!before.mark(96, 100, 2));
}

proptest! {
    /// Records with holes between them are handed out and finished in any order, some twice, some in runs.
    #[test]
    fn what_can_be_committed_is_what_a_list_of_all_records_says(
        holes in prop::collection::vec(0_i64..4, 1..60),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..4, 0_usize..4), 1..200),
        trailing in 0_i64..3,
    ) {
        let marks = Marks::default();
        marks.start(100, 0);
        // (from, next offset, epoch, is done): a record covers the hole before it.
        let mut records = Vec::new();
        let (mut next, mut handed) = (100, 0);
        for (number, hole) in holes.iter().enumerate() {
            let from = next;
            next += hole + 1;
            records.push((from, next, i32::try_from(number / 5).unwrap(), false));
        }
        for (which, run, more) in steps {
            handed = (handed + more).min(records.len());
            marks.hand_out(if handed == 0 { 100 } else { records[handed - 1].1 });
            if handed > 0 {
                let first = which.index(handed);
                let last = (first + run).min(handed) - 1;
                prop_assert!(marks.mark(records[first].0, records[last].1, records[last].2));
                for record in &mut records[first..=last] {
                    record.3 = true;
                }
            }
            let at = if handed == 0 { 100 } else { records[handed - 1].1 };
            let position = at + trailing;
            let undone = records[..handed].iter().find(|record| !record.3);
            let expected = undone.map_or(position, |record| record.0);
            let found = marks.committable(position, 77).unwrap();
            prop_assert_eq!(found.offset, expected);
            prop_assert_eq!(marks.is_behind(), undone.is_some());
            let before = records[..handed].iter().take_while(|record| record.3).last();
            if let (Some(record), true) = (before, undone.is_some()) {
                // The epoch may be of a run's last record where the run ends here; never of a later one.
                prop_assert!(found.leader_epoch <= record.2.max(0));
            }
        }
    }
}
