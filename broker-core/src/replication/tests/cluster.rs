//! Replicas of one partition on several brokers, a network that loses, repeats and reorders, disks that forget what was
//! not synced, and a controller. All of it is driven by one seed, one step at a time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::{BatchIter, BatchOptions, encode_batch};
use uuid::Uuid;

use super::super::{
    Close, Fetched, FollowFailure, FollowerAsk, FollowerFetch, FollowerPosition, IsrDecision, IsrProposal, Leadership,
    LogDir, Opening, Partition,
};
use super::checks::{Checks, Known};
use super::controller::Controller;
use crate::log::{LogConfig, OpenState};
use crate::storage::faulty::{FaultyStorage, Survival};

const LAG_MS: i64 = 10_000;
pub const MIN_ISR: usize = 2;
const PRODUCER: i64 = 7;

/// A small generator, so that a seed means the same for ever.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

#[derive(Debug, Clone)]
enum Message {
    Fetch { from: i32, broker_epoch: i64, position: FollowerPosition },
    Fetched { to: i32, broker_epoch: i64, position: FollowerPosition, answer: Answer },
    Alter { from: i32, broker_epoch: i64, proposal: IsrProposal },
    Altered { to: i32, broker_epoch: i64, proposal: IsrProposal, answer: Result<IsrDecision, ErrorCode> },
}

#[derive(Debug, Clone)]
enum Answer {
    Records { records: Bytes, high_watermark: i64, log_start_offset: i64 },
    Diverging(i32, i64),
    OutOfRange(i64, i64),
}

pub struct Node {
    pub id: i32,
    pub broker_epoch: i64,
    pub disk: FaultyStorage,
    /// `None` while the broker is down.
    pub partition: Option<Arc<Partition>>,
    /// How much of the controller's log it has seen.
    seen: usize,
    high_watermark_checkpoint: i64,
    /// What it asked last, which may arrive after it is gone.
    last_fetch: Option<Message>,
}

/// A write that waits for its acknowledgement.
struct Wait {
    node: i32,
    broker_epoch: i64,
    leader_epoch: i32,
    base_offset: i64,
    value: u64,
    /// Of the idempotent producer, which sends it again where the answer is not known.
    is_retried: bool,
}

pub struct Cluster {
    pub random: Random,
    pub now_ms: i64,
    pub nodes: Vec<Node>,
    pub controller: Controller,
    network: Vec<Message>,
    waits: Vec<Wait>,
    next_value: u64,
    /// The idempotent producer: the sequence of its batch, its value, and whether an answer is waited for.
    sequence: i32,
    retried_value: u64,
    is_in_flight: bool,
    pub checks: Checks,
    pub acknowledged: usize,
    corrupts: bool,
    /// How many of a thousand steps are crashes, and as many for other faults of brokers.
    crashes: usize,
}

pub fn partition(disk: &FaultyStorage, high_watermark: i64, is_new: bool) -> Arc<Partition> {
    let config = LogConfig {
        min_insync_replicas: MIN_ISR as i32,
        segment_bytes: 600,
        message_timestamp_after_max_ms: i64::MAX,
        ..LogConfig::default()
    };
    let state = if is_new { OpenState::clean() } else { OpenState::unclean(0) };
    let opening = Opening {
        storage: Arc::new(disk.clone()),
        dir: "/data/t-0".into(),
        log_dir: LogDir::new("/data".into(), 16, None),
        config,
        state: OpenState { high_watermark, ..state },
    };
    Partition::new("t".into(), Uuid::from_u128(7), 0, opening)
}

impl Cluster {
    pub fn new(seed: u64, corrupts: bool) -> Self {
        let nodes = (0..3).map(|id| {
            let disk = FaultyStorage::new();
            let partition = Some(partition(&disk, 0, true));
            Node {
                id,
                broker_epoch: i64::from(id),
                disk,
                partition,
                seen: 0,
                high_watermark_checkpoint: 0,
                last_fetch: None,
            }
        });
        Self {
            random: Random::new(seed),
            now_ms: 1_000,
            nodes: nodes.collect(),
            controller: Controller::new(3, MIN_ISR),
            network: Vec::new(),
            waits: Vec::new(),
            next_value: 1,
            sequence: 0,
            retried_value: 0,
            is_in_flight: false,
            checks: Checks::default(),
            acknowledged: 0,
            corrupts,
            crashes: [3, 6, 15][seed as usize % 3],
        }
    }

