//! How long partitions take no records when a broker dies, as a client finds it: the longest time between two
//! acknowledgements around a `kill -9`.
//!
//! `RKAFKA_OUTAGES` says how often, of each kind; by default once, which shows that it ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::admin::{Admin, AdminConfig, ElectionType, NewTopic};
use rkafka::client::{Client, ClientConfig, ClientSettings as _, Topics};
use rkafka::producer::{Acks, Producer, ProducerConfig, Record};
use rkafka_testkit::{BrokerProcesses, Host, eventually, pause, skipped};
use tokio::task::JoinSet;

use super::diary::clock;
use super::{BROKERS, program, say, turn};
use crate::support::in_time;

const TOPIC: &str = "outage";
/// Between two records of a sender, beyond the time that the first takes.
const PACE: Duration = Duration::from_millis(5);
/// How many records that were sent after the kill show that a partition is back.
const SIGNS_OF_LIFE: usize = 5;

/// Sends records to one partition, one after the other, and remembers when each was sent and acknowledged.
struct Sender {
    partition: i32,
    acks: Acks,
    acknowledged: Mutex<Vec<(u64, u64)>>,
}

impl Sender {
    async fn run(self: Arc<Self>, bootstrap: String, stopped: Arc<AtomicBool>) {
        let config = ProducerConfig::new()
            .bootstrap_servers(bootstrap)
            .acks(self.acks)
            .linger(Duration::ZERO)
            // Nothing of what is measured is to be the client's own waiting.
            .retry_backoff(Duration::from_millis(10))
            .retry_backoff_max(Duration::from_millis(20))
            .reconnect_backoff(Duration::from_millis(10))
            .reconnect_backoff_max(Duration::from_millis(20));
        let producer = Producer::new(config).await.expect("a producer");
        while !stopped.load(Ordering::Relaxed) {
            let sent = clock();
            let record = Record::to(TOPIC).partition(self.partition).value("tick");
            if let Ok(delivery) = producer.send(record).await
                && delivery.await.is_ok()
            {
                self.acknowledged.lock().expect("no panic").push((sent, clock()));
            }
            pause(PACE).await;
        }
        producer.close(Duration::from_secs(5)).await.expect("closed");
    }

    fn is_back(&self, since: u64) -> bool {
        let acknowledged = self.acknowledged.lock().expect("no panic");
        acknowledged.iter().rev().take_while(|(sent, _)| *sent > since).count() >= SIGNS_OF_LIFE
    }

    /// The longest time between two acknowledgements of which the second came after the kill.
    fn longest_gap(&self, since: u64) -> Duration {
        let acknowledged = self.acknowledged.lock().expect("no panic");
        let pairs = acknowledged.windows(2).filter(|pair| pair[1].1 > since);
        Duration::from_micros(pairs.map(|pair| pair[1].1 - pair[0].1).max().unwrap_or_default())
    }
}

/// Least, median and most.
fn told(gaps: &mut [Duration]) -> String {
    gaps.sort();
    let millis = |at: usize| gaps.get(at).map_or(0, Duration::as_millis);
    format!("median {} ms ({}-{}), of {}", millis(gaps.len() / 2), millis(0), millis(gaps.len() - 1), gaps.len())
}

struct Measure {
    brokers: BrokerProcesses,
    admin: Admin,
    client: Client,
    senders: Vec<Arc<Sender>>,
}

impl Measure {
    async fn begin(which: &str) -> Result<Self, String> {
        let which = which.to_owned();
        // Kafka's own defaults.
        let defaults = |_| "broker.session.timeout.ms=9000\nbroker.heartbeat.interval.ms=2000\n".to_owned();
        let started = tokio::task::spawn_blocking(move || {
            BrokerProcesses::start(program(&which)?, &vec![Host::local(); BROKERS], defaults)
        });
        let brokers = started.await.expect("no panic")?;
        let bootstrap = brokers.bootstrap();
        let admin = Admin::connect(AdminConfig::new().bootstrap_servers(&*bootstrap)).await.expect("an admin");
        // Each broker leads one partition.
        let topic = NewTopic::new(TOPIC).assignments(vec![vec![1, 2, 3], vec![2, 3, 1], vec![3, 1, 2]]);
        for (name, created) in admin.create_topics([topic]).await.expect("topics can be created") {
            assert!(created.is_ok(), "{name}: {created:?}");
        }
        let client = Client::connect(ClientConfig::new().bootstrap_servers(&*bootstrap)).await.expect("a client");
        let senders = (0..BROKERS as i32).flat_map(|partition| [Acks::Leader, Acks::All].map(|acks| (partition, acks)));
        let senders = senders.map(|(partition, acks)| Sender { partition, acks, acknowledged: Mutex::default() });
        Ok(Self { brokers, admin, client, senders: senders.map(Arc::new).collect() })
    }

