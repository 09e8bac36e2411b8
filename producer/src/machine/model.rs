//! The machines against a small model of a cluster: brokers that deduplicate as Kafka does, connections that break with
//! requests and answers in them, leaders that move, errors of every kind. Time is a number.

mod filling;
mod log;
mod transactional;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::{Codec, Compression, Compressor, DecompressArena};

use log::Log;

use super::accumulator::{Answer, Limits, Resolutions};
use super::batch::{Load, Payload, PayloadBytes};
use super::fill::Fill;
use super::outbox::{Collect, Conditions, Outbox};
use super::sequence::ProducerIdentity;
use crate::delivery::Delivery;
use crate::memory::Memory;
use crate::partition::{ENTRY_OVERHEAD, Mailbox, Partition};
use crate::partitioner::next_random;
use crate::{ProducerError, Record};

const BROKERS: usize = 3;
const PARTITIONS: usize = 3;
const REQUEST_SIZE_MAX: usize = 1000;
const MEMORY: usize = 60_000;

type Batches = Vec<(Arc<Partition>, u64, Arc<Payload>)>;

#[derive(Default)]
struct Connection {
    route: u64,
    requests: VecDeque<Batches>,
    answers: VecDeque<(Batches, Vec<Result<i64, ErrorCode>>)>,
}

struct World {
    random: u64,
    now: Instant,
    limits: Arc<Limits>,
    memory: Arc<Memory>,
    fill: Arc<Fill>,
    codec: Codec,
    compressor: Compressor,
    identity: Option<ProducerIdentity>,
    ids_given: i64,
    routes: u64,
    logs: Vec<Log>,
    partitions: Vec<Arc<Partition>>,
    mailboxes: Vec<Arc<Mailbox>>,
    outboxes: Vec<Outbox>,
    connections: Vec<Connection>,
    /// Requests that a broker was at when their connection broke: it may finish them whenever it likes.
    zombies: Vec<(usize, Batches)>,
    deliveries: Vec<(usize, u32, Delivery)>,
    records_max: usize,
    /// Whether requests may hang in a broker after their connection broke; one at a time.
    hanging: bool,
    trouble: bool,
    poison: bool,
    /// The most that batches took before compression, and on the wire.
    largest: [usize; 2],
    /// Of a transactional producer.
    present: Option<transactional::Present>,
}