    pub fn step(&mut self) {
        self.now_ms += self.random.below(60) as i64;
        match self.random.below(1_000) {
            0..330 => self.deliver(),
            330..570 => self.fetch(),
            570..690 => self.produce(),
            690..760 => self.produce_retried(),
            760..900 => self.learn(),
            900..920 => self.shrink(),
            920..930 => self.checkpoint(),
            at @ 930..945 if at < 930 + self.crashes => self.crash(),
            930..950 => self.start(),
            950..954 => {
                // Alive, and not heard of by the controller.
                let id = self.random.below(3) as i32;
                self.controller.fence(id);
            }
            at @ 954..975 if at < 955 + self.crashes => {
                let id = self.random.below(3) as i32;
                self.controller.move_leader(id);
            }
            975..977 => self.now_ms += LAG_MS,
            _ => self.unfence(),
        }
        self.poll_waits();
        self.check();
    }

    /// No more faults: everybody is up, and what is sent arrives.
    pub fn heal(&mut self) {
        for _ in 0..3 {
            for id in 0..3 {
                if self.nodes[id].partition.is_none() {
                    self.start_node(id);
                }
                self.controller.unfence(id as i32);
            }
        }
        for _ in 0..400 {
            self.now_ms += 50;
            for id in 0..3 {
                self.nodes[id].seen = 0;
                self.learn_all(id);
                self.send_fetch(id);
            }
            while !self.network.is_empty() {
                let message = self.network.remove(0);
                self.receive(message, false);
            }
            self.poll_waits();
            self.check();
        }
    }

    fn live(&mut self) -> Option<usize> {
        let id = self.random.below(3);
        self.nodes[id].partition.is_some().then_some(id)
    }

    fn learn(&mut self) {
        if let Some(id) = self.live()
            && self.nodes[id].seen < self.controller.log.len()
        {
            // A broker reads several records at a time, and acts on what they say together.
            let left = self.controller.log.len() - self.nodes[id].seen;
            let more = 1 + self.random.below(left);
            self.nodes[id].seen += more;
            self.assume(id);
        }
    }

    fn learn_all(&mut self, id: usize) {
        self.nodes[id].seen = self.controller.log.len();
        self.assume(id);
    }

    fn assume(&mut self, id: usize) {
        let node = &self.nodes[id];
        let Some(partition) = &node.partition else { return };
        let said = &self.controller.log[node.seen - 1];
        if said.leader == node.id {
            let leadership = Leadership {
                node: node.id,
                leader_epoch: said.leader_epoch,
                partition_epoch: said.partition_epoch,
                replicas: vec![0, 1, 2],
                isr: said.isr.clone(),
                lag_max_ms: LAG_MS,
            };
            if partition.become_leader(&leadership, self.now_ms) {
                let _ = partition.with_log(self.now_ms, |_| ());
            }
        } else {
            partition.become_follower(said.leader, said.leader_epoch);
        }
    }

    fn fetch(&mut self) {
        if let Some(id) = self.live() {
            self.send_fetch(id);
        }
    }

