use proptest::prelude::*;

use super::*;

/// One batch of the model: its offsets and its bytes as they are in the log.
#[derive(Debug, Clone)]
struct Stored {
    base: i64,
    last: i64,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(usize, usize, u8)>),
    Idempotent { id: i64, count: usize },
    Repeat,
    Flush,
    ReopenClean,
    ReopenUnclean,
    Truncate(usize),
    NewEpoch,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((1..6usize, 0..300usize, 0..5u8), 1..4).prop_map(Step::Append),
        3 => (0..3i64, 1..5usize).prop_map(|(id, count)| Step::Idempotent { id, count }),
        1 => Just(Step::Repeat),
        1 => Just(Step::Flush),
        1 => Just(Step::ReopenClean),
        1 => Just(Step::ReopenUnclean),
        1 => any::<prop::sample::Index>().prop_map(|index| Step::Truncate(index.index(100))),
        1 => Just(Step::NewEpoch),
    ]
}

fn remember(model: &mut Vec<Stored>, mut records: &[u8]) {
    while !records.is_empty() {
        let batch = RecordBatch::read(records).unwrap();
        model.push(Stored {
            base: batch.header().base_offset,
            last: batch.header().last_offset(),
            bytes: batch.bytes().to_vec(),
        });
        records = &records[batch.bytes().len()..];
    }
}

/// What a read may return by its contract: whole batches from the one that holds the offset.
fn check_reads(log: &Log, model: &[Stored]) {
    let end = model.last().map_or(0, |stored| stored.last + 1);
    assert_eq!(log.log_end_offset(), end);
    assert!(log.read(end + 1, 1, i64::MAX, true).is_err());
    for offset in 0..=end {
        for (max_bytes, up_to) in [(1, end), (250, end), (900, end - 2), (1 << 20, end)] {
            let read = log.read(offset, max_bytes, up_to, true).unwrap();
            let at = model.partition_point(|stored| stored.last < offset);
            let allowed: Vec<&Stored> = model[at..].iter().take_while(|stored| stored.last < up_to).collect();
            let Some(first) = allowed.first() else {
                assert!(read.records.is_empty());
                assert_eq!(read.next_offset, offset);
                continue;
            };
            assert_eq!(read.first_offset, first.base);
            let expected = allowed.iter().flat_map(|stored| stored.bytes.iter().copied());
            assert!(expected.take(read.records.len()).eq(read.records.iter().copied()), "offset {offset}");
            let taken = allowed.iter().take_while(|stored| stored.last < read.next_offset).count();
            assert_eq!(allowed[..taken].iter().map(|stored| stored.bytes.len()).sum::<usize>(), read.records.len());
            assert!(taken == 1 || read.records.len() <= max_bytes);
            // It stops early at a limit or at the end of a segment, and nowhere else.
            if let Some(next) = allowed.get(taken) {
                let new_segment = log.segments().any(|segment| segment.base_offset == next.base);
                assert!(new_segment || read.records.len() + next.bytes.len() > max_bytes, "stops early at {offset}");
            }
            let none = log.read(offset, first.bytes.len() - 1, up_to, false).unwrap();
            assert!(none.records.is_empty());
        }
    }
}

fn run(steps: Vec<Step>) {
    let storage = memory();
    let config = LogConfig { segment_bytes: 1500, index_interval_bytes: 200, ..LogConfig::default() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    let mut model: Vec<Stored> = Vec::new();
    let mut epoch = 0;
    let mut last_sent: Option<(Vec<u8>, i64)> = None;
    for step in steps {
        match step {
            Step::Append(batches) => {
                let mut records = Vec::new();
                for (count, size, codec) in batches {
                    let codec = Compression::from_id(codec).unwrap();
                    records.extend(batch_of(None, &vec![NOW_MS; count], size, codec));
                }
                let too_large = records.len() > 1500;
                let info = log.append_as_leader(&mut records, None, epoch, NOW_MS);
                assert_eq!(info.is_err(), too_large);
                if !too_large {
                    remember(&mut model, &records);
                }
            }
            Step::Idempotent { id, count } => {
                let next = log.producers().get(id).map_or(0, |entry| entry.last_sequence() + 1);
                let mut records = idempotent(id, 0, next, count);
                let sent = records.clone();
                let info = log.append_as_leader(&mut records, None, epoch, NOW_MS).unwrap();
                assert!(!info.duplicate);
                remember(&mut model, &records);
                last_sent = Some((sent, info.base_offset));
            }
            Step::Repeat => {
                if let Some((mut sent, base_offset)) = last_sent.clone()
                    && base_offset < log.log_end_offset()
                {
                    let info = log.append_as_leader(&mut sent, None, epoch, NOW_MS).unwrap();
                    assert!(info.duplicate && info.base_offset == base_offset);
                }
            }
            Step::Flush => assert_eq!(log.flush().unwrap(), log.log_end_offset()),
            Step::ReopenClean => {
                log.close_clean().unwrap();
                let (opened, report) = open_in(&storage, &config, OpenState::clean());
                assert_eq!((report.segments_scanned, report.indexes_rebuilt), (0, 0));
                log = opened;
            }
            Step::ReopenUnclean => {
                let recovery_point = log.recovery_point();
                drop(log);
                let (opened, report) = open_in(&storage, &config, OpenState::unclean(recovery_point));
                assert_eq!(report.truncated_bytes, 0);
                log = opened;
            }
            Step::Truncate(at) => {
                let target = log.log_end_offset() * at as i64 / 100;
                let end = log.truncate_to(target, NOW_MS).unwrap();
                model.retain(|stored| stored.last < target);
                assert_eq!(end, model.last().map_or(0, |stored| stored.last + 1));
                // What a producer sent may be gone now, so it may be sent again as new.
                last_sent = None;
            }
            Step::NewEpoch => epoch += 1,
        }
    }
    check_reads(&log, &model);
    assert_derived_from_bytes(&log, storage.as_ref());
}

proptest! {
    #[test]
    fn a_log_behaves_as_a_list_of_batches(steps in prop::collection::vec(step(), 1..25)) {
        run(steps);
    }
}

#[test]
fn large_batches_are_read_whole_between_distant_index_entries() {
    let storage = memory();
    let (mut log, _) = open_in(&storage, &LogConfig::default(), OpenState::clean());
    let mut model = Vec::new();
    for size in [10, 100_000, 5000, 10, 200_000, 10, 70_000, 10, 10] {
        let mut records = batch(2, size);
        log.append_as_leader(&mut records, None, 0, NOW_MS).unwrap();
        remember(&mut model, &records);
    }
    check_reads(&log, &model);
}
