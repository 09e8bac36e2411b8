//! A cluster for tests of decisions: the controller is the real one; brokers, their logs and what they know of the
//! metadata are models. A broker acts by the metadata that it has read, which may be old.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rkafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use rkafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use rkafka_protocol::messages::broker_registration_request::Feature;
use rkafka_protocol::messages::create_topics_request::CreatableTopic;
use rkafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest,
    FeatureLevelRecord,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::super::active::ActiveController;
use super::super::alter_partition::alter_partition;
use super::super::image::{ImageDelta, NO_LEADER, PartitionImage};
use super::super::view::ELR_FEATURE;
use super::super::*;
use crate::Clock;
use crate::config::BrokerConfig;

pub(super) const CLUSTER: &str = "cluster";
const SESSION: Duration = Duration::from_secs(9);

/// A record: the epoch of the leader that took it, and a number of its own.
type Record = (i32, u64);
type Key = (Uuid, i32);
/// Of one leader epoch: how far each follower has told that it is, and its broker epoch.
type Book = (i32, BTreeMap<i32, (usize, i64)>);

#[derive(Debug, Default)]
pub(super) struct SimBroker {
    pub running: bool,
    pub epoch: i64,
    /// The epoch of the last start, if that one stopped cleanly.
    pub proof: i64,
    pub wants_stop: bool,
    /// The metadata that it has read.
    pub known: MetadataImage,
    pub logs: BTreeMap<Key, Vec<Record>>,
    /// What it has noted as a leader.
    book: BTreeMap<Key, Book>,
    /// As a leader: in-sync replicas that it asked for and that may be so already, with the epoch of the partition that it
    /// knew then.
    pending: BTreeMap<Key, (i32, Vec<i32>)>,
}

pub(super) struct World {
    pub config: BrokerConfig,
    pub image: MetadataImage,
    pub active: ActiveController,
    pub now: Instant,
    pub brokers: BTreeMap<i32, SimBroker>,
    /// What was acknowledged with `acks=all`, by partition.
    pub committed: BTreeMap<Key, Vec<Record>>,
    /// Unclean elections, as they are told of.
    pub unclean: u64,
    /// The epoch of the last one of a partition: what an older leader still takes is as lost as what it had.
    unclean_epochs: BTreeMap<Key, i32>,
    next: u64,
}