impl World {
    fn new(seed: u64, idempotent: bool, window: u64, compression: Compression) -> Self {
        let limits = Arc::new(Limits {
            batch_size: 200,
            record_size_max: REQUEST_SIZE_MAX,
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_secs(2),
            window,
            retries: u32::MAX,
            idempotent,
            transaction: None,
        });
        let mailboxes =
            (0..=BROKERS).map(|id| Mailbox::new(if id == BROKERS { -1 } else { id as i32 })).collect::<Vec<_>>();
        let fill = Arc::new(Fill::new(limits.batch_size, limits.record_size_max));
        let partitions = (0..PARTITIONS)
            .map(|index| {
                let partition =
                    Partition::new("t".into(), index as i32, limits.clone(), fill.clone(), mailboxes[BROKERS].clone());
                partition.move_to(&mailboxes[0]);
                partition
            })
            .collect();
        Self {
            random: next_random(seed | 1),
            now: crate::clock::now(),
            memory: Arc::new(Memory::new(MEMORY, 200, REQUEST_SIZE_MAX)),
            fill,
            limits,
            codec: Codec::new(compression),
            compressor: Compressor::new(),
            identity: None,
            ids_given: 0,
            routes: BROKERS as u64,
            logs: (0..PARTITIONS).map(|_| Log::default()).collect(),
            partitions,
            outboxes: (0..=BROKERS).map(|id| Outbox::new(if id == BROKERS { -1 } else { id as i32 })).collect(),
            connections: (0..BROKERS)
                .map(|route| Connection { route: route as u64, ..Connection::default() })
                .collect(),
            mailboxes,
            zombies: Vec::new(),
            deliveries: Vec::new(),
            records_max: usize::MAX,
            hanging: seed.is_multiple_of(2),
            trouble: true,
            poison: true,
            largest: [0; 2],
            present: None,
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.random = next_random(self.random);
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn pick(&mut self, length: usize) -> usize {
        self.roll(length as u64) as usize
    }

    fn send(&mut self) {
        if self.present.as_ref().is_some_and(transactional::Present::is_shut) {
            return;
        }
        let at = self.pick(PARTITIONS);
        let mut id = self.deliveries.len() as u32;
        if !self.poison && id % 97 == 96 {
            // Ids that the model refuses are skipped by sending nothing under them.
            id += 1_000_000;
        }
        let mut value = id.to_be_bytes().to_vec();
        // Some compress well and some not at all, for a while each, so that guesses are wrong both ways.
        let (length, plain) = (self.pick(60), (id / 150).is_multiple_of(2));
        value.extend((0..length).map(|_| if plain { b'x' } else { self.pick(256) as u8 }));
        let mut slot = self.partitions[at].lock();
        let now = self.now;
        let appended = slot.queue.append(&Record::to("t").value(&value), 5, true, &self.memory, false, || now);
        if let Ok(appended) = appended {
            self.deliveries.push((at, id, Delivery::new(appended.state, appended.index, 5)));
            if appended.wake {
                self.partitions[at].signal(slot);
            }
        }
    }

    fn resolve(&mut self, mut resolved: Resolutions) {
        self.note(&mut resolved);
        for (receipt, outcome) in resolved {
            receipt.resolve(outcome);
        }
    }

    fn collect(&mut self, broker: usize) {
        let mut resolved = Resolutions::new();
        for listing in self.mailboxes[broker].drain() {
            self.outboxes[broker].accept(listing);
        }
        self.outboxes[broker].expire(self.now, None, &mut resolved);
        self.resolve(resolved);
        let Some(connection) = self.connections.get(broker) else { return };
        let in_flight = connection.requests.len() + connection.answers.len();
        if in_flight as u64 >= self.limits.window {
            return;
        }
        let conditions = Conditions {
            route: connection.route,
            hurry: self.roll(4) == 0,
            identity: self.identity,
            request_size_max: REQUEST_SIZE_MAX,
        };
        let transactional = self.present.is_some();
        let (codec, compressor) = (self.codec, &mut self.compressor);
        let collected = self.outboxes[broker]
            .collect(self.now, &conditions, |load, stamp| load.seal(codec, compressor, stamp, transactional));
        if let Some(other_than) = collected.wants_identity
            && other_than == self.identity.map(|identity| identity.id)
        {
            self.ids_given += 1;
            // An epoch near its end, so that runs come past it.
            // Not together with requests that hang: under an old id, nothing fences them.
            let epoch = if self.ids_given % 2 == 1 && !self.hanging { i16::MAX - 2 } else { 0 };
            self.identity = Some(ProducerIdentity { id: self.ids_given, epoch });
        }
        self.admit(collected.wants_partitions);
        assert!(collected.unsendable.is_empty());
        if let Some(Collect { partition, id, payload, .. }) = collected.left_over {
            self.complete(&partition, id, Answer::Unsent { load: Load::Sealed(payload) });
        }
        let batches = collected.batches;
        for Collect { payload, .. } in &batches {
            for (largest, size) in self.largest.iter_mut().zip([payload.uncompressed_len(), payload.len()]) {
                *largest = size.max(*largest);
            }
        }
        assert!(self.largest[0] <= REQUEST_SIZE_MAX, "what is compressed well is filled no further");
        assert!(self.memory.used() <= MEMORY + REQUEST_SIZE_MAX * 2, "buffers are exchanged, and no more");
        let size: usize = batches.iter().map(|batch| batch.payload.len() + ENTRY_OVERHEAD).sum();
        assert!(size <= REQUEST_SIZE_MAX || batches.len() == 1, "a request of {size} bytes");
        let batches = batches.into_iter().map(|batch| (batch.partition, batch.id, batch.payload)).collect::<Batches>();
        if !batches.is_empty() {
            self.connections[broker].requests.push_back(batches);
        }
    }

    fn process(&mut self, broker: usize, batches: &Batches) -> Vec<Result<i64, ErrorCode>> {
        let mut results = Vec::new();
        for (partition, _, payload) in batches {
            let fate = if self.trouble { self.roll(30) } else { 29 };
            let bytes = PayloadBytes(payload.clone());
            let log = &mut self.logs[partition.index as usize];
            results.push(match fate {
                _ if log.leader != broker => Err(ErrorCode::NotLeaderOrFollower),
                0 => Err(ErrorCode::NotEnoughReplicas),
                // Appended, and then no answer in time, or no leader any more.
                1..=3 => log.append(bytes.as_ref(), self.records_max).and(Err([
                    ErrorCode::NotEnoughReplicasAfterAppend,
                    ErrorCode::RequestTimedOut,
                    ErrorCode::NotLeaderOrFollower,
                ][fate as usize - 1])),
                _ => log.append(bytes.as_ref(), self.records_max),
            });
        }
        results
    }

    fn serve(&mut self, broker: usize) {
        if let Some(batches) = self.connections[broker].requests.pop_front() {
            let results = self.process(broker, &batches);
            self.connections[broker].answers.push_back((batches, results));
        }
    }

    fn answer(&mut self, broker: usize) {
        let Some((batches, results)) = self.connections[broker].answers.pop_front() else { return };
        for ((partition, id, payload), result) in batches.into_iter().zip(results) {
            let load = Load::Sealed(payload);
            let answer = match result {
                Ok(base_offset) => Answer::Written { base_offset, log_append_time: -1 },
                Err(code) => {
                    if let (ErrorCode::MessageTooLarge, Some(ratio)) = (code, load.compression_ratio()) {
                        self.fill.on_too_large(ratio);
                    }
                    let halves = (code == ErrorCode::MessageTooLarge)
                        .then(|| load.split(&self.memory, &mut DecompressArena::default()).unwrap())
                        .flatten();
                    match halves {
                        Some(halves) => Answer::Split(halves),
                        None => Answer::Refused { code, detail: None, load },
                    }
                }
            };
            self.complete(&partition, id, answer);
        }
    }

    fn complete(&mut self, partition: &Arc<Partition>, id: u64, answer: Answer) {
        let mut resolved = Resolutions::new();
        let mut slot = partition.lock();
        slot.queue.complete(self.now, id, answer, Duration::from_millis(10), &mut resolved);
        if self.present.as_ref().is_some_and(transactional::Present::is_shut) {
            slot.queue.drop_unsent(None, &mut resolved);
        }
        partition.signal(slot);
        self.resolve(resolved);
    }

    fn disconnect(&mut self, broker: usize) {
        self.routes += 1;
        let fresh = Connection { route: self.routes, ..Connection::default() };
        let old = std::mem::replace(&mut self.connections[broker], fresh);
        let half = self.roll(2) == 0;
        // A broker reads one request of a connection at a time, and finishes it though the connection is gone.
        let hangs = old.requests.front().filter(|_| half && self.hanging && self.zombies.is_empty());
        self.zombies.extend(hangs.map(|batches| (broker, batches.clone())));
        for batches in old.answers.into_iter().map(|(batches, _)| batches).chain(old.requests) {
            for (partition, id, payload) in batches {
                let answer = Answer::Lost { sent: true, detail: "reset".into(), load: Load::Sealed(payload) };
                self.complete(&partition, id, answer);
            }
        }
    }

    fn move_leader(&mut self, at: usize, leader: usize) {
        self.logs[at].leader = leader;
        // The news come to the producer now or later.
        if self.roll(2) == 0 {
            self.learn(at);
        }
    }

    fn learn(&mut self, at: usize) {
        let leader = if self.trouble && self.roll(8) == 0 { BROKERS } else { self.logs[at].leader };
        self.partitions[at].move_to(&self.mailboxes[leader]);
    }

    fn step(&mut self) {
        let broker = self.pick(BROKERS);
        let at = self.pick(PARTITIONS);
        match self.roll(100) {
            0..30 => self.send(),
            30..50 => self.collect(broker),
            50..66 => self.serve(broker),
            66..80 => self.answer(broker),
            80..88 => self.now += Duration::from_millis(self.random % 12),
            88 => self.now += Duration::from_millis(self.random % 1500),
            89 => self.collect(BROKERS),
            90 if self.trouble => self.disconnect(broker),
            91 if self.trouble => self.move_leader(at, broker),
            92..95 => self.learn(at),
            95 if !self.zombies.is_empty() => {
                let (broker, batches) = self.zombies.swap_remove(broker % self.zombies.len());
                self.process(broker, &batches);
            }
            96 if self.poison => self.records_max = 2 + self.random as usize % 4,
            _ => {}
        }
    }

    /// No more trouble: everything that can be delivered is, within a time.
    fn settle(&mut self) {
        self.trouble = false;
        for round in 0..2000 {
            for at in 0..PARTITIONS {
                self.learn(at);
            }
            for broker in 0..BROKERS {
                self.collect(broker);
                self.serve(broker);
                self.answer(broker);
            }
            self.now += Duration::from_millis(6);
            if self.partitions.iter().all(|partition| partition.lock().queue.is_idle()) {
                self.zombies.clear();
                return;
            }
            assert!(round < 1999, "records are stuck");
        }
    }

    fn check(&self) {
        for (at, log) in self.logs.iter().enumerate() {
            let position = |id: &u32| id % 1_000_000;
            for pair in log.records.windows(2) {
                assert!(position(&pair[0]) < position(&pair[1]), "partition {at}: twice or out of order: {pair:?}");
            }
        }
        self.check_results();
    }

    fn check_results(&self) {
        for (at, id, delivery) in &self.deliveries {
            let log = &self.logs[*at].records;
            match delivery.try_result().expect("every delivery is resolved") {
                Ok(metadata) if metadata.offset >= 0 => assert_eq!(log[metadata.offset as usize], *id),
                Ok(_) => assert!(log.contains(id)),
                Err(error) if error.maybe_written() => {}
                Err(error) => assert!(!log.contains(id), "{id} is in the log, but: {error}"),
            }
        }
        assert_eq!(self.memory.used(), 0, "all memory came back");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn order_is_kept_and_nothing_is_lost_or_written_twice(seed: u64, window in 1u64..=5, codec in 0usize..3) {
        let compression = [Compression::None, Compression::Lz4, Compression::Snappy][codec];
        let mut world = World::new(seed, true, window, compression);
        for _ in 0..1500 {
            world.step();
        }
        world.settle();
        world.check();
    }

    #[test]
    fn without_expiry_and_refusal_every_record_arrives(seed: u64) {
        let mut world = World::new(seed, true, 5, Compression::None);
        world.poison = false;
        let limits = Limits { delivery_timeout: Duration::from_secs(100_000), ..(*world.limits).clone() };
        let limits = Arc::new(limits);
        world.partitions = (0..PARTITIONS)
            .map(|index| Partition::new("t".into(), index as i32, limits.clone(), world.fill.clone(), world.mailboxes[BROKERS].clone()))
            .collect();
        for _ in 0..1500 {
            world.step();
        }
        world.settle();
        world.check();
        for (_, id, delivery) in &world.deliveries {
            prop_assert!(delivery.try_result().unwrap().is_ok(), "{id}: {delivery:?}");
        }
        prop_assert_eq!(world.logs.iter().map(|log| log.records.len()).sum::<usize>(), world.deliveries.len());
    }

    #[test]
    fn without_idempotence_nothing_acknowledged_is_lost(seed: u64, window in 1u64..=5) {
        let mut world = World::new(seed, false, window, Compression::None);
        for _ in 0..1500 {
            world.step();
        }
        world.settle();
        world.check_results();
    }
}

#[test]
fn a_producer_that_goes_says_what_may_be_written() {
    let mut world = World::new(1, true, 5, Compression::None);
    world.poison = false;
    while world.deliveries.iter().filter(|(at, ..)| *at == 0).count() < 12 {
        world.send();
        world.collect(0);
    }
    let mut resolved = Resolutions::new();
    for partition in &world.partitions {
        partition.lock().queue.abandon(&mut resolved);
    }
    world.resolve(resolved);
    let mut maybe = [0, 0];
    for (_, _, delivery) in &world.deliveries {
        match delivery.try_result() {
            Some(Err(ProducerError::Closed { maybe_written })) => maybe[usize::from(maybe_written)] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(maybe[0] > 0 && maybe[1] > 0, "{maybe:?}");
}
