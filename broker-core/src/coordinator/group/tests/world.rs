//! One shard, its log, and a clock that the test turns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use rkafka_protocol::messages::heartbeat_request::HeartbeatRequest;
use rkafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use rkafka_protocol::messages::join_group_response::JoinGroupResponse;
use rkafka_protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use rkafka_protocol::messages::leave_group_response::LeaveGroupResponse;
use rkafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use rkafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use rkafka_protocol::messages::offset_fetch_response::OffsetFetchResponsePartitions;
use rkafka_protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use rkafka_protocol::messages::sync_group_response::SyncGroupResponse;
use rkafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use rkafka_protocol::wire::encode_to_vec;

use super::super::classic::ClassicGroup;
use super::super::{
    ClassicState, ConsumerGroupSettings, Effects, GroupSettings, GroupShard, JoinContext, Moment, Outcome, RecordPlace,
    Reply, ShareGroupSettings, WaiterId, append_error,
};
use crate::{BrokerConfig, InternalRecord};

pub(super) const GROUP: &str = "group";
pub(super) const TOPIC: &str = "topic";
pub(super) const SESSION_MS: i32 = 10_000;
pub(super) const REBALANCE_MS: i32 = 60_000;
pub(super) const INITIAL_DELAY_MS: i32 = 3_000;
/// Seven days.
pub(super) const RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What stands at an offset of the log.
#[derive(Debug, Clone)]
pub(super) enum Logged {
    Record { producer_id: i64, record: InternalRecord },
    Marker { producer_id: i64, commit: bool },
}

pub(super) struct World {
    pub shard: GroupShard,
    pub log: Vec<Logged>,
    pub now: Moment,
    pub fail_appends: bool,
    pub max_size: usize,
    pub(super) answers: BTreeMap<WaiterId, Reply>,
    next: u64,
}

fn settings(max_size: usize) -> GroupSettings {
    GroupSettings {
        session_timeout_ms_min: 6_000,
        session_timeout_ms_max: 1_800_000,
        initial_rebalance_delay_ms: INITIAL_DELAY_MS,
        max_size,
        consumer: ConsumerGroupSettings::of(&BrokerConfig::default()),
        share: ShareGroupSettings::of(&BrokerConfig::default()),
        offset_metadata_max_length: 4096,
        offsets_retention_ms: RETENTION_MS,
    }
}

fn replay(shard: &mut GroupShard, offset: usize, entry: &Logged) {
    match entry {
        Logged::Record { producer_id, record } => {
            let place = RecordPlace { offset: i64::try_from(offset).unwrap(), producer_id: *producer_id };
            shard.replay(place, record.key.clone(), record.value.clone()).unwrap();
        }
        Logged::Marker { producer_id, commit } => shard.replay_marker(*producer_id, *commit),
    }
}

impl World {
    pub fn new() -> Self {
        Self::with_max_size(usize::MAX)
    }

    pub fn with_max_size(max_size: usize) -> Self {
        Self {
            shard: GroupShard::new(settings(max_size)),
            log: Vec::new(),
            now: Moment { monotonic_ms: 0, date_ms: 1_700_000_000_000 },
            fail_appends: false,
            max_size,
            answers: BTreeMap::new(),
            next: 1,
        }
    }

    pub fn waiter(&mut self) -> WaiterId {
        self.next += 1;
        self.next
    }

    pub fn group(&self) -> Option<&ClassicGroup> {
        self.shard.living(GROUP)
    }

    pub fn state(&self) -> Option<ClassicState> {
        self.group().map(ClassicGroup::state)
    }

    pub(super) fn append(&mut self, producer_id: i64, records: &[InternalRecord]) -> Result<(), ErrorCode> {
        if self.fail_appends {
            return Err(ErrorCode::KafkaStorageError);
        }
        for record in records {
            self.log_and_replay(Logged::Record { producer_id, record: record.clone() });
        }
        Ok(())
    }

    fn log_and_replay(&mut self, entry: Logged) {
        replay(&mut self.shard, self.log.len(), &entry);
        self.log.push(entry);
    }

