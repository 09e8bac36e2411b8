//! The machines against simpler ones that do the same.

use std::collections::HashMap;

use proptest::prelude::*;

use super::cache::MIN_EVICTION_MS;
use super::*;

fn asked(fetch_offset: i64) -> Asked {
    Asked { fetch_offset, max_bytes: 1, leader_epoch: -1, last_fetched_epoch: -1, log_start_offset: -1 }
}

fn key(topic: u8) -> TopicKey {
    TopicKey::Name(format!("t{topic}"))
}

fn nothing_new(high_watermark: i64) -> Answered {
    Answered { high_watermark, log_start_offset: 0, has_records: false, is_error: false, is_redirected: false }
}

fn order(session: &Session<u32>) -> Vec<(TopicKey, i32, i64)> {
    let mut order = Vec::new();
    let mut next = session.first();
    while let Some(slot) = next {
        let (entry, topic) = session.at(slot).unwrap();
        order.push((topic.key.clone(), entry.partition, entry.asked.fetch_offset));
        next = session.after(slot);
    }
    order
}

fn slot_of(session: &Session<u32>, topic: u8, partition: i32) -> Option<u32> {
    let mut next = session.first();
    while let Some(slot) = next {
        let (entry, found) = session.at(slot).unwrap();
        if found.key == key(topic) && entry.partition == partition {
            return Some(slot);
        }
        next = session.after(slot);
    }
    None
}