impl World {
    pub fn new(brokers: i32, elr: bool, config: BrokerConfig) -> Self {
        let now = Clock::system().now();
        let mut image = MetadataImage::default();
        let mut levels = vec![(METADATA_VERSION_FEATURE, 30)];
        if elr {
            levels.push((ELR_FEATURE, 1));
        }
        for (name, feature_level) in levels {
            let record = FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() };
            image.replay(image.next_offset(), &MetadataRecord::FeatureLevel(record));
        }
        let active = ActiveController::new(&View::new(&image, &config), CLUSTER, now);
        let brokers = (1..=brokers).map(|id| (id, SimBroker { proof: -1, ..SimBroker::default() })).collect();
        let mut world = Self {
            config,
            image,
            active,
            now,
            brokers,
            committed: BTreeMap::new(),
            unclean: 0,
            unclean_epochs: BTreeMap::new(),
            next: 1,
        };
        let ids: Vec<i32> = world.brokers.keys().copied().collect();
        for id in ids {
            world.start(id);
            world.catch_up(id);
            world.heartbeat(id);
            world.catch_up(id);
        }
        world
    }

    /// Writes records as the log would, and checks what must hold whatever was decided.
    pub fn apply(&mut self, records: &[MetadataRecord]) {
        let before = self.image.clone();
        for record in records {
            let record = MetadataRecord::decode(record.encode().unwrap()).unwrap();
            self.image.replay(self.image.next_offset(), &record);
        }
        let delta = ImageDelta::between(&before, &self.image);
        self.unclean += delta.partitions().filter(PartitionChange::is_unclean_election).count() as u64;
        for change in delta.partitions() {
            let Some(before) = change.before else { continue };
            let after = change.after;
            assert!(after.partition_epoch > before.partition_epoch, "{before:?} {after:?}");
            assert!(after.leader_epoch >= before.leader_epoch, "{before:?} {after:?}");
            assert!(after.leader == before.leader || after.leader_epoch > before.leader_epoch, "{before:?} {after:?}");
            let key = (change.topic.id, change.index);
            if change.is_unclean_election() {
                self.check_unclean(before, after);
                // What the leader lacks is lost, as was told.
                let log = self.brokers[&after.isr[0]].logs.get(&key).cloned().unwrap_or_default();
                self.unclean_epochs.insert(key, after.leader_epoch);
                let committed = self.committed.entry(key).or_default();
                let kept = common(committed, &log);
                committed.truncate(kept);
            }
        }
    }

    /// Losing records is only for where it was allowed, or where all that had everything stopped uncleanly.
    fn check_unclean(&self, before: &PartitionImage, after: &PartitionImage) {
        let last = before.isr.is_empty() && before.elr.is_empty() && before.last_known_elr == [after.leader];
        assert!(self.config.unclean_leader_election_enable || last, "{before:?} {after:?}");
    }

    pub fn check(&self) {
        assert_eq!(MetadataImage::from_snapshot(self.image.next_offset(), self.image.records()), self.image);
        let view = View::new(&self.image, &self.config);
        for (topic, index, partition) in view.partitions() {
            self.check_partition(&view, (topic.id, index), partition);
        }
    }

    fn check_partition(&self, view: &View<'_>, key: Key, partition: &PartitionImage) {
        let all = |these: &[i32]| these.iter().all(|replica| partition.replicas.contains(replica));
        let context = || format!("{partition:?}");
        let distinct: BTreeSet<i32> = partition.replicas.iter().copied().collect();
        assert!(!distinct.is_empty() && distinct.len() == partition.replicas.len(), "{}", context());
        assert_eq!(partition.directories.len(), partition.replicas.len(), "{}", context());
        assert!(all(&partition.isr) && all(&partition.elr), "{}", context());
        assert!(all(&partition.adding_replicas) && all(&partition.removing_replicas), "{}", context());
        assert!(!partition.isr.iter().any(|replica| partition.elr.contains(replica)), "{}", context());
        assert!(!partition.recovering || partition.isr.len() <= 1, "{}", context());
        if partition.leader != NO_LEADER {
            assert!(partition.isr.contains(&partition.leader), "{}", context());
            assert!(view.is_active(partition.leader), "{} {:?}", context(), view.image.broker(partition.leader));
        }
        // Without eligible leaders the last one in sync stays so; and whom a reassignment falls back to may yet have to come.
        let lone = partition.isr.len() == 1 && (!view.has_elr() || partition.recovering && !partition.has_leader());
        assert!(lone || partition.isr.iter().all(|replica| view.is_active(*replica)), "{}", context());
        // Who may lead has what was acknowledged, unless it stopped uncleanly and is not back yet.
        let committed = self.committed.get(&key).map_or(&[][..], Vec::as_slice);
        for id in partition.isr.iter().chain(&partition.elr) {
            let broker = &self.brokers[id];
            let is_present = view.image.broker(*id).is_some_and(|it| it.epoch == broker.epoch);
            if broker.running && is_present {
                let log = broker.logs.get(&key).map_or(&[][..], Vec::as_slice);
                assert!(log.starts_with(committed), "broker {id} lacks {committed:?}, it has {log:?}: {}", context());
            }
        }
    }

    fn id(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u128(1_000_000 + u128::from(self.next))
    }

    pub fn create(&mut self, name: &str, partitions: i32, factor: i16) -> bool {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: factor,
            ..Default::default()
        };
        let id = self.id();
        let decision = create_topics(&View::new(&self.image, &self.config), &[topic], &mut || id);
        self.apply(&decision.records);
        decision.reply[0].is_ok()
    }

    pub fn partition(&self, name: &str, index: i32) -> &PartitionImage {
        self.image.topic(name).unwrap().partition(index).unwrap()
    }

    /// Starts the process of a broker and registers it, if it is let.
    pub fn start(&mut self, id: i32) -> bool {
        self.next += 1;
        let broker = self.brokers.get_mut(&id).unwrap();
        if broker.running {
            return false;
        }
        let request = BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: CLUSTER.to_owned(),
            incarnation_id: Uuid::from_u128(u128::from(self.next)),
            features: [METADATA_VERSION_FEATURE, ELR_FEATURE]
                .map(|name| Feature { name: name.to_owned(), max_supported_version: 30, ..Default::default() })
                .into(),
            rack: None,
            log_dirs: vec![Uuid::from_u128(1_000 + u128::from(id.unsigned_abs()))],
            previous_broker_epoch: broker.proof,
            ..Default::default()
        };
        let view = View::new(&self.image, &self.config);
        let Decision { records, reply } = self.active.register(&view, &request, 4, self.now);
        if reply.error_code != 0 {
            assert!(records.is_empty());
            return false;
        }
        assert_eq!(reply.broker_epoch, self.image.next_offset());
        let broker = self.brokers.get_mut(&id).unwrap();
        (broker.running, broker.epoch, broker.proof, broker.wants_stop) = (true, reply.broker_epoch, -1, false);
        broker.book.clear();
        broker.pending.clear();
        self.apply(&records);
        true
    }

    /// The broker reads all of the metadata.
    pub fn catch_up(&mut self, id: i32) {
        let image = self.image.clone();
        let broker = self.brokers.get_mut(&id).unwrap();
        if broker.running {
            broker.known = image;
        }
    }

    /// A heartbeat; a broker that is told so stops cleanly.
    pub fn heartbeat(&mut self, id: i32) {
        let broker = &self.brokers[&id];
        if !broker.running {
            return;
        }
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: broker.epoch,
            current_metadata_offset: broker.known.next_offset() - 1,
            want_shut_down: broker.wants_stop,
            ..Default::default()
        };
        let Decision { records, reply } =
            self.active.heartbeat(&View::new(&self.image, &self.config), &request, self.now);
        self.apply(&records);
        let broker = self.brokers.get_mut(&id).unwrap();
        if reply.error_code == 0 && reply.should_shut_down {
            broker.running = false;
            broker.proof = broker.epoch;
        }
    }

    /// The process is gone, and the ends of its logs may be too.
    pub fn kill(&mut self, id: i32, lose: usize) {
        let broker = self.brokers.get_mut(&id).unwrap();
        if !broker.running {
            return;
        }
        broker.running = false;
        for log in broker.logs.values_mut() {
            let left = log.len().saturating_sub(lose);
            log.truncate(left);
        }
    }

    pub fn advance(&mut self, by: Duration) {
        let deadline = self.active.deadline(&View::new(&self.image, &self.config));
        self.now += by;
        if self.now < deadline {
            let before = self.image.next_offset();
            assert!(self.active.poll(&View::new(&self.image, &self.config), self.now).is_none(), "{before}");
            return;
        }
        for _ in 0..100 {
            let Some(records) = self.active.poll(&View::new(&self.image, &self.config), self.now) else { return };
            self.apply(&records);
        }
        panic!("the controller does not come to rest");
    }

    pub fn expire_sessions(&mut self) {
        self.advance(SESSION + Duration::from_secs(1));
    }

    /// Another controller takes over.
    pub fn fail_over(&mut self) {
        self.active = ActiveController::new(&View::new(&self.image, &self.config), CLUSTER, self.now);
    }

    pub fn keys(&self) -> Vec<Key> {
        let topics = self.image.topics();
        topics.flat_map(|topic| (0..).take(topic.partitions.len()).map(move |index| (topic.id, index))).collect()
    }

    fn led(broker: &SimBroker, id: i32, (topic, index): Key) -> Option<&PartitionImage> {
        let partition = broker.known.topic_by_id(topic)?.partition(index)?;
        (broker.running && partition.leader == id).then_some(partition)
    }

    /// A broker that takes itself for the leader takes a record.
    pub fn produce(&mut self, id: i32, key: Key) {
        self.next += 1;
        let broker = self.brokers.get_mut(&id).unwrap();
        let Some(epoch) = Self::led(broker, id, key).map(|partition| partition.leader_epoch) else { return };
        broker.logs.entry(key).or_default().push((epoch, self.next));
        self.advance_watermark(id, key);
    }

    /// A follower fetches from whom it takes for the leader; both must mean the same epoch.
    pub fn fetch(&mut self, follower: i32, key: Key) {
        let known = &self.brokers[&follower];
        let Some(partition) = known.known.topic_by_id(key.0).and_then(|topic| topic.partition(key.1)) else { return };
        let (leader, epoch, broker_epoch) = (partition.leader, partition.leader_epoch, known.epoch);
        if !known.running || leader == follower || !partition.replicas.contains(&follower) {
            return;
        }
        let Some(its_epoch) =
            self.brokers.get(&leader).and_then(|broker| Self::led(broker, leader, key)).map(|it| it.leader_epoch)
        else {
            return;
        };
        if its_epoch != epoch {
            return;
        }
        let source = self.brokers[&leader].logs.get(&key).cloned().unwrap_or_default();
        let log = self.brokers.get_mut(&follower).unwrap().logs.entry(key).or_default();
        let same = common(log, &source);
        log.truncate(same);
        // What it asks from tells what it has; what it gets now it has not told of.
        let told = log.len();
        log.extend_from_slice(&source[told..]);
        let book = self.brokers.get_mut(&leader).unwrap().book.entry(key).or_default();
        if book.0 != epoch {
            *book = (epoch, BTreeMap::new());
        }
        book.1.insert(follower, (told, broker_epoch));
        self.advance_watermark(leader, key);
    }

    fn end_of(broker: &SimBroker, id: i32, key: Key, epoch: i32, leader: i32) -> usize {
        if id == leader {
            return broker.logs.get(&key).map_or(0, Vec::len);
        }
        let book = broker.book.get(&key).filter(|(of, _)| *of == epoch);
        book.and_then(|(_, book)| book.get(&id)).map_or(0, |(end, _)| *end)
    }

    fn pending<'a>(broker: &'a SimBroker, partition: &PartitionImage, key: Key) -> Option<&'a Vec<i32>> {
        let (epoch, isr) = broker.pending.get(&key)?;
        (*epoch == partition.partition_epoch).then_some(isr)
    }

    fn advance_watermark(&mut self, leader: i32, key: Key) {
        let broker = &self.brokers[&leader];
        let Some(partition) = Self::led(broker, leader, key) else { return };
        if self.unclean_epochs.get(&key).is_some_and(|epoch| partition.leader_epoch < *epoch) {
            return;
        }
        let min_isr = usize::try_from(self.config.min_insync_replicas).unwrap();
        let factor = broker.known.topic_by_id(key.0).unwrap().partitions[0].replicas.len();
        if partition.isr.len() < min_isr.min(factor) {
            return;
        }
        let pending = Self::pending(broker, partition, key);
        let ends = partition
            .isr
            .iter()
            .chain(pending.into_iter().flatten())
            .map(|id| Self::end_of(broker, *id, key, partition.leader_epoch, leader));
        let end = ends.min().unwrap_or(0);
        let log = broker.logs.get(&key).map_or(&[][..], Vec::as_slice);
        let committed = self.committed.entry(key).or_default();
        if end > committed.len() {
            assert!(log.starts_with(committed), "leader {leader} lacks {committed:?}: {log:?} {partition:?}");
            *committed = log[..end].to_vec();
        }
    }

    /// A leader asks for other in-sync replicas: without `out`, with whoever has caught up.
    pub fn propose(&mut self, leader: i32, key: Key, out: i32) {
        let broker = &self.brokers[&leader];
        let Some(partition) = Self::led(broker, leader, key) else { return };
        let (epoch, partition_epoch) = (partition.leader_epoch, partition.partition_epoch);
        if Self::pending(broker, partition, key).is_some() {
            return;
        }
        let committed = self.committed.get(&key).map_or(0, Vec::len);
        let own_end = Self::end_of(broker, leader, key, epoch, leader);
        let may_join = |id: &&i32| {
            // The whole log: where this leader's epoch begins is behind what it had before.
            **id != out && Self::end_of(broker, **id, key, epoch, leader) >= committed.max(own_end.min(committed + 1))
        };
        let stays = |id: &&i32| **id == leader || partition.isr.contains(*id) && **id != out;
        let has_fetched =
            |id: &i32| broker.book.get(&key).is_some_and(|(of, book)| *of == epoch && book.contains_key(id));
        let isr = partition.replicas.iter().filter(|id| stays(id) || has_fetched(id) && may_join(id));
        let epoch_of = |id: &i32| match broker.book.get(&key).and_then(|(_, book)| book.get(id)) {
            Some((_, epoch)) => *epoch,
            None if *id == leader => broker.epoch,
            None => broker.known.broker(*id).map_or(-1, |it| it.epoch),
        };
        let new_isr_with_epochs: Vec<BrokerState> =
            isr.map(|id| BrokerState { broker_id: *id, broker_epoch: epoch_of(id), ..Default::default() }).collect();
        let lone = new_isr_with_epochs.len() == 1;
        let proposed: Vec<i32> = new_isr_with_epochs.iter().map(|state| state.broker_id).collect();
        let asked = PartitionData {
            partition_index: key.1,
            leader_epoch: epoch,
            new_isr_with_epochs,
            // It has recovered once it asks for others.
            leader_recovery_state: i8::from(partition.recovering && lone),
            partition_epoch: partition.partition_epoch,
            ..Default::default()
        };
        let topic = TopicData { topic_id: key.0, partitions: vec![asked], ..Default::default() };
        let request = AlterPartitionRequest {
            broker_id: leader,
            broker_epoch: broker.epoch,
            topics: vec![topic],
            ..Default::default()
        };
        self.brokers.get_mut(&leader).unwrap().pending.insert(key, (partition_epoch, proposed));
        let Decision { records, reply } = alter_partition(&View::new(&self.image, &self.config), &request, 3);
        self.apply(&records);
        let Some(answered) = reply.topics.first().map(|topic| &topic.partitions[0]) else { return };
        if [0, rkafka_protocol::ErrorCode::IneligibleReplica.code()].contains(&answered.error_code) {
            self.brokers.get_mut(&leader).unwrap().pending.remove(&key);
        }
        if answered.error_code == 0 {
            let now = self.image.topic_by_id(key.0).unwrap().partition(key.1).unwrap();
            assert_eq!((&answered.isr, answered.partition_epoch), (&now.isr, now.partition_epoch));
            // The answer is what the leader goes by from now on.
            self.catch_up(leader);
        }
    }

    pub fn reassign(&mut self, (topic, index): Key, replicas: Option<Vec<i32>>) -> (i16, Option<String>) {
        let name = self.image.topic_by_id(topic).unwrap().name.to_string();
        let partition = ReassignablePartition { partition_index: index, replicas, ..Default::default() };
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic { name, partitions: vec![partition], ..Default::default() }],
            ..Default::default()
        };
        let Decision { records, reply } = alter_reassignments(&View::new(&self.image, &self.config), &request);
        self.apply(&records);
        let answer = &reply.responses[0].partitions[0];
        (answer.error_code, answer.error_message.clone())
    }

    pub fn elect(&mut self, asked: AskedElection) -> Vec<i16> {
        let Decision { records, reply } = elect_leaders(&View::new(&self.image, &self.config), asked, None);
        self.apply(&records);
        reply.iter().flat_map(|topic| topic.partition_result.iter().map(|it| it.error_code)).collect()
    }
}

/// How long two logs are the same.
fn common(one: &[Record], other: &[Record]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}