    /// What a replay of the log makes.
    fn rebuilt(&self) -> GroupShard {
        let mut shard = GroupShard::new(settings(self.max_size));
        for (offset, entry) in self.log.iter().enumerate() {
            replay(&mut shard, offset, entry);
        }
        shard
    }

    pub fn settle(&mut self, effects: Effects) {
        let mut queue = VecDeque::from([effects]);
        while let Some(effects) = queue.pop_front() {
            for (waiter, reply) in effects.replies {
                assert!(self.answers.insert(waiter, reply).is_none(), "answered twice");
            }
            for write in effects.writes {
                let records = write.records().unwrap().to_vec();
                let result = self.append(-1, &records);
                queue.push_back(self.shard.written(self.now, write, result));
            }
        }
        self.check();
    }

    pub fn take_outcome<R>(&mut self, outcome: Outcome<R>) -> Result<R, ErrorCode> {
        self.append(-1, &outcome.records).map_err(append_error)?;
        self.check();
        Ok(outcome.reply)
    }

    /// What must be true at any time.
    pub fn check(&self) {
        let rebuilt = self.rebuilt();
        assert_eq!(self.shard.persisted, rebuilt.persisted, "what is persisted is what a replay makes");
        check_consumer_groups(&self.shard);
        for group in self.shard.living_groups() {
            assert!(self.shard.persisted.consumer(&group.id).is_none(), "a group is of one kind");
            let waits_join = group.members.values().any(|member| member.join_waiter.is_some());
            let waits_sync = group.members.values().any(|member| member.sync_waiter.is_some());
            assert!(!waits_join || group.state() == ClassicState::PreparingRebalance, "{group:?}");
            assert!(!waits_sync || group.state() == ClassicState::CompletingRebalance, "{group:?}");
            assert_eq!(group.leader.is_some(), !group.members.is_empty(), "{group:?}");
            assert!(group.leader.iter().all(|leader| group.members.contains_key(leader)), "{group:?}");
            if !group.members.is_empty() {
                let deadline = group.deadline_ms().expect("a group with members has something due");
                assert!(group.noted_deadline_ms.is_some_and(|noted| noted <= deadline), "{group:?}");
            }
            if group.state() == ClassicState::Stable {
                let mut living = group.metadata(|member| member.assignment.clone());
                let logged = self.shard.persisted.group(&group.id).and_then(|group| group.metadata.clone());
                living.current_state_timestamp = logged.as_ref().map_or(0, |logged| logged.current_state_timestamp);
                assert_eq!(Some(living), logged, "a stable group is as the log says");
            }
        }
    }

    /// Lets time pass, and all that is due happen at its time.
    pub fn pass(&mut self, milliseconds: i64) {
        let until = self.now.monotonic_ms + milliseconds;
        loop {
            let next = self.shard.deadline_ms().filter(|at| *at <= until).unwrap_or(until).max(self.now.monotonic_ms);
            self.now.date_ms += next - self.now.monotonic_ms;
            self.now.monotonic_ms = next;
            match self.shard.on_time(self.now) {
                Some(effects) => self.settle(effects),
                None if next == until => return,
                None => {}
            }
        }
    }

    /// The coordinator falls, and another reads the log.
    pub fn restart(&mut self) {
        let mut shard = self.rebuilt();
        shard.see(Arc::clone(&self.shard.image));
        shard.start(self.now);
        self.shard = shard;
        self.check();
    }

    pub fn join_as(&mut self, request: &JoinGroupRequest, version: i16) -> WaiterId {
        let waiter = self.waiter();
        let prefix = request.group_instance_id.as_deref().unwrap_or("client");
        let context = JoinContext {
            version,
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            new_member_id: format!("{prefix}-{waiter:06}"),
            waiter,
        };
        let effects = self.shard.join(self.now, request, &context);
        self.settle(effects);
        waiter
    }

    /// A dynamic member with an id of its own comes in; its JoinGroup waits.
    pub fn come(&mut self) -> (String, WaiterId) {
        let first = self.join_as(&join_request("", None), 9);
        let promised = self.joined(first).expect("an id is promised at once");
        assert_eq!(promised.error_code, ErrorCode::MemberIdRequired.code());
        let waiter = self.join_as(&join_request(&promised.member_id, None), 9);
        (promised.member_id, waiter)
    }

