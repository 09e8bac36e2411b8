//! Lanes over virtual time, and together with marks: random finishes, failures, rebalances and crashes.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::machine::marks::Marks;

fn place(partition: i32) -> Place {
    ("t".into(), partition)
}

fn started(lanes: &mut Lanes<u32>, now: Instant) -> Vec<u32> {
    std::iter::from_fn(|| lanes.start(now)).map(|started| started.work).collect()
}

#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
fn epoch() -> Instant {
    Instant::now()
}

#[test]
fn one_record_of_a_key_at_a_time_and_no_more_than_there_are_workers() {
    let (mut lanes, now) = (Lanes::new(Order::Key, 2), epoch());
    for (number, key) in [(0, "a"), (1, "a"), (2, "b"), (3, "c")] {
        lanes.push(place(0), Some(key.as_bytes()), 10, number);
    }
    assert_eq!(started(&mut lanes, now), [0, 2]);
    assert_eq!((lanes.records(), lanes.size_bytes(), lanes.running()), (4, 40, 2));
    assert_eq!(lanes.finish(0), Some(0));
    assert_eq!(started(&mut lanes, now), [3]);
    assert_eq!(lanes.finish(2), Some(2));
    assert_eq!(started(&mut lanes, now), [1]);
    assert_eq!((lanes.finish(1), lanes.finish(3), lanes.finish(3)), (Some(1), Some(3), None));
    assert_eq!((lanes.records(), lanes.size_bytes(), lanes.running()), (0, 0, 0));
}

#[test]
fn records_without_a_key_keep_the_order_of_their_partition() {
    let (mut lanes, now) = (Lanes::new(Order::Key, 9), epoch());
    for (partition, number) in [(0, 0), (0, 1), (1, 2), (1, 3)] {
        lanes.push(place(partition), None, 1, number);
    }
    assert_eq!(started(&mut lanes, now), [0, 2]);
    let mut unordered = Lanes::new(Order::Unordered, 9);
    for number in 0..3 {
        unordered.push(place(0), Some(b"a"), 1, number);
    }
    assert_eq!(started(&mut unordered, now), [0, 1, 2]);
}

#[test]
fn a_record_that_waits_for_its_next_attempt_takes_no_worker_and_holds_up_its_key_alone() {
    let (mut lanes, now) = (Lanes::new(Order::Key, 1), epoch());
    for (number, key) in [(0, "a"), (1, "a"), (2, "b")] {
        lanes.push(place(0), Some(key.as_bytes()), 1, number);
    }
    assert_eq!(started(&mut lanes, now), [0]);
    let later = now + Duration::from_secs(1);
    assert!(lanes.retry(0, later, 0));
    assert_eq!(started(&mut lanes, now), [2]);
    lanes.finish(2);
    assert_eq!((started(&mut lanes, now), lanes.deadline()), (vec![], Some(later)));
    let again = lanes.start(later).unwrap();
    assert_eq!((again.work, again.failures), (0, 1));
    lanes.finish(0);
    assert_eq!(started(&mut lanes, later), [1]);
}

/// One partition with keys, as one member after the other works on it.
struct Model {
    keys: Vec<u8>,
    marks: Arc<Marks>,
    lanes: Lanes<usize>,
    now: Instant,
    committed: usize,
    handed: usize,
    /// How often each record was finished.
    finished: Vec<u32>,
    /// What is worked on: the job and the record.
    running: Vec<(u64, usize)>,
    /// The last record of each key that was begun under this assignment.
    begun: HashMap<u8, usize>,
}

impl Model {
    fn new(keys: Vec<u8>, workers: usize) -> Self {
        let mut model = Self {
            finished: vec![0; keys.len()],
            keys,
            marks: Arc::default(),
            lanes: Lanes::new(Order::Key, workers),
            now: epoch(),
            committed: 0,
            handed: 0,
            running: Vec::new(),
            begun: HashMap::new(),
        };
        model.assign();
        model
    }

    fn assign(&mut self) {
        self.marks = Arc::default();
        self.marks.start(self.committed as i64, -1);
        self.handed = self.committed;
        self.begun.clear();
    }

    fn hand_out(&mut self) {
        if self.handed < self.keys.len() {
            let number = self.handed;
            self.handed += 1;
            self.marks.hand_out(self.handed as i64);
            self.lanes.push(place(0), Some(&[self.keys[number]]), 1, number);
        }
    }

