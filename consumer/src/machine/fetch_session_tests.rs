//! The client's side against a model of the broker's.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key(topic: u128, partition: i32) -> Key {
    Key { topic_id: Uuid::from_u128(topic), topic: Arc::from("t"), partition }
}

fn place(offset: i64) -> Place {
    Place { offset, leader_epoch: 0, last_fetched_epoch: -1 }
}

fn told(high_watermark: i64) -> Told {
    Told { high_watermark, last_stable_offset: high_watermark, log_start_offset: 0 }
}

#[test]
fn what_is_known_is_not_said_again_and_silence_means_what_was_told() {
    let mut session = FetchSession::default();
    let wanted = [(key(1, 0), place(5)), (key(1, 1), place(7))];
    let plan = session.begin(&wanted, true);
    assert_eq!((plan.session_id, plan.session_epoch, plan.named), (0, 0, vec![true, true]));
    assert_eq!(session.on_answer(None, 42), Answer::Full);
    session.note(&wanted[0].0, Some(told(5)));
    session.note(&wanted[1].0, Some(told(9)));

    let wanted = [(key(1, 0), place(5)), (key(1, 1), place(9)), (key(1, 2), place(0))];
    let plan = session.begin(&wanted, true);
    assert_eq!((plan.session_id, plan.session_epoch, plan.named), (42, 1, vec![false, true, true]));
    assert_eq!(session.on_answer(None, 42), Answer::Incremental);
    assert_eq!(session.on_silence(&wanted[0].0), Some(told(5)));
    session.note(&wanted[2].0, None);

    // One goes, and one is of a topic that was made anew.
    let wanted = [(key(2, 1), place(0)), (key(1, 2), place(0))];
    let mut plan = session.begin(&wanted, true);
    plan.forgotten.sort_by_key(|key| key.partition);
    assert_eq!((plan.session_epoch, plan.named, plan.forgotten), (2, vec![true, false], vec![key(1, 0), key(1, 1)]));
}

#[test]
fn after_whatever_went_wrong_everything_is_said_again() {
    let wanted = [(key(1, 0), place(5))];
    let begun = || {
        let mut session = FetchSession::default();
        session.begin(&wanted, true);
        session.on_answer(None, 42);
        session.note(&wanted[0].0, Some(told(5)));
        session
    };
    // No answer came.
    let mut session = begun();
    session.begin(&wanted, true);
    let plan = session.begin(&wanted, true);
    assert_eq!((plan.session_id, plan.session_epoch, plan.named), (42, 0, vec![true]), "in place of the old session");
    // The broker knows nothing of the session, or something else.
    for (code, id) in [
        (ErrorCode::FetchSessionIdNotFound, 0),
        (ErrorCode::InvalidFetchSessionEpoch, 42),
        (ErrorCode::FetchSessionTopicIdError, 42),
    ] {
        let mut session = begun();
        session.begin(&wanted, true);
        assert_eq!(session.on_answer(Some(code), 0), Answer::Again);
        let plan = session.begin(&wanted, true);
        assert_eq!((plan.session_id, plan.session_epoch, plan.named), (id, 0, vec![true]));
        assert_eq!(session.on_answer(Some(code), 0), Answer::Refused(code), "not for ever");
    }
    // Names where there were ids.
    let mut session = begun();
    assert_eq!(session.begin(&wanted, false).session_epoch, 0);
    // The broker has no room for a session, or ends it.
    let mut session = begun();
    session.begin(&wanted, true);
    assert_eq!(session.on_answer(None, 0), Answer::Incremental);
    assert_eq!(session.on_silence(&wanted[0].0), Some(told(5)), "this answer was still one of the session");
    let plan = session.begin(&wanted, true);
    assert_eq!((plan.session_id, plan.session_epoch), (0, 0));
    assert_eq!(session.on_answer(None, 0), Answer::Full);
    assert_eq!(session.begin(&wanted, true).session_epoch, 0);
    // Silence of what nothing was told of.
    let mut session = begun();
    session.note(&wanted[0].0, None);
    session.begin(&wanted, true);
    session.on_answer(None, 42);
    assert_eq!(session.on_silence(&wanted[0].0), None);
    assert_eq!(session.begin(&wanted, true).session_epoch, 0);
}

/// A broker as KIP-227 has it: one session at a time is enough here.
#[derive(Debug, Default)]
struct Broker {
    session: Option<(i32, i32)>,
    cache: BTreeMap<(u128, i32), Cached>,
    next_id: i32,
    /// The high watermark and the beginning of each log.
    logs: BTreeMap<(u128, i32), (i64, i64)>,
    failing: Vec<(u128, i32)>,
    has_room: bool,
}

#[derive(Debug, Clone, Copy)]
struct Cached {
    place: Place,
    said: Option<(i64, i64)>,
}

/// What the broker says of a partition: its end and beginning and how many records, or an error.
type Said = Option<((i64, i64), i64)>;