    pub fn joined(&mut self, waiter: WaiterId) -> Option<JoinGroupResponse> {
        match self.answers.remove(&waiter)? {
            Reply::Join(response) => Some(response),
            Reply::Sync(_) => panic!("a JoinGroup was answered as a SyncGroup"),
        }
    }

    pub fn sync(&mut self, member_id: &str, generation: i32, plan: &[(&str, &str)]) -> WaiterId {
        let waiter = self.waiter();
        let one = |(member_id, assignment): &(&str, &str)| SyncGroupRequestAssignment {
            member_id: (*member_id).to_owned(),
            assignment: Bytes::copy_from_slice(assignment.as_bytes()),
            ..Default::default()
        };
        let request = SyncGroupRequest {
            group_id: GROUP.to_owned(),
            generation_id: generation,
            member_id: member_id.to_owned(),
            assignments: plan.iter().map(one).collect(),
            ..Default::default()
        };
        let effects = self.shard.sync(self.now, &request, waiter);
        self.settle(effects);
        waiter
    }

    pub fn synced(&mut self, waiter: WaiterId) -> Option<SyncGroupResponse> {
        match self.answers.remove(&waiter)? {
            Reply::Sync(response) => Some(response),
            Reply::Join(_) => panic!("a SyncGroup was answered as a JoinGroup"),
        }
    }

    /// A waiting client hangs up; an answer that is on its way is lost.
    pub fn forget(&mut self, waiter: WaiterId) {
        if self.answers.remove(&waiter).is_some() {
            return;
        }
        let effects = self.shard.forget_waiter(self.now, GROUP, waiter);
        self.settle(effects);
        assert!(!self.answers.contains_key(&waiter), "nobody is there to be answered");
    }

    pub fn heartbeat(&mut self, member_id: &str, instance: Option<&str>, generation: i32) -> Result<(), ErrorCode> {
        let request = HeartbeatRequest {
            group_id: GROUP.to_owned(),
            generation_id: generation,
            member_id: member_id.to_owned(),
            group_instance_id: instance.map(str::to_owned),
            ..Default::default()
        };
        let result = self.shard.heartbeat(self.now, &request);
        self.check();
        result
    }

    pub fn leave(&mut self, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
        let one = |(member_id, instance): &(&str, Option<&str>)| MemberIdentity {
            member_id: (*member_id).to_owned(),
            group_instance_id: instance.map(str::to_owned),
            ..Default::default()
        };
        let members = members.iter().map(one).collect();
        let request = LeaveGroupRequest { group_id: GROUP.to_owned(), members, ..Default::default() };
        let (response, effects) = self.shard.leave(self.now, &request);
        self.settle(effects);
        response
    }

    pub fn commit(&mut self, member_id: &str, generation: i32, partition: i32, offset: i64) -> Result<(), ErrorCode> {
        let request = commit_request(member_id, generation, partition, offset);
        let outcome = self.shard.decide_commit(self.now, &request, 9)?;
        self.shard.keep_alive(self.now, GROUP, member_id);
        let response = self.take_outcome(outcome)?;
        ErrorCode::check(response.topics[0].partitions[0].error_code)
    }

    pub fn committed(&self, partition: i32) -> i64 {
        self.fetch(partition, false).committed_offset
    }

    /// The committed offset, or `UNSTABLE_OFFSET_COMMIT` while a transaction has written one.
    pub fn stable_offset(&self, partition: i32) -> Result<i64, ErrorCode> {
        let fetched = self.fetch(partition, true);
        ErrorCode::check(fetched.error_code).map(|()| fetched.committed_offset)
    }

    fn fetch(&self, partition: i32, require_stable: bool) -> OffsetFetchResponsePartitions {
        let topic = OffsetFetchRequestTopics {
            name: TOPIC.to_owned(),
            partition_indexes: vec![partition],
            ..Default::default()
        };
        let request =
            OffsetFetchRequestGroup { group_id: GROUP.to_owned(), topics: Some(vec![topic]), ..Default::default() };
        let response = self.shard.fetch_offsets(&request, require_stable).unwrap();
        response.topics[0].partitions[0].clone()
    }

