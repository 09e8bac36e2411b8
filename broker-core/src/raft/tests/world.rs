//! A quorum in one place: nodes, a network that loses, doubles, delays and reorders, and a checker that sees all.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use rkafka_protocol::messages::{FetchResponse, VoteRequest};
use rkafka_protocol::records::{BatchIter, BatchOptions, DecompressArena, encode_batch};

use super::memory_log::{MemoryLog, Stored, split};
use crate::raft::random::Random;
use crate::raft::{
    Action, AppendRefused, CallFailed, CallId, Now, RaftConfig, RaftLog, RaftNode, RaftRequest, RaftResponse,
    RequestId, Voter,
};

/// What was found to be wrong.
pub type Violation = String;

macro_rules! ensure {
    ($holds:expr, $($message:tt)*) => {
        if !$holds {
            return Err(format!($($message)*));
        }
    };
}

#[derive(Debug)]
enum Packet {
    Request { from: i32, incarnation: u64, call: CallId, to: i32, request: RaftRequest },
    Response { to: i32, incarnation: u64, call: CallId, result: Result<RaftResponse, CallFailed> },
}

/// One node, running or not, and what its owner knows.
#[derive(Debug)]
pub struct Slot {
    pub node: Option<RaftNode<MemoryLog>>,
    disk: Option<MemoryLog>,
    incarnation: u64,
    asked: BTreeMap<u64, (i32, u64, CallId, Option<VoteRequest>)>,
    next_request: u64,
    high_watermark: i64,
    applied_to: i64,
    applied: Vec<Vec<u8>>,
    /// A stopped clock: the node sees nothing until then.
    paused_until: i64,
}

/// How rough the network is, in parts of a thousand.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub loss: i64,
    pub doubling: i64,
    pub damage: i64,
    pub delay_ms: i64,
}

pub const CALM: Weather = Weather { loss: 0, doubling: 0, damage: 0, delay_ms: 5 };

#[derive(Debug)]
pub struct World {
    pub at: i64,
    pub random: Random,
    pub slots: BTreeMap<i32, Slot>,
    pub weather: Weather,
    /// Links that are cut, by sender and receiver.
    pub cut: BTreeSet<(i32, i32)>,
    pub voters: i32,
    /// `controller.quorum.fetch.max.bytes`; of 1, each fetch brings one batch.
    pub fetch_max_bytes: usize,
    packets: BTreeMap<(i64, u64), Packet>,
    next_packet: u64,
    next_value: u64,
    leaders: BTreeMap<i32, (i32, u64)>,
    pub committed: BTreeMap<i64, Stored>,
    trace: DefaultHasher,
    pub steps: u64,
}

pub fn voters(count: i32) -> Vec<Voter> {
    (1..=count).map(|id| Voter { id, host: format!("node{id}"), port: 9093 }).collect()
}

impl World {
    /// `voters` nodes from 1 on, and `observers` behind them.
    pub fn new(seed: u64, voters: i32, observers: i32, fetch_max_bytes: usize) -> Result<World, Violation> {
        let mut world = World {
            at: 0,
            random: Random::new(seed),
            slots: BTreeMap::new(),
            weather: CALM,
            cut: BTreeSet::new(),
            voters,
            fetch_max_bytes,
            packets: BTreeMap::new(),
            next_packet: 0,
            next_value: 0,
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            trace: DefaultHasher::new(),
            steps: 0,
        };
        for id in 1..=voters + observers {
            let slot = Slot {
                node: None,
                disk: Some(MemoryLog::default()),
                incarnation: 0,
                asked: BTreeMap::new(),
                next_request: 0,
                high_watermark: 0,
                applied_to: 0,
                applied: Vec::new(),
                paused_until: 0,
            };
            world.slots.insert(id, slot);
            world.start(id)?;
        }
        Ok(world)
    }