impl Broker {
    fn answer(
        &mut self,
        plan: &Plan,
        wanted: &[(Key, Place)],
    ) -> (Option<ErrorCode>, i32, BTreeMap<(u128, i32), Said>) {
        let is_first = plan.session_epoch == 0;
        let named = wanted.iter().zip(&plan.named).filter(|(_, named)| **named).map(|(one, _)| one);
        if is_first {
            if self.session.is_some_and(|(id, _)| id == plan.session_id) {
                self.session = None;
            }
            self.cache.clear();
            if self.has_room {
                self.next_id += 1;
                self.session = Some((self.next_id, 1));
            } else {
                self.session = None;
            }
        } else {
            match self.session {
                Some((id, epoch)) if id == plan.session_id => {
                    if epoch != plan.session_epoch {
                        return (Some(ErrorCode::InvalidFetchSessionEpoch), 0, BTreeMap::new());
                    }
                    self.session = Some((id, if epoch == i32::MAX { 1 } else { epoch + 1 }));
                }
                _ => return (Some(ErrorCode::FetchSessionIdNotFound), 0, BTreeMap::new()),
            }
        }
        for (key, place) in named {
            let cached = self.cache.entry((key.topic_id.as_u128(), key.partition));
            cached.and_modify(|cached| cached.place = *place).or_insert(Cached { place: *place, said: None });
        }
        for key in &plan.forgotten {
            self.cache.remove(&(key.topic_id.as_u128(), key.partition));
        }
        let mut said = BTreeMap::new();
        for (place, cached) in &mut self.cache {
            if self.failing.contains(place) {
                cached.said = None;
                said.insert(*place, None);
                continue;
            }
            let log = self.logs.get(place).copied().unwrap_or_default();
            let records = (log.0 - cached.place.offset).clamp(0, 3);
            if is_first || records > 0 || cached.said != Some(log) {
                cached.said = Some(log);
                said.insert(*place, Some((log, records)));
            }
        }
        let id = self.session.map_or(0, |(id, _)| id);
        (None, id, said)
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Asks for these partitions, and what becomes of the answer.
    Fetch {
        wanted: u8,
        is_lost: bool,
    },
    Seek(usize, i64),
    Append(usize, i64),
    Trim(usize),
    Fail(usize),
    Heal,
    /// The topic of a partition is made anew.
    Renew(usize),
    Evict,
    Room(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(wanted, is_lost)| Step::Fetch { wanted, is_lost }),
        3 => (0..6_usize, 0..12_i64).prop_map(|(at, offset)| Step::Seek(at, offset)),
        3 => (0..6_usize, 1..5_i64).prop_map(|(at, count)| Step::Append(at, count)),
        1 => (0..6_usize).prop_map(Step::Trim),
        1 => (0..6_usize).prop_map(Step::Fail),
        1 => Just(Step::Heal),
        1 => (0..6_usize).prop_map(Step::Renew),
        1 => Just(Step::Evict),
        1 => any::<bool>().prop_map(Step::Room),
    ]
}

proptest! {
    /// Whatever changes on either side, and whatever is lost between them: after an answer, each partition that was asked
    /// for is known as the broker has it, and the broker reads what was asked for, where it was asked for, and nothing else.
    #[test]
    fn both_sides_always_mean_the_same(steps in proptest::collection::vec(step(), 1..120)) {
        let mut broker = Broker { has_room: true, ..Broker::default() };
        let mut session = FetchSession::default();
        let mut topics = [1_u128, 2, 3, 4, 5, 6];
        let mut next_topic = 7;
        let mut offsets = [0_i64; 6];
        for step in steps {
            match step {
                Step::Seek(at, offset) => offsets[at] = offset,
                Step::Append(at, count) => broker.logs.entry((topics[at], at as i32)).or_default().0 += count,
                Step::Trim(at) => {
                    let log = broker.logs.entry((topics[at], at as i32)).or_default();
                    log.1 = log.0;
                }
                Step::Fail(at) => broker.failing.push((topics[at], at as i32)),
                Step::Heal => broker.failing.clear(),
                Step::Renew(at) => {
                    topics[at] = next_topic;
                    next_topic += 1;
                    offsets[at] = 0;
                }
                Step::Evict => broker.session = None,
                Step::Room(has_room) => broker.has_room = has_room,
                Step::Fetch { wanted, is_lost } => {
                    let wanted: Vec<_> = (0..6)
                        .filter(|at| wanted & (1 << at) != 0)
                        .map(|at| (key(topics[at], at as i32), place(offsets[at])))
                        .collect();
                    if wanted.is_empty() {
                        continue;
                    }
                    let mut attempts = 0;
                    let (kind, said) = loop {
                        attempts += 1;
                        prop_assert!(attempts <= 2, "asked again and again");
                        let plan = session.begin(&wanted, true);
                        let (code, id, said) = broker.answer(&plan, &wanted);
                        if is_lost {
                            break (None, said);
                        }
                        match session.on_answer(code, id) {
                            Answer::Again => {}
                            Answer::Refused(code) => panic!("{code:?}"),
                            kind => break (Some(kind), said),
                        }
                    };
                    let Some(kind) = kind else { continue };
                    let read: BTreeMap<_, _> =
                        broker.cache.iter().map(|(place, cached)| (*place, cached.place.offset)).collect();
                    let asked: BTreeMap<_, _> =
                        wanted.iter().map(|(key, place)| ((key.topic_id.as_u128(), key.partition), place.offset)).collect();
                    prop_assert_eq!(read, asked);
                    for (key, _) in &wanted {
                        let name = (key.topic_id.as_u128(), key.partition);
                        let log = broker.logs.get(&name).copied().unwrap_or_default();
                        match said.get(&name) {
                            Some(None) => session.note(key, None),
                            Some(Some(((end, start), records))) => {
                                session.note(key, Some(Told { log_start_offset: *start, ..told(*end) }));
                                offsets[key.partition as usize] += records;
                            }
                            None => {
                                prop_assert_eq!(kind, Answer::Incremental);
                                let known = session.on_silence(key);
                                prop_assert_eq!(known, Some(Told { log_start_offset: log.1, ..told(log.0) }));
                            }
                        }
                    }
                }
            }
        }
    }
}
