//! Brokers go and come back, in good order and by `kill -9`, while a group of each protocol works: nothing is lost, nobody
//! begins where he should not, and the groups go on.

use std::path::PathBuf;

use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::client::ClientSettings as _;
use rkafka_testkit::{Child, RealKafka, eventually, skipped};

use super::group::{Group, LONG_SESSION, PARTITIONS, Protocol};
use super::load::Load;
use super::member::Kind;
use super::{AUTOMATIC, clock, has_all_kinds, say, turns};
use crate::process::{command_line, start_with};
use crate::support::LIMIT;

/// As the testkit has them for its brokers.
const SETTINGS: [&str; 10] = [
    "-X",
    "group.initial.rebalance.delay.ms=0",
    "-X",
    "group.min.session.timeout.ms=1000",
    "-X",
    "group.consumer.min.session.timeout.ms=1000",
    "-X",
    "group.consumer.min.heartbeat.interval.ms=100",
    "-X",
    "offsets.topic.num.partitions=4",
];

/// Brokers that are processes.
enum Brokers {
    Ours { program: PathBuf, folder: tempfile::TempDir, running: Option<Child>, address: String },
    Real(Box<RealKafka>),
}

impl Brokers {
    async fn ours(test: &str) -> Option<Self> {
        let Some(program) = command_line() else {
            skipped(test, "`rkafka` is not built: run the tests of the whole workspace");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let (data, log) = (folder.path().join("data"), folder.path().join("log"));
        let (running, address) = start_with(&program, "127.0.0.1:0", &data, &log, &SETTINGS).await;
        Some(Self::Ours { program, folder, running: Some(running), address })
    }

    async fn real(count: u16, test: &str) -> Option<Self> {
        let started = tokio::task::spawn_blocking(move || RealKafka::start(count)).await.expect("no panic");
        match started {
            Ok(kafka) => Some(Self::Real(Box::new(kafka))),
            Err(why) => {
                skipped(test, &why);
                None
            }
        }
    }

    fn bootstrap(&self) -> String {
        match self {
            Self::Ours { address, .. } => address.clone(),
            Self::Real(kafka) => kafka.bootstrap(),
        }
    }

    /// Ends a broker.
    async fn end(self, index: usize, is_killed: bool) -> Self {
        let ended = tokio::task::spawn_blocking(move || {
            let mut brokers = self;
            match &mut brokers {
                Self::Ours { running, .. } => {
                    let mut broker = running.take().expect("it runs");
                    if is_killed {
                        broker.kill().expect("killed");
                    } else {
                        broker.signal("TERM");
                        broker.wait(LIMIT);
                    }
                }
                Self::Real(kafka) if is_killed => kafka.kill(index).expect("killed"),
                Self::Real(kafka) => kafka.stop(index),
            }
            brokers
        });
        ended.await.expect("it ends")
    }

    /// Starts it again, at its address and with what it had.
    async fn revive(self, index: usize) -> Self {
        match self {
            Self::Ours { program, folder, address, .. } => {
                let (data, log) = (folder.path().join("data"), folder.path().join("log"));
                let (running, _) = start_with(&program, &address, &data, &log, &SETTINGS).await;
                Self::Ours { program, folder, running: Some(running), address }
            }
            Self::Real(mut kafka) => {
                let revived = tokio::task::spawn_blocking(move || kafka.revive(index).map(|()| kafka)).await;
                Self::Real(revived.expect("no panic").expect("it comes back"))
            }
        }
    }
}

async fn create_topic(bootstrap: &str, topic: &str, replicas: i16) {
    let admin = Admin::connect(AdminConfig::new().bootstrap_servers(bootstrap)).await.expect("an admin");
    let topics = [NewTopic::new(topic).partitions(PARTITIONS).replication_factor(replicas)];
    eventually("the topic", || async {
        let created = admin.create_topics(&topics).await;
        let created = created.map_err(|error| error.to_string())?;
        created.into_iter().try_for_each(|(_, created)| created.map(drop).map_err(|error| error.to_string()))
    })
    .await;
}

async fn brokers_go(mut brokers: Brokers, count: usize, few: usize, test: &str) {
    let bootstrap = brokers.bootstrap();
    create_topic(&bootstrap, "t", i16::try_from(count).expect("a few")).await;
    let mut classic = Group::begin(&bootstrap, "t", "classic", LONG_SESSION).await;
    let cooperative = Protocol::Classic("cooperative-sticky");
    classic.add(Kind::Ours, "classic-automatic", cooperative, &AUTOMATIC);
    classic.add(Kind::Java, "classic-java", cooperative, &[]);
    classic.add(Kind::Python, "classic-python", cooperative, &[]);
    let mut consumer = Group::begin(&bootstrap, "t", "consumer", LONG_SESSION).await;
    consumer.add(Kind::Ours, "consumer-ours", Protocol::Consumer, &[]);
    consumer.add(Kind::Java, "consumer-java", Protocol::Consumer, &[]);
    consumer.add(Kind::Python, "consumer-python", Protocol::Consumer, &[]);
    let mut groups = [classic, consumer];
    let load = Load::begin(&bootstrap, "t", PARTITIONS);
    for group in &mut groups {
        group.excuse_commits();
        group.start_all();
    }
    for group in &mut groups {
        group.settled("at first").await;
    }
    for turn in 0..turns(few) {
        let begun = clock();
        let (victim, is_killed) = (turn % count, turn.is_multiple_of(2));
        brokers = brokers.end(victim, is_killed).await;
        let ended = clock() - begun;
        if count > 1 {
            for group in &mut groups {
                group.goes_on(&format!("without broker {victim}")).await;
            }
        }
        brokers = brokers.revive(victim).await;
        let when = format!("after broker {victim} was {}", if is_killed { "killed" } else { "stopped" });
        for group in &mut groups {
            group.goes_on(&when).await;
            group.settled(&when).await;
        }
        say(&format!("{test}: the groups go on {when}, within {} ms of which its end took {ended}", clock() - begun));
    }
    let sent = load.end().await;
    for group in groups {
        let summary = group.finish(&sent).await;
        say(&format!("{test}: {summary:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours() {
    let test = "mixed_groups::broker_restarts::ours";
    if has_all_kinds(test).await
        && let Some(brokers) = Brokers::ours(test).await
    {
        brokers_go(brokers, 1, 4, test).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_kafkas() {
    let test = "mixed_groups::broker_restarts::one_of_kafkas";
    if has_all_kinds(test).await
        && let Some(brokers) = Brokers::real(1, test).await
    {
        brokers_go(brokers, 1, 1, test).await;
    }
}

/// Three brokers, so that coordinators and leaders move. They cost a build too much: only where somebody asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_kafkas() {
    let test = "mixed_groups::broker_restarts::three_of_kafkas";
    if turns(0) == 0 {
        return skipped(test, "RKAFKA_RESTARTS says how often, and is not set");
    }
    if has_all_kinds(test).await
        && let Some(brokers) = Brokers::real(3, test).await
    {
        brokers_go(brokers, 3, 0, test).await;
    }
}