    fn send_fetch(&mut self, id: usize) {
        let node = &mut self.nodes[id];
        let Some(partition) = &node.partition else { return };
        if let Ok(Some(position)) = partition.follower_position(self.now_ms) {
            let fetch = Message::Fetch { from: node.id, broker_epoch: node.broker_epoch, position };
            node.last_fetch = Some(fetch.clone());
            self.network.push(fetch);
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let at = self.random.below(self.network.len());
        let message = match self.random.below(20) {
            // Lost, or delivered and delivered again later.
            0 => return self.lose(at),
            1 => self.network[at].clone(),
            _ => self.network.swap_remove(at),
        };
        let is_corrupted = self.corrupts && self.random.one_in(10);
        self.receive(message, is_corrupted);
        while self.network.len() > 40 {
            self.lose(0);
        }
    }

    /// Who asks the controller finds out sooner or later that there is no answer; a follower just asks again.
    fn lose(&mut self, at: usize) {
        if let Message::Alter { from: to, broker_epoch, proposal }
        | Message::Altered { to, broker_epoch, proposal, .. } = self.network.remove(at)
        {
            let unknown = Err(ErrorCode::RequestTimedOut);
            let node = &self.nodes[to as usize];
            let partition = node.partition.as_ref().filter(|_| node.broker_epoch == broker_epoch);
            if let Some(proposal) = partition.and_then(|partition| partition.isr_answered(&proposal, &unknown)) {
                self.network.push(Message::Alter { from: to, broker_epoch, proposal });
            }
        }
    }

    fn receive(&mut self, message: Message, is_corrupted: bool) {
        let now_ms = self.now_ms;
        match message {
            Message::Fetch { from, broker_epoch, position } => {
                let leader = &self.nodes[position.leader as usize];
                let Some(partition) = leader.partition.clone() else { return };
                if partition.check_epoch(position.leader_epoch).is_err() {
                    return;
                }
                let fetch = FollowerFetch {
                    replica: from,
                    broker_epoch,
                    offset: position.offset,
                    log_start_offset: position.log_start_offset,
                    now_ms,
                };
                let last_fetched_epoch = position.last_epoch;
                let ask = FollowerAsk { fetch, last_fetched_epoch, max_bytes: 400, min_one_batch: true };
                let controller = &self.controller;
                let read = partition.read_for_follower(&ask, |id, epoch| controller.is_eligible(id, epoch));
                let (from_leader, leader_broker_epoch) = (leader.id, leader.broker_epoch);
                let answer = match read {
                    Ok(read) => {
                        if let Some(proposal) = read.proposal {
                            let broker_epoch = leader_broker_epoch;
                            self.network.push(Message::Alter { from: from_leader, broker_epoch, proposal });
                        }
                        match read.diverging {
                            Some((epoch, end)) => Answer::Diverging(epoch, end),
                            None => Answer::Records {
                                records: read.read.records,
                                high_watermark: read.read.high_watermark,
                                log_start_offset: read.read.log_start_offset,
                            },
                        }
                    }
                    Err(failure) if failure.error == ErrorCode::OffsetOutOfRange => {
                        let bounds = partition.with_log(now_ms, |log| (log.log_start_offset(), log.log_end_offset()));
                        let Ok((start, end)) = bounds else { return };
                        Answer::OutOfRange(start, end)
                    }
                    Err(_) => return,
                };
                self.network.push(Message::Fetched { to: from, broker_epoch, position, answer });
            }
            Message::Fetched { to, broker_epoch, position, answer } => {
                let node = &self.nodes[to as usize];
                // A connection ends with the broker that opened it.
                let Some(partition) = node.partition.clone().filter(|_| node.broker_epoch == broker_epoch) else {
                    return;
                };
                let epoch = position.leader_epoch;
                let done = match answer {
                    Answer::Records { records, high_watermark, log_start_offset } => {
                        let mut bytes = records.to_vec();
                        if is_corrupted && !bytes.is_empty() {
                            corrupt(&mut bytes, &mut self.random);
                        }
                        let fetched =
                            Fetched { offset: position.offset, records: &bytes, high_watermark, log_start_offset };
                        partition.append_fetched(epoch, &fetched, now_ms)
                    }
                    Answer::Diverging(at, end) => {
                        // What was asked from another end than the present one says nothing about that.
                        match partition.follower_position(now_ms) {
                            Ok(Some(now)) if now == position => {
                                partition.truncate_to_divergence(epoch, (at, end), now_ms)
                            }
                            _ => return,
                        }
                    }
                    Answer::OutOfRange(start, end) => match partition.follower_position(now_ms) {
                        Ok(Some(now)) if now == position => partition.move_into_range(epoch, (start, end), now_ms),
                        _ => return,
                    },
                };
                match done {
                    Ok(_) | Err(FollowFailure::Stale | FollowFailure::Refused(_)) => {}
                    Err(other) => panic!("a follower cannot go on: {other:?}"),
                }
            }
            Message::Alter { from, broker_epoch, proposal } => {
                let answer = self.controller.alter(from, &proposal);
                self.network.push(Message::Altered { to: from, broker_epoch, proposal, answer });
            }
            Message::Altered { to, broker_epoch, proposal, answer } => {
                let node = &self.nodes[to as usize];
                if node.broker_epoch == broker_epoch
                    && let Some(partition) = &node.partition
                    && let Some(again) = partition.isr_answered(&proposal, &answer)
                {
                    self.network.push(Message::Alter { from: to, broker_epoch, proposal: again });
                }
            }
        }
    }

    fn shrink(&mut self) {
        if let Some(id) = self.live()
            && let Some(partition) = &self.nodes[id].partition
            && let Some(proposal) = partition.propose_shrinkage(self.now_ms)
        {
            let (from, broker_epoch) = (self.nodes[id].id, self.nodes[id].broker_epoch);
            self.network.push(Message::Alter { from, broker_epoch, proposal });
        }
    }

    fn produce(&mut self) {
        let value = self.next_value;
        self.next_value += 1;
        if let Some(id) = self.believed_leader() {
            self.append(id, value, BatchOptions::at(0, -1), false);
        }
    }

    /// The idempotent producer sends its batch to whoever it believes to lead, until one takes it.
    fn produce_retried(&mut self) {
        if self.is_in_flight {
            return;
        }
        let Some(id) = self.believed_leader() else { return };
        if self.retried_value == 0 {
            self.retried_value = self.next_value;
            self.next_value += 1;
        }
        let options = BatchOptions::at(0, -1).with_producer(PRODUCER, 0, self.sequence);
        self.is_in_flight = self.append(id, self.retried_value, options, true);
    }

    /// Where a client sends: mostly to the leader, and else to one that may have been it.
    fn believed_leader(&mut self) -> Option<usize> {
        let leader = self.controller.now().leader;
        match usize::try_from(leader) {
            Ok(leader) if !self.random.one_in(4) => self.nodes[leader].partition.is_some().then_some(leader),
            _ => self.live(),
        }
    }

    fn append(&mut self, id: usize, value: u64, options: BatchOptions, is_retried: bool) -> bool {
        let node = &self.nodes[id];
        let Some(partition) = &node.partition else { return false };
        if partition.led_epoch().is_err() || partition.shortage().is_some() {
            return false;
        }
        let bytes = value.to_be_bytes();
        let batch = encode_batch(Vec::new(), options, self.now_ms, [(None, Some(&bytes[..]))]).unwrap();
        let Ok(appended) = partition.append(&mut batch.into_bytes(), None, self.now_ms) else { return false };
        self.waits.push(Wait {
            node: node.id,
            broker_epoch: node.broker_epoch,
            leader_epoch: appended.leader_epoch,
            base_offset: appended.base_offset,
            value,
            is_retried,
        });
        true
    }

    fn poll_waits(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut at = 0;
        while at < self.waits.len() {
            let wait = &self.waits[at];
            let node = &self.nodes[wait.node as usize];
            let answer = match &node.partition {
                Some(partition) if node.broker_epoch == wait.broker_epoch => {
                    match pin!(partition.acknowledged(wait.leader_epoch, wait.base_offset + 1)).poll(&mut context) {
                        Poll::Pending => {
                            at += 1;
                            continue;
                        }
                        Poll::Ready(answer) => answer,
                    }
                }
                _ => Err(ErrorCode::NetworkException),
            };
            let wait = self.waits.swap_remove(at);
            if wait.is_retried {
                self.is_in_flight = false;
            }
            if answer.is_ok() {
                if wait.is_retried {
                    self.retried_value = 0;
                    self.sequence += 1;
                }
                self.acknowledged += 1;
                self.checks.acknowledged(wait.base_offset, wait.value);
            }
        }
    }

    fn checkpoint(&mut self) {
        if let Some(id) = self.live() {
            let node = &mut self.nodes[id];
            if let Some(partition) = &node.partition {
                node.high_watermark_checkpoint = partition.bounds().0.max(0);
                if self.random.one_in(2) {
                    partition.flush().unwrap();
                }
            }
        }
    }

    /// A broker dies. What it did not sync is lost where another that is in sync and up has all of it: more than that,
    /// nobody promises.
    fn crash(&mut self) {
        let Some(id) = self.live() else { return };
        let end = self.checks.acknowledged_end();
        let others_have_it = self.nodes.iter().any(|other| {
            other.id != id as i32
                && self.controller.now().isr.contains(&other.id)
                && other.partition.as_ref().is_some_and(|partition| {
                    partition.with_log(self.now_ms, |log| log.log_end_offset()).is_ok_and(|own| own >= end)
                        && self.checks.has_all_acknowledged(&Known::read(partition))
                })
        });
        let node = &mut self.nodes[id];
        if let Some(partition) = node.partition.take() {
            let _ = partition.close(Close::Abandon);
        }
        let survival = if others_have_it && !self.random.one_in(3) { Survival::Synced } else { Survival::All };
        node.disk = node.disk.after_crash(survival);
        self.checks.forget(id);
        self.controller.fence(id as i32);
        // What it sent is still under way.
        for _ in 0..3 {
            self.network.extend(self.nodes[id].last_fetch.clone());
        }
        if self.random.one_in(2) {
            self.start_node(id);
        }
    }

    fn start(&mut self) {
        let id = self.random.below(3);
        if self.nodes[id].partition.is_none() {
            self.start_node(id);
        }
    }

    fn start_node(&mut self, id: usize) {
        let node = &mut self.nodes[id];
        node.broker_epoch = self.controller.register(node.id);
        node.partition = Some(partition(&node.disk, node.high_watermark_checkpoint, false));
        self.learn_all(id);
    }

    fn unfence(&mut self) {
        if let Some(id) = self.live() {
            // A broker is let back in once it has read the metadata.
            self.learn_all(id);
            self.controller.unfence(id as i32);
        }
    }

    fn check(&mut self) {
        let said = self.controller.now().clone();
        for id in 0..3 {
            let node = &self.nodes[id];
            if let Some(partition) = &node.partition {
                self.checks.look(id, partition, &said);
            }
        }
    }
}

/// Flips a bit that the checksum of a batch is there for: offsets and framing have none, in Kafka's format.
fn corrupt(bytes: &mut [u8], random: &mut Random) {
    const OVERHEAD: usize = 12;
    const COVERED_FROM: usize = 21;
    let mut starts = vec![];
    let mut at = 0;
    while at < bytes.len() {
        let length = i32::from_be_bytes(bytes[at + 8..at + OVERHEAD].try_into().unwrap()) as usize;
        starts.push((at + COVERED_FROM, at + OVERHEAD + length));
        at += OVERHEAD + length;
    }
    let (from, to) = starts[random.below(starts.len())];
    bytes[from + random.below(to - from)] ^= 1 << random.below(8);
}

/// The values and the bytes of a log's batches, by their offsets.
pub fn batches(bytes: &Bytes, mut each: impl FnMut(i64, i32, &[u8])) {
    for batch in BatchIter::new(bytes) {
        let batch = batch.expect("what is in a log can be read");
        let header = *batch.header();
        let raw = batch.records(&mut Default::default()).ok().and_then(|mut records| {
            let record = records.next()?.ok()?;
            record.value.map(<[u8]>::to_vec)
        });
        each(header.base_offset, header.partition_leader_epoch, raw.as_deref().unwrap_or_default());
    }
}