#[derive(Debug, Clone)]
enum Step {
    Ask { topic: u8, partitions: Vec<i32>, offset: i64 },
    Forget { topic: u8, partitions: Vec<i32> },
    Answer { topic: u8, partition: i32, high_watermark: i64, log_start: i64, records: bool, error: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let partitions = || prop::collection::vec(0..4, 0..4);
    prop_oneof![
        (0..3u8, partitions(), 0..5i64).prop_map(|(topic, partitions, offset)| Step::Ask { topic, partitions, offset }),
        (0..3u8, partitions()).prop_map(|(topic, partitions)| Step::Forget { topic, partitions }),
        (0..3u8, 0..4, 0..3i64, 0..2i64, any::<bool>(), any::<bool>()).prop_map(
            |(topic, partition, high_watermark, log_start, records, error)| Step::Answer {
                topic,
                partition,
                high_watermark,
                log_start,
                records,
                error
            }
        ),
    ]
}

/// What a session is, by a list.
struct Known {
    topic: u8,
    partition: i32,
    offset: i64,
    told: Option<(i64, i64)>,
}

proptest! {
    #[test]
    fn a_session_is_a_list_of_partitions_that_remembers_what_was_told(steps in prop::collection::vec(step(), 0..80)) {
        let mut session: Session<u32> = Session::new(false);
        let mut model: Vec<Known> = Vec::new();
        let mut handles = 0;
        for step in steps {
            match step {
                Step::Ask { topic, partitions, offset } => {
                    session.ask(key(topic), partitions.iter().map(|partition| (*partition, asked(offset))));
                    for partition in partitions {
                        match model.iter_mut().find(|known| (known.topic, known.partition) == (topic, partition)) {
                            Some(known) => known.offset = offset,
                            None => model.push(Known { topic, partition, offset, told: None }),
                        }
                        let slot = slot_of(&session, topic, partition).unwrap();
                        let (entry, _) = session.at_mut(slot).unwrap();
                        handles += u32::from(entry.handle.replace(7).is_none());
                    }
                }
                Step::Forget { topic, partitions } => {
                    session.forget(&key(topic), &partitions, |_| handles -= 1);
                    model.retain(|known| known.topic != topic || !partitions.contains(&known.partition));
                }
                Step::Answer { topic, partition, high_watermark, log_start, records, error } => {
                    let at = model.iter().position(|known| (known.topic, known.partition) == (topic, partition));
                    let slot = slot_of(&session, topic, partition);
                    prop_assert_eq!(at.is_some(), slot.is_some());
                    let (Some(at), Some(slot)) = (at, slot) else { continue };
                    let answered = Answered {
                        high_watermark,
                        log_start_offset: log_start,
                        has_records: records,
                        is_error: error,
                        is_redirected: false,
                    };
                    let known = &mut model[at];
                    let is_new = known.told != Some((high_watermark, log_start));
                    let (entry, _) = session.at(slot).unwrap();
                    prop_assert_eq!(entry.must_answer(&answered), is_new || records || error);
                    let at_rest = !is_new && known.offset == high_watermark;
                    prop_assert_eq!(entry.is_at_rest(high_watermark, log_start), at_rest);
                    known.told = (!error).then_some((high_watermark, log_start));
                    session.note(slot, &answered);
                    if records {
                        let last = model.remove(at);
                        model.push(last);
                    }
                }
            }
            let expected: Vec<_> = model.iter().map(|known| (key(known.topic), known.partition, known.offset)).collect();
            prop_assert_eq!(order(&session), expected);
            prop_assert_eq!(session.len(), model.len());
            prop_assert_eq!(handles as usize, session.handles().count());
        }
    }

    #[test]
    fn the_cache_keeps_its_bound_and_gives_way_by_the_rules(
        slots in 0..4usize,
        steps in prop::collection::vec((0..4u8, any::<bool>(), 0..6usize, 0..MIN_EVICTION_MS), 0..60),
    ) {
        struct Place { id: i32, privileged: bool, size: usize, created: i64, used: i64 }
        let mut cache: Cache<i32> = Cache::new(slots);
        let mut model: Vec<Place> = Vec::new();
        let (mut now, mut next_id) = (0, 1);
        for (kind, privileged, size, passed) in steps {
            now += passed;
            let chosen = model.get(size % model.len().max(1)).map(|place| place.id);
            match (kind, chosen) {
                (0, Some(id)) => {
                    prop_assert_eq!(cache.remove(id), Some(id));
                    model.retain(|place| place.id != id);
                }
                (1, Some(id)) => {
                    cache.touch(id, size, now);
                    let place = model.iter_mut().find(|place| place.id == id).unwrap();
                    (place.size, place.used) = (size, now);
                }
                _ => {
                    // Kafka's rules, asked of every session in turn. A session's age counts as of its last use.
                    let stale = model.iter().filter(|place| now - place.used > MIN_EVICTION_MS);
                    let aged = |place: &&Place| place.used - place.created > MIN_EVICTION_MS;
                    let least = model.iter().filter(|place| aged(place) || (privileged && !place.privileged));
                    let least = least.min_by_key(|place| (place.privileged, place.size, place.id));
                    let least = least.filter(|place| (privileged, size, 0) >= (place.privileged, place.size, place.id));
                    let victim = if model.len() < slots { None } else {
                        stale.min_by_key(|place| (place.used, place.id)).or(least).map(|place| place.id)
                    };
                    let (id, evicted) = cache.insert(next_id, size, privileged, now, || next_id);
                    prop_assert_eq!(evicted, victim);
                    if model.len() < slots || victim.is_some() {
                        prop_assert_eq!(id, next_id);
                        model.retain(|place| Some(place.id) != victim);
                        model.push(Place { id, privileged, size, created: now, used: now });
                        next_id += 1;
                    } else {
                        prop_assert_eq!(id, NO_SESSION);
                    }
                }
            }
            prop_assert!(cache.len() <= slots);
            prop_assert_eq!(cache.len(), model.len());
            for place in &model {
                prop_assert_eq!(cache.get(place.id), Some(&place.id));
            }
        }
    }
}

#[test]
fn ids_that_are_taken_or_not_positive_are_drawn_again() {
    let mut cache = Cache::new(2);
    assert_eq!(cache.insert("a", 1, false, 0, || 5).0, 5);
    let mut drawn = [5, 0, -3, 6].into_iter();
    assert_eq!(cache.insert("b", 1, false, 0, || drawn.next().unwrap()).0, 6);
}

#[test]
fn epochs_wrap_around_to_one() {
    assert_eq!(next_epoch(INITIAL_EPOCH), 1);
    assert_eq!(next_epoch(1), 2);
    assert_eq!(next_epoch(i32::MAX), 1);
    assert_eq!(next_epoch(FINAL_EPOCH), FINAL_EPOCH);
}

#[test]
fn with_room_for_one_partition_each_has_its_turn() {
    let mut session: Session<u32> = Session::new(false);
    session.ask(key(0), (0..5).map(|partition| (partition, asked(0))));
    let mut turns: HashMap<i32, u32> = HashMap::new();
    for _ in 0..20 {
        // Every partition has records, and the answer has room for the first one's.
        let slot = session.first().unwrap();
        *turns.entry(session.at(slot).unwrap().0.partition).or_default() += 1;
        session.note(slot, &Answered { has_records: true, ..nothing_new(1) });
    }
    assert_eq!(turns.len(), 5);
    assert!(turns.values().all(|turns| *turns == 4), "{turns:?}");
}

#[test]
fn a_forgotten_topic_leaves_its_place_to_the_next() {
    let mut session: Session<u32> = Session::new(true);
    for round in 0..1000u128 {
        let key = TopicKey::Id(uuid::Uuid::from_u128(round));
        session.ask(key.clone(), [(0, asked(0)), (1, asked(0))]);
        let (entry, topic) = session.at_mut(session.first().unwrap()).unwrap();
        assert!(entry.handle.is_none() && topic.name.is_none(), "something of an earlier partition is left");
        (entry.handle, topic.name) = (Some(1), Some("name".into()));
        session.forget(&key, &[1, 0, 9], |_| {});
    }
    assert_eq!(session.len(), 0);
    assert!(session.slots() <= 4, "{} places for no partition", session.slots());
}