    /// Every replica is in sync, and every broker leads its own partition.
    async fn is_as_at_the_beginning(&self) {
        eventually("every broker leads its partition", || async {
            let cluster = self.client.refresh(Topics::named([TOPIC])).await.map_err(|error| error.to_string())?;
            let topic = cluster.topic(TOPIC).ok_or("no such topic")?;
            for partition in &topic.partitions {
                if partition.isr.len() < BROKERS {
                    return Err(format!("partition {}: in sync are {:?}", partition.index, partition.isr));
                }
            }
            if topic.partitions.iter().all(|one| one.leader == Some(one.index + 1)) {
                return Ok(());
            }
            let elected = self.admin.elect_leaders(ElectionType::Preferred, None).await;
            Err(format!("the leaders are others: {elected:?}"))
        })
        .await;
    }

    async fn controller(&self) -> usize {
        let leader = eventually("a controller", || async {
            let quorum = self.admin.describe_metadata_quorum().await.map_err(|error| error.to_string())?;
            quorum.leader.ok_or_else(|| "none leads".to_owned())
        });
        usize::try_from(leader.await - 1).expect("node ids begin with 1")
    }

    /// Kills a broker and gives how long each sender waited, by what its partition had to do with it.
    async fn kill(mut self, victim: usize, gaps: &mut BTreeMap<String, Vec<Duration>>, kind: &str) -> Self {
        self.brokers.kill(victim).expect("killed");
        let since = clock();
        eventually("every partition is back", || async {
            let missing = self.senders.iter().find(|sender| !sender.is_back(since));
            missing.map_or(Ok(()), |sender| Err(format!("partition {} with {:?}", sender.partition, sender.acks)))
        })
        .await;
        for sender in &self.senders {
            let place = if sender.partition == victim as i32 { "led by it" } else { "led by others" };
            let row = format!("{kind}, partition {place}, acks={}", if sender.acks == Acks::All { "all" } else { "1" });
            gaps.entry(row).or_default().push(sender.longest_gap(since));
        }
        let revived = tokio::task::spawn_blocking(move || self.brokers.revive(victim).map(|()| self)).await;
        let measure = revived.expect("no panic").expect("it comes back");
        measure.is_as_at_the_beginning().await;
        measure
    }
}

fn times() -> Option<usize> {
    std::env::var("RKAFKA_OUTAGES").ok().map(|text| text.parse().expect("RKAFKA_OUTAGES is a number"))
}

async fn measured(which: &str, test: &str) {
    let _turn = turn().await;
    let times = times().unwrap_or(1);
    let mut measure = match Measure::begin(which).await {
        Ok(measure) => measure,
        Err(why) => return skipped(test, &why),
    };
    measure.is_as_at_the_beginning().await;
    let stopped = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for sender in &measure.senders {
        tasks.spawn(Arc::clone(sender).run(measure.brokers.bootstrap(), Arc::clone(&stopped)));
    }
    let mut gaps = BTreeMap::new();
    for time in 0..2 * times {
        // What was before is over, for everybody.
        pause(Duration::from_secs(3)).await;
        let controller = measure.controller().await;
        let (victim, kind) = match time % 2 {
            0 => ((controller + 1 + time / 2 % 2) % BROKERS, "another broker dies"),
            _ => (controller, "the active controller dies"),
        };
        measure = measure.kill(victim, &mut gaps, kind).await;
    }
    stopped.store(true, Ordering::Relaxed);
    while let Some(ended) = in_time("the senders end", tasks.join_next()).await {
        ended.expect("no sender panics");
    }
    for (row, gaps) in &mut gaps {
        say(&format!("{which}: {row}: {}", told(gaps)));
        assert!(gaps.len() >= times, "every kill is measured");
    }
    assert_eq!(gaps.len(), 8, "both kinds of kills, of partitions and of acknowledgements");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_of_our_own_brokers_have_new_leaders_soon() {
    measured("rkafka", "kills::outage::partitions_of_our_own_brokers_have_new_leaders_soon").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_of_kafkas_brokers_have_new_leaders_soon() {
    let test = "kills::outage::partitions_of_kafkas_brokers_have_new_leaders_soon";
    match times() {
        Some(_) => measured("kafka", test).await,
        None => skipped(test, "it measures the reference; RKAFKA_OUTAGES=1 asks for it"),
    }
}
