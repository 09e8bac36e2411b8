//! The whole producer over random trouble: what was acknowledged is in the log, once and in order, what was denied is
//! not, every record has one outcome, and transactions are whole.
//!
//! The seed decides what goes wrong and when, on a clock that does not wait. The jitter of the producer's pauses is its
//! own, so that a seed does not repeat a run to the last step; `PROPTEST_CASES` makes more of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rkafka_producer::{
    ClientSettings as _, CommittedOffset, CompressionType, GroupMetadata, ProducerConfig, Record, TopicPartition,
    TransactionError, TransactionalProducer,
};
use rkafka_protocol::{ApiKey, ErrorCode};

use crate::broker::{Act, Call};
use crate::model::Item;
use crate::net::{Net, pause, spawn};

const BROKERS: usize = 3;
const PARTITIONS: usize = 3;
/// In virtual time: beyond, something hangs.
const LIMIT: Duration = Duration::from_secs(3600);

/// Numbers from a seed, for the script and for whoever disturbs.
#[derive(Clone)]
struct Random(Arc<Mutex<u64>>);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    fn below(&self, sides: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn one_in(&self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn ms(&self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }
}

fn twice(answer: Vec<u8>) -> Vec<u8> {
    answer.repeat(2)
}

fn with_another_id(mut answer: Vec<u8>) -> Vec<u8> {
    answer[7] ^= 0x40;
    answer
}

/// What a coordinator refuses at times; with the first two, what it may have done all the same.
const OF_COORDINATORS: [ErrorCode; 3] =
    [ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorLoadInProgress];
const OF_LEADERS: [ErrorCode; 5] = [
    ErrorCode::NotLeaderOrFollower,
    ErrorCode::NotEnoughReplicas,
    ErrorCode::KafkaStorageError,
    ErrorCode::LeaderNotAvailable,
    ErrorCode::UnknownTopicOrPartition,
];
const OF_LEADERS_IN_SPITE: [ErrorCode; 4] = [
    ErrorCode::NotLeaderOrFollower,
    ErrorCode::NotEnoughReplicasAfterAppend,
    ErrorCode::RequestTimedOut,
    ErrorCode::KafkaStorageError,
];

/// What becomes of a request. By version 1 of transactions a request that comes late may do to the next transaction
/// what it was to do to this one (KAFKA-17754), against which no client can do anything: there, none comes late. Nor
/// without sequence numbers, by which a broker knows that a batch is late.
fn trouble(random: &Random, call: &Call, may_be_late: fn(ApiKey) -> bool) -> Act {
    let is_produce = call.key == ApiKey::Produce;
    let of_coordinator = matches!(
        call.key,
        ApiKey::InitProducerId
            | ApiKey::AddPartitionsToTxn
            | ApiKey::AddOffsetsToTxn
            | ApiKey::TxnOffsetCommit
            | ApiKey::EndTxn
    );
    match random.below(40) {
        0 => Act::HangUp,
        1 => Act::DoAndHangUp,
        2 => Act::Cut(random.below(50) as usize),
        3 if random.one_in(4) => Act::Silence,
        3 => Act::DoAndSilence,
        4 => Act::AnswerAfter(random.ms(4_000)),
        5 if may_be_late(call.key) => Act::DoAfter(random.ms(5_000)),
        6 => Act::Tamper(if random.one_in(2) { twice } else { with_another_id }),
        7 => Act::AnswerLast,
        8 if is_produce => Act::Throttle(random.ms(500)),
        9 if is_produce => Act::Refuse(random.pick(&OF_LEADERS)),
        10 | 11 if is_produce => Act::DoAndRefuse(random.pick(&OF_LEADERS_IN_SPITE)),
        9 if of_coordinator => Act::Refuse(random.pick(&OF_COORDINATORS)),
        10 if of_coordinator => Act::DoAndRefuse(random.pick(&OF_COORDINATORS[..2])),
        11 if of_coordinator => Act::Refuse(ErrorCode::ConcurrentTransactions),
        _ => Act::Do,
    }
}

/// Moves leaders and coordinators, kills and revives brokers, until there was enough of it.
async fn disturb(net: Arc<Net>, random: Random, goes_on: Arc<AtomicBool>) {
    while goes_on.load(Ordering::Relaxed) {
        pause(random.ms(3_000)).await;
        let (broker, partition) = (random.below(BROKERS as u64) as usize, random.below(PARTITIONS as u64) as usize);
        match random.below(8) {
            0 | 1 => net.cluster.state().move_leader(partition, Some(broker)),
            2 => {
                net.cluster.state().move_leader(partition, None);
                pause(random.ms(2_000)).await;
                net.cluster.state().move_leader(partition, Some(broker));
            }
            3 | 4 => {
                net.kill(broker);
                if random.one_in(2) {
                    let mut state = net.cluster.state();
                    let heir = (broker + 1) % BROKERS;
                    for partition in 0..PARTITIONS {
                        if state.leaders[partition].0 == Some(broker) {
                            state.move_leader(partition, Some(heir));
                        }
                    }
                    state.coordinator = heir;
                }
                pause(random.ms(3_000)).await;
                net.revive(broker);
            }
            5 => net.cluster.state().coordinator = broker,
            6 => {
                // What brokers say of leaders is old for a while.
                {
                    let mut state = net.cluster.state();
                    state.said = Some(state.leaders.clone());
                    state.leader_hints = random.one_in(2);
                }
                pause(random.ms(3_000)).await;
                net.cluster.state().said = None;
            }
            _ => {
                net.set_hostile(broker, true);
                pause(random.ms(1_000)).await;
                net.set_hostile(broker, false);
            }
        }
    }
}

fn settings(net: &Net, random: &Random) -> ProducerConfig {
    let codecs = [CompressionType::None, CompressionType::Lz4, CompressionType::Zstd];
    net.config()
        .linger(random.ms(20))
        .batch_size(random.below(400) as usize)
        .max_in_flight(1 + random.below(5) as u32)
        .compression_type(random.pick(&codecs))
        .request_timeout(Duration::from_secs(2))
        .delivery_timeout(Duration::from_millis(3_000 + random.below(60_000)))
}

/// Runs `body` over trouble, and gives the network when all is well again and `body` has come to its end.
fn run<F: Future<Output = ()>>(
    seed: u64,
    version: i16,
    may_be_late: fn(ApiKey) -> bool,
    body: impl FnOnce(Arc<Net>, Random, Arc<AtomicBool>) -> F,
) -> Arc<Net> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (net, random) = (Net::new(BROKERS, PARTITIONS), Random::new(seed));
        {
            let mut state = net.cluster.state();
            state.transaction_version = version;
            if random.one_in(3) {
                state.records_max = 4;
            }
        }
        let goes_on = Arc::new(AtomicBool::new(true));
        let (dice, is_bad) = (random.clone(), goes_on.clone());
        net.cluster.script(move |call| match is_bad.load(Ordering::Relaxed) {
            true => trouble(&dice, call, may_be_late),
            false => Act::Do,
        });
        let disturber = spawn(disturb(net.clone(), random.clone(), goes_on.clone()));
        let done = tokio::time::timeout(LIMIT, body(net.clone(), random, goes_on)).await;
        assert!(done.is_ok(), "something hangs");
        disturber.await.unwrap();
        net
    })
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Pending,
    Written(i64),
    Unknown,
    NotWritten,
}

