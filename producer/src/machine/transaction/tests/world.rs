//! The machine against a coordinator that does all it may, over random courses of events.

use proptest::prelude::*;

use super::*;

/// A coordinator that does what Kafka's does, as far as a producer can see, and loses answers.
struct World {
    random: u64,
    course: Course,
    implicit: bool,
    identity: ProducerIdentity,
    /// The transaction that is open at the coordinator, with its partitions; and whether it has offsets.
    open: Option<HashSet<TopicPartition>>,
    /// The end of the last transaction, and the epoch that it was told with, for a retry.
    last: Option<(ProducerIdentity, bool)>,
    /// Which were committed, as the coordinator has it.
    committed: Vec<u64>,
    /// Transactions of which something failed, and those that the application was told are committed.
    failed: HashSet<u64>,
    told: Vec<u64>,
    flushing: bool,
    number: u64,
    request: Option<Action>,
}

impl World {
    fn new(seed: u64, implicit: bool) -> Self {
        Self {
            random: seed | 1,
            course: Course { machine: Transactions::new("tx".into()), now: crate::clock::now() },
            implicit,
            identity: ProducerIdentity { id: 7, epoch: -1 },
            open: None,
            last: None,
            committed: Vec::new(),
            failed: HashSet::new(),
            told: Vec::new(),
            flushing: false,
            number: 0,
            request: None,
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.random = next_random(self.random);
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    /// What the coordinator does and answers.
    fn serve(&mut self, action: &Action) -> Reply {
        let stale = |identity: &ProducerIdentity| *identity != self.identity;
        match action {
            Action::Initialize { .. } => {
                self.open = None;
                self.last = None;
                self.identity.epoch += 1;
                Reply::Initialized { identity: self.identity, implicit: self.implicit }
            }
            Action::AddPartitions { identity, .. } | Action::AddGroup { identity, .. } if stale(identity) => {
                Reply::Refused(ErrorCode::ProducerFenced)
            }
            Action::AddPartitions { partitions, .. } => {
                assert!(!self.implicit, "brokers add partitions by themselves");
                self.open.get_or_insert_default().extend(partitions.iter().cloned());
                Reply::PartitionsAdded(partitions.iter().map(|place| (place.clone(), ErrorCode::None)).collect())
            }
            Action::AddGroup { .. } => {
                self.open.get_or_insert_default();
                Reply::GroupAdded
            }
            Action::CommitOffsets { identity, offsets, adds } => {
                assert!(!stale(identity) && *adds == self.implicit);
                assert!(self.implicit || self.open.is_some(), "the group was added before");
                self.open.get_or_insert_default();
                Reply::OffsetsCommitted(offsets.offsets.iter().map(|(at, _)| (at.clone(), ErrorCode::None)).collect())
            }
            Action::End { identity, commit, bumps } => {
                assert_eq!(*bumps, self.implicit);
                if self.last == Some((*identity, *commit)) && self.open.is_none() {
                    return Reply::Ended { identity: Some(self.identity), implicit: self.implicit };
                }
                assert!(!stale(identity), "one epoch at a time");
                assert!(!*commit || !self.failed.contains(&self.number), "a transaction of which something failed");
                assert!(!self.flushing, "records are under way");
                if *commit {
                    self.committed.push(self.number);
                }
                self.open = None;
                self.last = Some((*identity, *commit));
                if self.implicit {
                    self.identity.epoch += 1;
                }
                Reply::Ended { identity: Some(self.identity), implicit: self.implicit }
            }
            Action::Drop | Action::AwaitSends => unreachable!("no requests"),
        }
    }

    /// What the application does.
    fn decide(&mut self, stage: Stage) {
        match stage {
            Stage::Ready => {
                self.number = self.course.machine.begin().expect("ready");
                if self.roll(2) == 0 {
                    self.course.machine.add_offsets(offsets());
                }
            }
            Stage::Open | Stage::Doomed => {
                let commit = self.roll(3) > 0;
                self.course.machine.end(commit);
            }
            _ => {}
        }
    }

    fn step(&mut self, trouble: bool) {
        let before = self.course.machine.stage();
        match self.roll(12) {
            0..4 => match self.course.action() {
                Some(Action::Drop) | None => {}
                Some(Action::AwaitSends) => self.flushing = true,
                Some(request) => {
                    assert!(self.request.is_none(), "one request at a time");
                    self.request = Some(request);
                }
            },
            4..7 => {
                if let Some(request) = self.request.take() {
                    let reply = match self.roll(if trouble { 8 } else { 1 }) {
                        1 => lost(),
                        2 => {
                            self.serve(&request);
                            lost()
                        }
                        3 => Reply::Refused(ErrorCode::ConcurrentTransactions),
                        4 => Reply::Refused(ErrorCode::NotCoordinator),
                        5 if !matches!(request, Action::Initialize { .. } | Action::End { .. }) => {
                            self.failed.insert(self.number);
                            Reply::Refused(ErrorCode::TransactionAbortable)
                        }
                        _ => self.serve(&request),
                    };
                    self.course.reply(reply);
                }
            }
            7 => {
                if std::mem::take(&mut self.flushing) {
                    self.course.machine.on_flushed();
                }
            }
            8 => {
                // Only what was accepted before the end can have to be sent.
                if before == Stage::Open || self.flushing {
                    self.course.machine.want(place(self.random as i32 & 3));
                }
            }
            9 if trouble && matches!(before, Stage::Open | Stage::Committing) => {
                // While nothing is flushed, a record may fail.
                if before == Stage::Open || self.flushing {
                    self.failed.insert(self.number);
                    self.course.machine.on_send_failed(&refused(ErrorCode::MessageTooLarge));
                }
            }
            10 => self.course.now += Duration::from_millis(self.random % 150),
            _ => self.decide(before),
        }
        for (place, admission) in self.course.machine.take_admitted() {
            assert_eq!(admission.number, self.number);
            assert_eq!(admission.identity, self.identity, "of the present epoch");
            let open = self.open.get_or_insert_default();
            assert!(self.implicit || open.contains(&place), "no record before its partition is added");
            open.insert(place);
        }
        if let Some(End::Committed) = self.course.machine.end_of(self.number)
            && self.told.last() != Some(&self.number)
        {
            self.told.push(self.number);
        }
        let after = self.course.machine.stage();
        assert!(before == after || before.may_become(after), "{before:?} -> {after:?}");
        assert_ne!(after, Stage::Failed, "nothing here is fatal: {:?}", self.course.machine.error());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_committed_is_and_what_failed_is_not(seed: u64, implicit: bool) {
        let mut world = World::new(seed, implicit);
        for _ in 0..800 {
            world.step(true);
        }
        let reached = world.number;
        for _ in 0..2_000 {
            world.step(false);
        }
        prop_assert!(world.number > reached, "it goes on after the trouble: {:?}", world.course.machine.stage());
        for number in &world.committed {
            prop_assert!(!world.failed.contains(number));
        }
        // An empty one is committed without the coordinator.
        for number in &world.told {
            prop_assert!(!world.failed.contains(number));
        }
        let doubted = world.course.machine.is_in_doubt().then_some(world.number);
        for number in &world.committed {
            prop_assert!(world.told.contains(number) || doubted == Some(*number), "{number} was committed in silence");
        }
    }
}