    /// A commit in the transaction of a producer.
    pub fn commit_in_transaction(
        &mut self,
        producer_id: i64,
        member: (&str, Option<&str>, i32),
        partition: i32,
        offset: i64,
    ) -> Result<(), ErrorCode> {
        let partition = TxnOffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..Default::default()
        };
        let topic =
            TxnOffsetCommitRequestTopic { name: TOPIC.to_owned(), partitions: vec![partition], ..Default::default() };
        let request = TxnOffsetCommitRequest {
            group_id: GROUP.to_owned(),
            producer_id,
            member_id: member.0.to_owned(),
            group_instance_id: member.1.map(str::to_owned),
            generation_id: member.2,
            topics: vec![topic],
            ..Default::default()
        };
        let outcome = self.shard.decide_transactional_commit(self.now, &request, 5)?;
        self.append(producer_id, &outcome.records).map_err(append_error)?;
        self.check();
        ErrorCode::check(outcome.reply.topics[0].partitions[0].error_code)
    }

    /// The transaction of a producer ends.
    pub fn mark(&mut self, producer_id: i64, commit: bool) {
        if !self.fail_appends {
            self.log_and_replay(Logged::Marker { producer_id, commit });
        }
        self.check();
    }

    /// Deletes what has expired, as the driver does; answers how many records that took.
    pub fn expire(&mut self) -> usize {
        let mut count = 0;
        for group_id in self.shard.group_ids() {
            let Some(expired) = self.shard.decide_expiry(self.now, &group_id) else { continue };
            if self.append(-1, &expired.records).is_ok() {
                count += expired.records.len();
                if expired.is_deleted {
                    let effects = self.shard.deleted(self.now, &group_id);
                    self.settle(effects);
                }
            }
        }
        self.check();
        count
    }

    /// A stable group of so many dynamic members: their ids, the leader first, and the generation.
    pub fn stable(&mut self, count: usize) -> (Vec<String>, i32) {
        let come: Vec<_> = (0..count).map(|_| self.come()).collect();
        self.pass(2 * i64::from(INITIAL_DELAY_MS));
        let mut generation = 0;
        let mut ids = Vec::new();
        for (id, waiter) in come {
            let response = self.joined(waiter).unwrap();
            assert_eq!(response.error_code, 0);
            generation = response.generation_id;
            if response.leader == id {
                ids.insert(0, id);
            } else {
                ids.push(id);
            }
        }
        for id in ids.iter().rev() {
            self.sync(id, generation, &[]);
        }
        assert_eq!(self.state(), Some(ClassicState::Stable));
        (ids, generation)
    }
}

/// What must be true of consumer groups at any time.
fn check_consumer_groups(shard: &GroupShard) {
    for (group_id, group) in shard.persisted.groups() {
        let Some(consumer) = &group.consumer else { continue };
        assert!(group.metadata.is_none(), "{group_id} is of two kinds in the log");
        let mut held = std::collections::BTreeSet::new();
        for (member_id, member) in &consumer.members {
            for (topic, partitions) in member.current.assigned.iter().chain(&member.current.revoking) {
                for partition in partitions.keys() {
                    assert!(held.insert((topic, partition)), "{member_id} shares {topic}-{partition}: {consumer:?}");
                }
            }
        }
        assert!(consumer.targets.keys().all(|id| consumer.members.contains_key(id)), "{consumer:?}");
        if !consumer.members.is_empty() {
            let timers = shard.consumer_timers.get(group_id).expect("members have sessions");
            let deadline = timers.deadline_ms().expect("members have sessions");
            assert!(timers.noted_deadline_ms.is_some_and(|noted| noted <= deadline), "{timers:?}");
        }
    }
}

pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let message = ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..Default::default()
    };
    let mut bytes = vec![0, 0];
    bytes.extend(encode_to_vec(&message, 0).unwrap());
    Bytes::from(bytes)
}

pub(super) fn protocol(name: &str) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol { name: name.to_owned(), metadata: subscription(&[TOPIC]), ..Default::default() }
}

pub(super) fn join_request(member_id: &str, instance: Option<&str>) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        member_id: member_id.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range")],
        ..Default::default()
    }
}

pub(super) fn commit_request(member_id: &str, generation: i32, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_metadata: Some("note".to_owned()),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: GROUP.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}
