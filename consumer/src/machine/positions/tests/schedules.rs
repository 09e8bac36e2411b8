//! Whatever order things happen in.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