    /// A number that two runs of the same seed have in common.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub fn now(&self) -> Now {
        Now { monotonic_ms: self.at, date_ms: 1_700_000_000_000 + self.at }
    }

    pub fn start(&mut self, id: i32) -> Result<(), Violation> {
        let now = self.now();
        let seed = self.random.below(i64::MAX) as u64;
        let slot = self.slots.get_mut(&id).unwrap();
        let Some(disk) = slot.disk.take() else { return Ok(()) };
        let config = RaftConfig {
            cluster_id: Some("a-cluster".to_owned()),
            seed,
            // Small, so that logs are cut and snapshots fetched in parts.
            retention_bytes: 4_000,
            fetch_max_bytes: self.fetch_max_bytes,
            fetch_snapshot_max_bytes: 300,
            ..RaftConfig::new(id, voters(self.voters))
        };
        slot.incarnation += 1;
        slot.high_watermark = 0;
        slot.applied_to = 0;
        slot.applied.clear();
        slot.asked.clear();
        let node = RaftNode::open(config, disk, now).map_err(|error| format!("node {id} does not open: {error}"))?;
        let newest = node.log().snapshots().last().copied();
        slot.node = Some(node);
        if let Some(newest) = newest {
            self.load_snapshot(id, newest)?;
        }
        self.settle(id)
    }

    /// The power fails at a node.
    pub fn crash(&mut self, id: i32) {
        let slot = self.slots.get_mut(&id).unwrap();
        if let Some(node) = slot.node.take() {
            let mut log = node.into_log();
            log.crash(&mut self.random);
            slot.disk = Some(log);
        }
    }

    pub fn pause(&mut self, id: i32, for_ms: i64) {
        self.slots.get_mut(&id).unwrap().paused_until = self.at + for_ms;
    }

    pub fn leader(&self) -> Option<i32> {
        let mut leaders: Vec<(i32, i32)> = Vec::new();
        for (id, slot) in &self.slots {
            if let Some(node) = slot.node.as_ref().filter(|node| node.is_leader()) {
                leaders.push((node.leader_and_epoch().epoch, *id));
            }
        }
        leaders.into_iter().max().map(|(_, id)| id)
    }

    pub fn node(&mut self, id: i32) -> &mut RaftNode<MemoryLog> {
        self.slots.get_mut(&id).unwrap().node.as_mut().unwrap()
    }

    /// Whoever leads is given a record.
    pub fn append(&mut self, id: i32) -> Result<Option<i64>, Violation> {
        let now = self.now();
        self.next_value += 1;
        let value = format!("value {}", self.next_value).into_bytes();
        let Some(node) = self.slots.get_mut(&id).and_then(|slot| slot.node.as_mut()) else { return Ok(None) };
        let epoch = node.leader_and_epoch().epoch;
        let batch = encode_batch(Vec::new(), BatchOptions::at(0, 0), now.date_ms, [(None, Some(&value[..]))]).unwrap();
        let appended = match node.append(now, epoch, &mut batch.into_bytes()) {
            Ok(appended) => Some(appended.base_offset),
            Err(AppendRefused::NotLeader { .. }) => None,
            Err(AppendRefused::Failed(error)) => return Err(format!("node {id} cannot append: {error}")),
        };
        self.settle(id)?;
        Ok(appended)
    }

    /// A node begins to stop.
    pub fn shutdown(&mut self, id: i32) -> Result<(), Violation> {
        let now = self.now();
        self.node(id).shutdown(now).map_err(|error| format!("node {id}: {error}"))?;
        self.settle(id)
    }

    /// Lets time pass in small steps until something holds, for ten seconds at most.
    pub fn run_while(&mut self, mut holds: impl FnMut(&World) -> bool) -> Result<(), Violation> {
        for _ in 0..10_000 {
            if !holds(self) {
                return Ok(());
            }
            self.run_until(self.at + 1)?;
        }
        Err("it never came about".to_owned())
    }

    /// Cuts the links between two nodes, in both directions.
    pub fn part(&mut self, one: i32, other: i32) {
        self.cut.extend([(one, other), (other, one)]);
    }

    /// The log of a node, running or not.
    pub fn log(&self, id: i32) -> &MemoryLog {
        let slot = &self.slots[&id];
        slot.node.as_ref().map(RaftNode::log).or(slot.disk.as_ref()).unwrap()
    }

    /// A node makes a snapshot of what it has applied.
    pub fn snapshot(&mut self, id: i32) -> Result<(), Violation> {
        let now = self.now();
        let slot = self.slots.get_mut(&id).unwrap();
        let Some(node) = slot.node.as_mut() else { return Ok(()) };
        let Ok(mut builder) = node.create_snapshot(slot.applied_to, now.date_ms) else { return Ok(()) };
        for values in slot.applied.chunks(3) {
            builder.append(values.iter().map(Vec::as_slice)).unwrap();
        }
        let writer = builder.finish().unwrap();
        node.complete_snapshot(now, writer).map_err(|error| format!("node {id}: {error}"))?;
        self.settle(id)
    }

    /// Lets time pass until then, or something is wrong.
    pub fn run_until(&mut self, until: i64) -> Result<(), Violation> {
        loop {
            let packet = self.packets.keys().next().map(|(at, _)| *at);
            let due = self.slots.iter().filter_map(|(id, slot)| {
                let deadline = slot.node.as_ref()?.deadline()?;
                Some((deadline.max(slot.paused_until), *id))
            });
            let timer = due.min();
            let next = packet.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                self.at = until;
                return Ok(());
            };
            self.at = self.at.max(next);
            self.steps += 1;
            if self.steps > 400_000 {
                return Err("the nodes never rest".to_owned());
            }
            match timer {
                Some((at, id)) if packet.is_none_or(|packet| at <= packet) => {
                    let now = self.now();
                    self.node(id).tick(now).map_err(|error| format!("node {id}: {error}"))?;
                    self.settle(id)?;
                }
                _ => self.deliver()?,
            }
        }
    }

    fn deliver(&mut self) -> Result<(), Violation> {
        let Some(((_, _), packet)) = self.packets.pop_first() else { return Ok(()) };
        let to = match &packet {
            Packet::Request { to, .. } | Packet::Response { to, .. } => *to,
        };
        let now = self.now();
        let paused_until = self.slots[&to].paused_until;
        if paused_until > self.at {
            self.next_packet += 1;
            self.packets.insert((paused_until, self.next_packet), packet);
            return Ok(());
        }
        let slot = self.slots.get_mut(&to).unwrap();
        let Some(node) = slot.node.as_mut() else { return Ok(()) };
        let result = match packet {
            Packet::Request { from, incarnation, call, request, .. } => {
                slot.next_request += 1;
                let vote = match &request {
                    RaftRequest::Vote(vote) => Some(vote.clone()),
                    _ => None,
                };
                slot.asked.insert(slot.next_request, (from, incarnation, call, vote));
                node.on_request(now, RequestId(slot.next_request), request)
            }
            Packet::Response { incarnation, call, result, .. } if incarnation == slot.incarnation => {
                node.on_response(now, call, result)
            }
            Packet::Response { .. } => Ok(()),
        };
        result.map_err(|error| format!("node {to}: {error}"))?;
        self.settle(to)
    }

    fn send(&mut self, from: i32, to: i32, packet: Packet) {
        let lost = self.random.below(1000) < self.weather.loss || self.cut.contains(&(from, to));
        if !lost {
            let delay = 1 + self.random.below(self.weather.delay_ms);
            self.next_packet += 1;
            self.packets.insert((self.at + delay, self.next_packet), packet);
        }
    }

    /// Does what a node wants done, and looks whether all is well.
    fn settle(&mut self, id: i32) -> Result<(), Violation> {
        while let Some(action) = self.slots.get_mut(&id).and_then(|slot| slot.node.as_mut()?.poll_action()) {
            (self.at, id, format!("{action:?}")).hash(&mut self.trace);
            match action {
                Action::Call { id: call, to, request } => {
                    let incarnation = self.slots[&id].incarnation;
                    let times = if self.random.below(1000) < self.weather.doubling { 2 } else { 1 };
                    for _ in 0..times {
                        let request = request.clone();
                        self.send(id, to, Packet::Request { from: id, incarnation, call, to, request });
                    }
                }
                Action::Reply { id: request, response } => {
                    let Some((to, incarnation, call, vote)) = self.slots.get_mut(&id).unwrap().asked.remove(&request.0)
                    else {
                        return Err(format!("node {id} answers a request twice"));
                    };
                    self.check_vote(id, vote.as_ref(), &response)?;
                    let result = Ok(self.damaged(response));
                    self.send(id, to, Packet::Response { to, incarnation, call, result });
                }
                Action::Committed(up_to) => self.committed(id, up_to)?,
                Action::SnapshotLoaded(snapshot) => {
                    ensure!(snapshot.offset >= self.slots[&id].high_watermark, "node {id} goes back to {snapshot:?}");
                    self.load_snapshot(id, snapshot)?;
                }
                Action::LeaderChanged { .. } => {}
            }
        }
        self.check_leader(id)
    }

    /// Bits flip on the way, now and then, in records.
    fn damaged(&mut self, mut response: RaftResponse) -> RaftResponse {
        if self.random.below(1000) < self.weather.damage
            && let RaftResponse::Fetch(FetchResponse { responses, .. }) = &mut response
            && let Some(partition) = responses.first_mut().and_then(|topic| topic.partitions.first_mut())
            && let Some(records) = partition.records.as_mut().filter(|records| !records.is_empty())
        {
            let mut bytes = records.to_vec();
            // Behind the header, so that only the checksum tells.
            let at = 62 + self.random.below(bytes.len() as i64 - 62) as usize;
            bytes[at] ^= 1;
            *records = Bytes::from(bytes);
        }
        response
    }

    fn check_vote(&self, id: i32, asked: Option<&VoteRequest>, response: &RaftResponse) -> Result<(), Violation> {
        let (Some(asked), RaftResponse::Vote(response)) = (asked, response) else { return Ok(()) };
        let Some(answer) = response.topics.first().and_then(|topic| topic.partitions.first()) else { return Ok(()) };
        let ballot = &asked.topics[0].partitions[0];
        if !answer.vote_granted || ballot.pre_vote {
            return Ok(());
        }
        let on_disk = self.slots[&id].node.as_ref().unwrap().log().election.clone().unwrap_or_default();
        ensure!(
            on_disk.epoch == ballot.replica_epoch && on_disk.voted_id == Some(ballot.replica_id),
            "node {id} answers a vote for {} in epoch {} and its disk says {on_disk:?}",
            ballot.replica_id,
            ballot.replica_epoch
        );
        Ok(())
    }

    /// One leader per epoch, in one life of it; and it has all that was ever committed.
    fn check_leader(&mut self, id: i32) -> Result<(), Violation> {
        let slot = &self.slots[&id];
        let Some(node) = slot.node.as_ref().filter(|node| node.is_leader()) else { return Ok(()) };
        let epoch = node.leader_and_epoch().epoch;
        let leader = (id, slot.incarnation);
        let known = self.leaders.get(&epoch).copied();
        ensure!(known.is_none_or(|known| known == leader), "epoch {epoch} has the leaders {known:?} and {leader:?}");
        if known.is_none() {
            let lost = self.committed.values().find(|batch| !node.log().has(batch));
            ensure!(lost.is_none(), "leader {id} of epoch {epoch} lacks what was committed: {lost:?}");
            self.leaders.insert(epoch, leader);
        }
        Ok(())
    }

    fn committed(&mut self, id: i32, up_to: i64) -> Result<(), Violation> {
        let slot = &self.slots[&id];
        let node = slot.node.as_ref().unwrap();
        ensure!(
            up_to > slot.high_watermark,
            "the high watermark of node {id} goes from {} to {up_to}",
            slot.high_watermark
        );
        ensure!(up_to <= node.log().end().offset, "the high watermark of node {id} is beyond its log");
        let news: Vec<Stored> = split(&node.log().read(slot.applied_to, usize::MAX, up_to).map_err(|e| e.to_string())?);
        let is_leader = node.is_leader();
        for batch in news {
            let known = self.committed.entry(batch.base).or_insert_with(|| batch.clone());
            ensure!(*known == batch, "node {id} commits {batch:?} where {known:?} was committed");
            if is_leader {
                let synced = (1..=self.voters).filter(|voter| {
                    let slot = &self.slots[voter];
                    slot.node
                        .as_ref()
                        .map(RaftNode::log)
                        .or(slot.disk.as_ref())
                        .is_some_and(|log| log.has_synced(&batch))
                });
                let count = synced.count() as i32;
                ensure!(count > self.voters / 2, "{batch:?} is committed, and {count} voters have it on the disk");
            }
            let slot = self.slots.get_mut(&id).unwrap();
            ensure!(batch.base == slot.applied_to, "node {id} has a gap at {}", slot.applied_to);
            slot.applied.extend(values(&batch.bytes));
            slot.applied_to = batch.last + 1;
        }
        let slot = self.slots.get_mut(&id).unwrap();
        ensure!(slot.applied_to == up_to, "node {id} commits to the middle of a batch");
        slot.high_watermark = up_to;
        Ok(())
    }

    fn load_snapshot(&mut self, id: i32, snapshot: crate::raft::OffsetAndEpoch) -> Result<(), Violation> {
        let slot = self.slots.get_mut(&id).unwrap();
        let log = slot.node.as_ref().unwrap().log();
        let part = log.read_snapshot(snapshot, 0, usize::MAX).unwrap().unwrap();
        slot.applied = values(&part.bytes);
        slot.applied_to = snapshot.offset;
        slot.high_watermark = snapshot.offset;
        let before = self.committed.values().filter(|batch| batch.last < snapshot.offset);
        let expected: Vec<Vec<u8>> = before.flat_map(|batch| values(&batch.bytes)).collect();
        let slot = &self.slots[&id];
        ensure!(slot.applied == expected, "node {id} has a snapshot at {snapshot:?} that is not what was committed");
        Ok(())
    }

    /// Everything is mended; soon somebody leads, takes records, and all have them.
    pub fn heal_and_check(&mut self) -> Result<(), Violation> {
        self.cut.clear();
        self.weather = CALM;
        let ids: Vec<i32> = self.slots.keys().copied().collect();
        for id in &ids {
            self.slots.get_mut(id).unwrap().paused_until = 0;
            self.start(*id)?;
        }
        self.steps = 0;
        self.run_until(self.at + 20_000)?;
        let leader = self.leader().ok_or("nobody leads 20 s after everything healed")?;
        let appended = self.append(leader)?.ok_or("the leader takes no records")?;
        self.run_until(self.at + 5_000)?;
        for id in ids {
            let node = self.node(id);
            let (high_watermark, state) = (node.high_watermark(), node.leader_and_epoch());
            ensure!(high_watermark > appended, "node {id} is at {high_watermark} of {appended}, and knows {state:?}");
        }
        Ok(())
    }
}

/// The values in the batches that are no control batches.
fn values(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut arena = DecompressArena::default();
    for batch in BatchIter::new(bytes) {
        let Ok(batch) = batch else { break };
        if batch.header().attributes.is_control() {
            continue;
        }
        for record in batch.records(&mut arena).unwrap() {
            found.push(record.unwrap().value.unwrap().to_vec());
        }
    }
    found
}
