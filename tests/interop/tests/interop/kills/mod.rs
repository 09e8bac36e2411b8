//! Three brokers of Apache Kafka under load, of which one after another is killed as by `kill -9` and revived: nothing
//! that was acknowledged is lost, nothing is there twice or out of order, and transactions are whole.
//!
//! `RKAFKA_KILLS` says how many brokers are killed; by default as few as a build can wait for.

mod check;
mod load;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::client::{Client, ClientConfig, ClientSettings as _, Topics};
use rkafka_testkit::{RealKafka, eventually, skipped};
use tokio::task::JoinSet;

use crate::support::in_time;
use load::{Ledger, Transactions};

const BROKERS: usize = 3;
const PARTITIONS: i32 = 6;
const RECORDS: &str = "records";
const TRANSACTIONS: &str = "transactions";
/// How many brokers are killed where nobody says how many.
const KILLS: usize = 2;
/// How many acknowledgements show that the cluster goes on without the one that was killed.
const SIGNS_OF_LIFE: u64 = 200;

/// What the tasks that make the load share.
struct Load {
    bootstrap: String,
    /// Records that were acknowledged, and transactions that were committed.
    acknowledged: AtomicU64,
    stopped: AtomicBool,
}

impl Load {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_killed_and_revived_under_load() {
    let kills = std::env::var("RKAFKA_KILLS").map_or(KILLS, |text| text.parse().expect("RKAFKA_KILLS is a number"));
    let started = tokio::task::spawn_blocking(|| RealKafka::start(BROKERS as u16)).await.expect("no panic");
    let mut kafka = match started {
        Ok(kafka) => kafka,
        Err(why) => return skipped("kills::brokers_are_killed_and_revived_under_load", &why),
    };
    let bootstrap = kafka.bootstrap();
    create_topics(&bootstrap).await;
    let client = Client::connect(ClientConfig::new().bootstrap_servers(&*bootstrap)).await.expect("a client");
    let load = Arc::new(Load { bootstrap, acknowledged: AtomicU64::new(0), stopped: AtomicBool::new(false) });
    let ledgers = [Ledger::patient(), Ledger::hasty(), Ledger::compressing()].map(Arc::new);
    let transactions = ["payments", "invoices"].map(|id| Arc::new(Transactions::new(id)));
    let mut tasks = JoinSet::new();
    ledgers.iter().for_each(|ledger| drop(tasks.spawn(load::send_records(load.clone(), ledger.clone()))));
    transactions.iter().for_each(|ledger| drop(tasks.spawn(load::make_transactions(load.clone(), ledger.clone()))));
    grows(&load, "the load begins").await;
    whole(&client, true).await;
    for kill in 0..kills {
        let victim = kill % BROKERS;
        kafka.kill(victim).expect("killed");
        // Every third comes back before the others could take over from it.
        if kill % 3 != 2 {
            grows(&load, "the cluster goes on without one broker").await;
        }
        let revived = tokio::task::spawn_blocking(move || kafka.revive(victim).map(|()| kafka)).await;
        kafka = revived.expect("no panic").expect("it comes back");
        grows(&load, "the cluster goes on").await;
        whole(&client, false).await;
        if kills > KILLS {
            say(&format!("kill {} of {kills}: {} acknowledged", kill + 1, load.acknowledged()));
        }
    }
    load.stopped.store(true, Ordering::Relaxed);
    while let Some(ended) = in_time("the load ends", tasks.join_next()).await {
        ended.expect("no task panics");
    }
    let mut verdict = check::records(&load.bootstrap, &ledgers).await;
    verdict += check::transactions(&load.bootstrap, &transactions).await;
    say(&format!("{kills} brokers killed and revived: {verdict}"));
    assert!(verdict.is_good(), "{verdict}");
    assert!(verdict.acknowledged > 1_000, "too little load to show anything: {verdict}");
}

/// Says something past the harness's capture: a run of many kills takes long, and its figures are what it is for.
fn say(line: &str) {
    use std::io::Write as _;
    drop(std::io::stderr().write_all(format!("\n{line}\n").as_bytes()));
}

async fn create_topics(bootstrap: &str) {
    let admin = Admin::connect(AdminConfig::new().bootstrap_servers(bootstrap)).await.expect("an admin");
    let topics = [RECORDS, TRANSACTIONS].map(|name| {
        let topic = NewTopic::new(name).partitions(PARTITIONS).replication_factor(BROKERS as i16);
        topic.config("min.insync.replicas", "2")
    });
    let created = admin.create_topics(&topics).await.expect("topics can be created");
    for (name, created) in created {
        if let Err(error) = created {
            panic!("{name}: {error}");
        }
    }
}

/// Waits until more was acknowledged, by a number that no single answer brings.
async fn grows(load: &Load, what: &str) {
    let before = load.acknowledged();
    eventually(what, || async {
        let grown = load.acknowledged() - before;
        if grown >= SIGNS_OF_LIFE { Ok(()) } else { Err(format!("{grown} acknowledgements")) }
    })
    .await;
}

/// Waits until every replica is in sync, so that the next broker can go. The first time, internal topics may still be
/// missing.
async fn whole(client: &Client, first: bool) {
    eventually("every replica is in sync", || async {
        let names = [RECORDS, TRANSACTIONS, "__transaction_state", "__consumer_offsets"];
        let cluster = client.refresh(Topics::named(names)).await.map_err(|error| error.to_string())?;
        for name in names {
            let Some(topic) = cluster.topic(name) else {
                if first && name.starts_with("__") {
                    continue;
                }
                return Err(format!("{name} is not there"));
            };
            if let Some(partition) = topic.partitions.iter().find(|partition| partition.isr.len() < BROKERS) {
                return Err(format!("{name}-{}: in sync are {:?}", partition.index, partition.isr));
            }
        }
        Ok(())
    })
    .await;
}