fn failed(maybe_written: bool) -> Fate {
    if maybe_written { Fate::Unknown } else { Fate::NotWritten }
}

/// Sends records, and says what became of each; `once` where no record may be there twice.
fn records(seed: u64, change: fn(ProducerConfig) -> ProducerConfig, once: bool) {
    let fates: Arc<Mutex<Vec<(usize, Fate)>>> = Arc::default();
    let told = fates.clone();
    let may_be_late: fn(ApiKey) -> bool = if once { |_| true } else { |_| false };
    let net = run(seed, 2, may_be_late, |net, random, goes_on| async move {
        let producer = loop {
            let made = rkafka_producer::Producer::with_options(change(settings(&net, &random)), net.options()).await;
            match made {
                Ok(producer) => break producer,
                Err(error) => assert!(error.is_retriable(), "{error}"),
            }
        };
        for number in 0..150_usize {
            let partition = random.below(PARTITIONS as u64) as usize;
            let value = format!("{number} {}", "x".repeat(random.below(60) as usize));
            told.lock().unwrap().push((partition, Fate::Pending));
            let note = {
                let told = told.clone();
                move |fate| {
                    let before = std::mem::replace(&mut told.lock().unwrap()[number].1, fate);
                    assert_eq!(before, Fate::Pending, "record {number} has two outcomes: {before:?} and {fate:?}");
                }
            };
            let other = note.clone();
            let accepted =
                producer.send_with(Record::to("t").partition(partition as i32).value(&value), move |result| {
                    note(result.map_or_else(|error| failed(error.maybe_written()), |one| Fate::Written(one.offset)))
                });
            if let Err(error) = accepted.await {
                other(failed(error.maybe_written()));
            }
            if random.one_in(3) {
                pause(random.ms(400)).await;
            }
        }
        goes_on.store(false, Ordering::Relaxed);
        producer.close(LIMIT).await.unwrap();
    });
    let state = net.cluster.state();
    let mut there: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
    for (partition, log) in state.model.logs.iter().enumerate() {
        let mut last = None;
        for (offset, item) in log.items.iter().enumerate() {
            let Item::Record { value, .. } = item else { continue };
            let number: usize = value.split(' ').next().unwrap().parse().unwrap();
            let places = there.entry(number).or_default();
            places.push((partition, offset));
            // A record that is there twice comes again after what followed it.
            assert!(once || places.len() > 1 || last.is_none_or(|last| last < number), "{number} behind {last:?}");
            assert!(!once || last.is_none_or(|last| last < number), "{number} behind {last:?} in {partition}");
            last = last.max(Some(number));
        }
    }
    for (number, (partition, fate)) in fates.lock().unwrap().iter().enumerate() {
        let places = there.remove(&number).unwrap_or_default();
        assert!(!once || places.len() < 2, "record {number} is at {places:?}");
        assert!(places.iter().all(|(of, _)| of == partition), "record {number} is at {places:?}");
        match fate {
            Fate::Pending => panic!("record {number} has no outcome"),
            Fate::Written(-1) => assert!(!places.is_empty(), "record {number} was acknowledged and is not there"),
            Fate::Written(offset) => assert!(
                places.contains(&(*partition, *offset as usize)),
                "record {number} was acknowledged at {offset}, and is at {places:?}"
            ),
            Fate::NotWritten => assert!(places.is_empty(), "record {number} was denied, and is at {places:?}"),
            Fate::Unknown => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Committed,
    Aborted,
    Unknown,
}

/// A transaction's records as (partition, index), how it ended, and the offset that it commits.
type Made = (Vec<(usize, usize)>, End, Option<i64>);

async fn one_transaction(producer: &mut TransactionalProducer, random: &Random, number: usize) -> (Made, bool) {
    let count = random.below(9) as usize;
    let places = (0..count).map(|index| (random.below(PARTITIONS as u64) as usize, index)).collect::<Vec<_>>();
    let offset = random.one_in(2).then_some(number as i64 + 1);
    let commits = !random.one_in(5);
    let waits = random.one_in(3);
    let ended = async {
        let transaction = producer.begin().await?;
        for (partition, index) in &places {
            let value = format!("{number} {index}");
            if let Err(error) = transaction.send(Record::to("t").partition(*partition as i32).value(&value)).await {
                return transaction.abort().await.and(Err(TransactionError::Record(error)));
            }
            if waits {
                pause(random.ms(300)).await;
            }
        }
        if let Some(offset) = offset {
            let offsets = [(TopicPartition::new("in", 0), CommittedOffset::new(offset))];
            if let Err(error) = transaction.send_offsets(offsets, GroupMetadata::new("g")).await {
                return transaction.abort().await.and(Err(error));
            }
        }
        if commits { transaction.commit().await.map(|()| true) } else { transaction.abort().await.map(|()| false) }
    };
    let ended = ended.await;
    let (end, is_lost) = match ended {
        Ok(true) => (End::Committed, false),
        Ok(false) => (End::Aborted, false),
        Err(error) => match producer.last_was_committed().await {
            Ok(true) if error.may_have_been_written() => (End::Committed, error.is_fatal()),
            Ok(_) => (End::Aborted, error.is_fatal()),
            Err(_) if error.may_have_been_written() => (End::Unknown, true),
            Err(_) => (End::Aborted, true),
        },
    };
    ((places, end, offset), is_lost)
}

async fn transactional(net: &Arc<Net>, random: &Random) -> TransactionalProducer {
    loop {
        let config = settings(net, random).transactional_id("tx").max_block(Duration::from_secs(30));
        match TransactionalProducer::with_options(config, net.options()).await {
            Ok(producer) => return producer,
            Err(_) => pause(Duration::from_secs(1)).await,
        }
    }
}

fn transactions(seed: u64, version: i16) {
    let all: Arc<Mutex<Vec<Made>>> = Arc::default();
    let told = all.clone();
    let may_be_late: fn(ApiKey) -> bool = if version == 1 { |key| key == ApiKey::Produce } else { |_| true };
    let net = run(seed, version, may_be_late, |net, random, goes_on| async move {
        let mut producer = transactional(&net, &random).await;
        for number in 0..25 {
            if number == 22 {
                // The last ones are over untroubled waters, so that all that is left behind comes to its end.
                goes_on.store(false, Ordering::Relaxed);
            } else if random.one_in(12) {
                // It took longer than `transaction.timeout.ms`, or so the coordinator thinks.
                let mut state = net.cluster.state();
                if state.model.transactions.get("tx").is_some_and(|txn| txn.stage == crate::model::Stage::Ongoing) {
                    state.model.complete("tx", false, true);
                }
            }
            let (made, is_lost) = one_transaction(&mut producer, &random, number).await;
            told.lock().unwrap().push(made);
            if is_lost {
                drop(producer);
                producer = transactional(&net, &random).await;
            }
        }
        producer.close(LIMIT).await.unwrap();
    });
    let state = net.cluster.state();
    let mut there: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
    for (partition, log) in state.model.logs.iter().enumerate() {
        let mut last = None;
        for value in log.committed() {
            let (number, index) = value.split_once(' ').unwrap();
            let place: (usize, usize) = (number.parse().unwrap(), index.parse().unwrap());
            assert!(last.is_none_or(|last| last < place), "{place:?} behind {last:?} in {partition}");
            last = Some(place);
            there.entry(place.0).or_default().push((partition, place.1));
        }
    }
    let mut offset_due = None;
    for (number, (places, end, offset)) in all.lock().unwrap().iter().enumerate() {
        let mut found = there.remove(&number).unwrap_or_default();
        found.sort_by_key(|(_, index)| *index);
        match end {
            End::Committed => assert_eq!(&found, places, "transaction {number} was committed"),
            End::Aborted => assert!(found.is_empty(), "transaction {number} was aborted, and is there: {found:?}"),
            End::Unknown => assert!(found.is_empty() || found == *places, "transaction {number} is torn: {found:?}"),
        }
        match end {
            End::Committed => offset_due = offset.map(|offset| vec![offset]).or(offset_due),
            // Without records nobody can tell whether its offset was committed.
            End::Unknown if !found.is_empty() => offset_due = offset.map(|offset| vec![offset]).or(offset_due),
            End::Unknown if places.is_empty() => {
                offset_due = offset_due
                    .map(|mut due| {
                        due.extend(*offset);
                        due
                    })
                    .or(offset.map(|offset| vec![offset, -1]))
            }
            _ => {}
        }
    }
    let offset = state.model.offsets.get(&("g".to_owned(), 0)).copied();
    match offset_due {
        Some(due) => assert!(due.contains(&offset.unwrap_or(-1)), "the group is at {offset:?}, due is one of {due:?}"),
        None => assert_eq!(offset, None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40),
        max_shrink_iters: 0,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/scripted/random.proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn idempotent(seed: u64) {
        records(seed, |config| config, true);
    }

    /// Without sequence numbers nothing is known again, but with one request at a time nothing overtakes either.
    #[test]
    fn one_request_at_a_time(seed: u64) {
        records(seed, |config| config.enable_idempotence(false).max_in_flight(1_u32), false);
    }

    #[test]
    fn transactional_by_version_1(seed: u64) {
        transactions(seed, 1);
    }

    #[test]
    fn transactional_by_version_2(seed: u64) {
        transactions(seed, 2);
    }
}
