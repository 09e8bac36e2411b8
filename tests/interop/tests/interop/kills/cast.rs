//! A cluster with its clients, from the first record to the verdict.

use std::collections::{BTreeMap, HashMap};

use rkafka::admin::{Admin, AdminConfig, NewTopic, OffsetSpec};
use rkafka::client::{Client, ClientConfig, ClientSettings as _, TopicPartition, Topics};
use rkafka::consumer::{Consumer, ConsumerConfig, IsolationLevel, Start};
use rkafka_history::{Action, History, Isolation, Phase};
use rkafka_testkit::{BrokerProcesses, eventually};

use super::crew::{Kind, Worker};
use super::diary::Diary;
use super::worker::ask;
use super::{BROKERS, GROUPS, PARTITIONS, RECORDS, TRANSACTIONS, folder_of_histories, partition_name, say};
use crate::support::in_time;

/// How many acknowledgements show that the cluster goes on, from each worker.
const SIGNS_OF_LIFE: u64 = 60;
/// How many records the last reader tells of in one line.
const POLL: usize = 100;

/// What a broker is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// It leads a partition with records.
    Leader,
    /// It coordinates the transactions of one producer.
    TransactionCoordinator,
    /// It decides about the cluster.
    Controller,
    /// It coordinates a group.
    GroupCoordinator,
}

impl Role {
    pub(super) const ALL: [Self; 4] =
        [Self::Leader, Self::TransactionCoordinator, Self::Controller, Self::GroupCoordinator];
}

pub(super) struct Trial {
    /// `None` only while somebody else has it.
    brokers: Option<BrokerProcesses>,
    pub(super) workers: Vec<Worker>,
    bootstrap: String,
    client: Client,
    admin: Admin,
    folder: std::path::PathBuf,
    /// What is not kept goes with the test.
    _folder: tempfile::TempDir,
}

impl Trial {
    pub(super) async fn begin(brokers: BrokerProcesses) -> Self {
        let bootstrap = brokers.bootstrap();
        let admin = Admin::connect(AdminConfig::new().bootstrap_servers(&*bootstrap)).await.expect("an admin");
        let topics = [RECORDS, TRANSACTIONS].map(|name| {
            let topic = NewTopic::new(name).partitions(PARTITIONS).replication_factor(BROKERS as i16);
            topic.config("min.insync.replicas", "2")
        });
        for (name, created) in admin.create_topics(topics).await.expect("topics can be created") {
            if let Err(error) = created {
                panic!("{name}: {error}");
            }
        }
        let client = Client::connect(ClientConfig::new().bootstrap_servers(&*bootstrap)).await.expect("a client");
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = folder_of_histories(temporary.path());
        let start = |kind| Worker::start(kind, &folder, &bootstrap);
        let workers = [Kind::Ours, Kind::Java].map(start).into();
        let brokers = Some(brokers);
        let mut trial = Self { brokers, workers, bootstrap, client, admin, folder, _folder: temporary };
        trial.goes_on("the load begins").await;
        trial.is_whole().await;
        trial
    }

    pub(super) fn brokers(&mut self) -> &mut BrokerProcesses {
        self.brokers.as_mut().expect("nobody else has it")
    }

    pub(super) fn kill(&mut self, broker: usize) {
        self.brokers().kill(broker).expect("killed");
    }

    pub(super) async fn revive(&mut self, broker: usize) {
        let mut brokers = self.brokers.take().expect("nobody else has it");
        let revived = tokio::task::spawn_blocking(move || brokers.revive(broker).map(|()| brokers)).await;
        self.brokers = Some(revived.expect("no panic").expect("it comes back"));
    }

    pub(super) fn acknowledged(&mut self) -> u64 {
        self.workers.iter_mut().map(Worker::acknowledged).sum()
    }

    /// Waits until every worker was acknowledged more than a single answer brings.
    pub(super) async fn goes_on(&mut self, what: &str) {
        for worker in &mut self.workers {
            let before = worker.acknowledged();
            let worker = std::cell::RefCell::new(worker);
            eventually(what, || async {
                let mut worker = worker.borrow_mut();
                if let Err(why) = worker.check() {
                    panic!("{what}: {why}");
                }
                let grown = worker.acknowledged() - before;
                if grown >= SIGNS_OF_LIFE { Ok(()) } else { Err(format!("{grown} acknowledgements")) }
            })
            .await;
        }
    }