    fn start(&mut self) {
        while let Some(started) = self.lanes.start(self.now) {
            let key = self.keys[started.work];
            assert!(
                self.running.iter().all(|(_, other)| self.keys[*other] != key),
                "two records of one key are worked on at once"
            );
            let last = self.begun.insert(key, started.work);
            assert!(last.is_none_or(|last| last < started.work || (last == started.work && started.failures > 0)));
            self.running.push((started.id, started.work));
        }
    }

    fn finish(&mut self, which: prop::sample::Index) {
        if !self.running.is_empty() {
            let (id, number) = self.running.remove(which.index(self.running.len()));
            assert_eq!(self.lanes.finish(id), Some(number));
            self.finished[number] += 1;
            assert!(self.marks.mark(number as i64, number as i64 + 1, -1));
        }
    }

    fn fail(&mut self, which: prop::sample::Index, wait: u64) {
        if !self.running.is_empty() {
            let (id, number) = self.running.remove(which.index(self.running.len()));
            assert!(self.lanes.retry(id, self.now + Duration::from_millis(wait), number));
        }
    }

    fn commit(&mut self) {
        let committable = self.marks.committable(self.handed as i64, -1).unwrap().offset as usize;
        assert!(committable >= self.committed, "a commit goes back");
        self.committed = committable;
        assert!(self.finished[..committable].iter().all(|times| *times > 0), "a commit passes over a record");
    }

    /// What waits is dropped, what is worked on is finished, and all that is done is committed.
    fn revoke(&mut self) {
        self.lanes.drop_waiting(|_| true);
        let mut running = self.lanes.running_of(&[TopicPartition::new("t", 0)]);
        running.sort_unstable();
        let mut expected: Vec<u64> = self.running.iter().map(|(id, _)| *id).collect();
        expected.sort_unstable();
        assert_eq!(running, expected);
        while let Some((id, number)) = self.running.pop() {
            assert_eq!(self.lanes.finish(id), Some(number));
            self.finished[number] += 1;
            assert!(self.marks.mark(number as i64, number as i64 + 1, -1));
        }
        assert_eq!((self.lanes.records(), self.lanes.running(), self.lanes.size_bytes()), (0, 0, 0));
        self.commit();
        self.marks.end();
        self.assign();
    }

    /// The member is gone without a word: what it finished late counts for nothing.
    fn crash(&mut self) {
        self.marks.end();
        self.lanes.drop_waiting(|_| true);
        while let Some((id, number)) = self.running.pop() {
            self.lanes.finish(id);
            assert!(!self.marks.mark(number as i64, number as i64 + 1, -1));
        }
        self.assign();
    }
}

proptest! {
    /// Whatever fails, is revoked or crashes: each record is finished, in the order of its key under each assignment, and
    /// nothing is committed before.
    #[test]
    fn each_record_is_finished_and_commits_pass_over_none(
        keys in prop::collection::vec(0_u8..6, 1..60),
        workers in 1_usize..5,
        steps in prop::collection::vec((0_u8..14, any::<prop::sample::Index>(), 0_u64..20), 1..300),
    ) {
        let mut model = Model::new(keys, workers);
        for (what, which, wait) in steps {
            match what {
                0..4 => model.hand_out(),
                4..8 => model.finish(which),
                8..10 => model.fail(which, wait),
                10 => model.now += Duration::from_millis(wait),
                11 => model.commit(),
                12 => model.revoke(),
                _ => model.crash(),
            }
            model.start();
            prop_assert!(model.running.len() <= workers);
            prop_assert_eq!(model.lanes.running(), model.running.len());
        }
        // When the perturbations stop, everything is done.
        while model.committed < model.keys.len() {
            let before = (model.handed, model.finished.iter().sum::<u32>(), model.lanes.deadline());
            model.hand_out();
            model.start();
            if model.running.is_empty() && let Some(at) = model.lanes.deadline() {
                model.now = at;
                model.start();
            }
            while let Some((id, number)) = model.running.pop() {
                prop_assert_eq!(model.lanes.finish(id), Some(number));
                model.finished[number] += 1;
                model.marks.mark(number as i64, number as i64 + 1, -1);
            }
            model.commit();
            let after = (model.handed, model.finished.iter().sum::<u32>(), model.lanes.deadline());
            prop_assert!(before != after || model.committed == model.keys.len(), "it is stuck");
        }
        prop_assert_eq!(model.lanes.records(), 0);
    }
}