    /// Waits until every replica is in sync, so that the next broker can go.
    pub(super) async fn is_whole(&self) {
        let names = [RECORDS, TRANSACTIONS, "__transaction_state", "__consumer_offsets"];
        eventually("every replica is in sync", || async {
            let cluster = self.client.refresh(Topics::named(names)).await.map_err(|error| error.to_string())?;
            for name in names {
                let topic = cluster.topic(name).ok_or_else(|| format!("{name} is not there"))?;
                if let Some(partition) = topic.partitions.iter().find(|partition| partition.isr.len() < BROKERS) {
                    return Err(format!("{name}-{}: in sync are {:?}", partition.index, partition.isr));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Which broker, counted from 0, has a role now.
    pub(super) async fn who_is(&self, role: Role) -> usize {
        let id = eventually("somebody has the role", || async {
            let (topic, key) = match role {
                Role::Controller => {
                    let quorum = self.admin.describe_metadata_quorum().await.map_err(|error| error.to_string())?;
                    return quorum.leader.ok_or_else(|| "no controller leads".to_owned());
                }
                Role::TransactionCoordinator => ("__transaction_state", GROUPS[0]),
                Role::GroupCoordinator => ("__consumer_offsets", GROUPS[1]),
                Role::Leader => (RECORDS, ""),
            };
            let cluster = self.client.refresh(Topics::named([topic])).await.map_err(|error| error.to_string())?;
            let topic = cluster.topic(topic).ok_or("no such topic")?;
            let partition = place_of(key, topic.partitions.len());
            let leader = topic.partitions.iter().find(|one| one.index as usize == partition).map(|one| one.leader);
            match leader.flatten() {
                Some(leader) => Ok(leader),
                None => Err(format!("partition {partition} has no leader")),
            }
        });
        usize::try_from(id.await - 1).expect("node ids begin with 1")
    }

    /// Ends the load, reads everything, and judges.
    pub(super) async fn end(mut self, what: &str) {
        let mut workers = std::mem::take(&mut self.workers);
        let stopped = tokio::task::spawn_blocking(move || {
            workers.iter_mut().for_each(Worker::stop);
            workers
        });
        self.workers = stopped.await.expect("they end in good order");
        self.is_whole().await;
        self.nothing_is_open().await;
        let last = self.folder.join("last.jsonl");
        self.read_everything(&Diary::open(&last, "last")).await;
        let files: Vec<_> = self.workers.iter().flat_map(|worker| worker.files.clone()).chain([last]).collect();
        let verdict = tokio::task::spawn_blocking(move || {
            let read = |file: &std::path::PathBuf| std::fs::read_to_string(file).expect("a history");
            let texts: Vec<String> = files.iter().map(read).collect();
            History::from_files(texts.iter().map(String::as_str)).expect("a history").judge()
        });
        let verdict = verdict.await.expect("no panic");
        say(&format!("{what}: {verdict}"));
        assert!(verdict.is_valid(), "{what}: {verdict}");
        assert!(verdict.summary.acknowledged > 500, "too little load to show anything: {verdict}");
        assert!(verdict.summary.committed > 20, "too few transactions: {verdict}");
    }

    /// Waits until no transaction is open: what was committed is to be seen from then on.
    async fn nothing_is_open(&self) {
        let all = || {
            let places = [RECORDS, TRANSACTIONS].into_iter().flat_map(|topic| {
                (0..PARTITIONS).map(move |partition| (TopicPartition::new(topic, partition), OffsetSpec::Latest))
            });
            self.admin.list_offsets(places)
        };
        eventually("no transaction is open", || async {
            let ends = all().await.map_err(|error| error.to_string())?;
            let stable = all().isolation_level(rkafka::admin::IsolationLevel::ReadCommitted).await;
            let stable: HashMap<_, _> = stable.map_err(|error| error.to_string())?.into_iter().collect();
            for (place, end) in ends {
                let end = end.map_err(|error| error.to_string())?.offset;
                match stable.get(&place) {
                    Some(Ok(stable)) if stable.offset == end => {}
                    other => return Err(format!("{place}: {other:?} of {end:?}")),
                }
            }
            Ok(())
        })
        .await;
    }

    /// Reads both topics from the beginning to the end, and asks what the groups have committed.
    async fn read_everything(&self, diary: &Diary) {
        let config = ConsumerConfig::new().bootstrap_servers(&*self.bootstrap);
        let mut consumer =
            Consumer::connect(config.clone().isolation_level(IsolationLevel::ReadCommitted)).await.expect("a consumer");
        let topics = [RECORDS, TRANSACTIONS];
        let places = topics.iter().flat_map(|topic| (0..PARTITIONS).map(move |at| (*topic, at)));
        let names: Vec<String> = places.clone().map(|(topic, at)| partition_name(topic, at)).collect();
        let drained = Action::Drained { partitions: names.clone() };
        let begun = diary.begin(drained.clone());
        diary.assigned_from_the_beginning(names);
        consumer.assign(places.map(|(topic, at)| (topic, at, Start::Beginning))).expect("assigned");
        let mut records: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
        let tell = |records| {
            diary.note(Action::Poll { isolation: Isolation::ReadCommitted, records, transaction: None });
        };
        while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("a record") {
            let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
            let of_this = records.entry(partition_name(record.topic(), record.partition())).or_default();
            of_this.push((record.offset(), value));
            if of_this.len() == POLL {
                tell(std::mem::take(&mut records));
            }
        }
        tell(records);
        begun.end(Phase::Ok, drained);
        consumer.close().await.expect("closed");
        for group in GROUPS {
            let consumer = Consumer::connect(config.clone().group_id(group)).await.expect("a consumer");
            assert!(ask(diary, group, &consumer).await, "what {group} has committed can be asked for");
        }
    }
}

/// The partition of an internal topic that a key is in, as Kafka finds it.
fn place_of(key: &str, partitions: usize) -> usize {
    let hash = key.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) as usize % partitions.max(1)
}
