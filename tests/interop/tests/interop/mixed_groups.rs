//! Members of rkafka, of Java and of librdkafka in one group, restarted one after another while records come: each
//! record is read once, no partition has two owners, and a static member that comes back moves nothing.
//!
//! What a member owns is what it says itself, by its hooks, with the machine's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use rkafka::consumer::{Consumer, ConsumerConfig, ConsumerHandle, HookFuture, RebalanceListener, TopicPartition};
use rkafka_testkit::{Child, eventually, kafka_jars, kafka_tool_command, on_both, skipped};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::python::python;
use crate::support::{LIMIT, in_time, send_values};

const PARTITIONS: i32 = 6;

/// Settings by Kafka's names, as all three take them.
type Settings = Vec<(String, String)>;

/// Lines of a member of our own.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    #[expect(clippy::disallowed_methods, reason = "lines of several processes are put in order")]
    fn say(&self, what: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        self.0.lock().expect("no panic").push(format!("{now} {what}"));
    }

    fn told(&self, what: &str, places: &[TopicPartition]) {
        let places: Vec<String> = places.iter().map(|place| format!(" {}", place.partition)).collect();
        self.say(&format!("{what}{}", places.concat()));
    }
}

impl RebalanceListener for Log {
    fn on_assigned<'a>(&'a self, _: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async { self.told("assigned", places) })
    }

    fn on_revoked<'a>(&'a self, consumer: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async {
            self.told("revoked", places);
            if let Err(error) = consumer.commit().await {
                self.say(&format!("error {error}"));
            }
        })
    }

    fn on_lost<'a>(&'a self, _: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async { self.told("lost", places) })
    }
}

/// A running member.
enum Running {
    Ours(oneshot::Sender<()>, JoinHandle<()>),
    Other(Child),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Ours,
    Java,
    Python,
}

/// A member over all of its lives.
struct Member {
    kind: Kind,
    name: String,
    settings: Settings,
    running: Option<Running>,
    /// The lives so far: files of other programs, logs of our own.
    files: Vec<PathBuf>,
    logs: Vec<Log>,
}

impl Member {
    fn new(kind: Kind, name: &str, settings: Settings) -> Self {
        Self { kind, name: name.to_owned(), settings, running: None, files: Vec::new(), logs: Vec::new() }
    }

    async fn start(&mut self, topic: &str, folder: &Path) {
        let pairs = self.settings.iter().map(|(name, value)| format!("{name}={value}"));
        let arguments: Vec<String> = std::iter::once(topic.to_owned()).chain(pairs).collect();
        let program = |name: &str| format!("{}/programs/{name}", env!("CARGO_MANIFEST_DIR"));
        let command = match self.kind {
            Kind::Ours => {
                let log = Log::default();
                self.logs.push(log.clone());
                self.running = Some(run_ours(&self.settings, topic, log).await);
                return;
            }
            Kind::Java => kafka_tool_command(&program("GroupMember.java"), &arguments).expect("the jars are there"),
            Kind::Python => {
                let mut command = Command::new(python().expect("Python is there"));
                command.arg(program("group_member.py")).args(&arguments);
                command
            }
        };
        let file = folder.join(format!("{}-{}", self.name, self.files.len()));
        let out = File::create(&file).expect("a file");
        let err = File::create(file.with_extension("err")).expect("a file");
        self.files.push(file);
        let child = Child::spawn(&command, None, |command| {
            command.stdout(out).stderr(err);
        });
        self.running = Some(Running::Other(child.expect("it starts")));
    }

    /// Ends it in good order.
    async fn stop(&mut self) {
        match self.running.take() {
            Some(Running::Ours(stop, task)) => {
                let _ = stop.send(());
                in_time("the end of our member", task).await.expect("no panic");
            }
            Some(Running::Other(mut child)) => {
                let ended = tokio::task::spawn_blocking(move || {
                    child.signal("TERM");
                    child.wait(LIMIT)
                });
                ended.await.expect("it ends");
            }
            None => {}
        }
    }

    /// What each life has said: the time, the word, and the rest.
    fn lives(&self) -> Vec<Vec<(u64, String, String)>> {
        let files = self.files.iter().map(|file| {
            let said = std::fs::read_to_string(file).unwrap_or_default();
            said.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        let logs = self.logs.iter().map(|log| log.0.lock().expect("no panic").clone());
        let parse = |line: String| {
            let (time, rest) = line.split_once(' ')?;
            let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            Some((time.parse().ok()?, word.to_owned(), rest.to_owned()))
        };
        files.chain(logs).map(|lines| lines.into_iter().filter_map(parse).collect()).collect()
    }

    /// What it owns now, by its own word.
    fn owned(&self) -> BTreeSet<i32> {
        let mut owned = BTreeSet::new();
        if self.running.is_some()
            && let Some(life) = self.lives().pop()
        {
            for (_, word, rest) in life {
                apply(&mut owned, &word, &rest);
            }
        }
        owned
    }

    /// How often hooks told of partitions that came or went, in its present life.
    fn moves(&self) -> usize {
        let life = self.lives().pop().unwrap_or_default();
        life.iter()
            .filter(|(_, word, rest)| ["assigned", "revoked", "lost"].contains(&&**word) && !rest.is_empty())
            .count()
    }
}

fn apply(owned: &mut BTreeSet<i32>, word: &str, rest: &str) {
    let numbers = || rest.split_whitespace().map(|number| number.parse::<i32>().expect("a number"));
    match word {
        "assigned" => owned.extend(numbers()),
        "revoked" | "lost" => owned.retain(|number| !numbers().any(|gone| gone == *number)),
        _ => {}
    }
}

async fn run_ours(settings: &Settings, topic: &str, log: Log) -> Running {
    let mut config = ConsumerConfig::new();
    for (name, value) in settings {
        config.set(name, value).expect("a setting of Kafka's");
    }
    config.set("auto.offset.reset", "earliest").expect("a setting");
    config.set("enable.auto.commit", "false").expect("a setting");
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.subscribe_with([topic], log.clone()).expect("subscribed");
    let (stop, mut stopped) = oneshot::channel();
    #[expect(clippy::disallowed_methods, reason = "a member runs beside the test")]
    let task = tokio::spawn(async move {
        loop {
            let batch = tokio::select! {
                biased;
                _ = &mut stopped => break,
                batch = consumer.next_batch() => batch,
            };
            match batch {
                Ok(batch) => {
                    for record in batch.records() {
                        let record = record.expect("a record");
                        log.say(&format!("read {}", String::from_utf8_lossy(record.value.unwrap_or_default())));
                    }
                    if let Err(error) = consumer.commit().await {
                        log.say(&format!("error {error}"));
                    }
                }
                Err(error) => log.say(&format!("error {error}")),
            }
        }
        log.say("ends");
        consumer.close().await.expect("closed");
    });
    Running::Ours(stop, task)
}

/// Waits until the members own all partitions between them, each in one place, and each has a share.
async fn settled(members: &[Member]) {
    eventually("the group settles", || async {
        let shares: Vec<BTreeSet<i32>> = members.iter().map(Member::owned).collect();
        let all: BTreeSet<i32> = shares.iter().flatten().copied().collect();
        let total: usize = shares.iter().map(BTreeSet::len).sum();
        let good =
            total == all.len() && all.len() == PARTITIONS as usize && shares.iter().all(|share| !share.is_empty());
        let names = || members.iter().map(|member| (&member.name, member.owned(), member.lives().pop()));
        if good { Ok(()) } else { Err(format!("{:#?}", names().collect::<Vec<_>>())) }
    })
    .await;
}

/// Everything that was read, and how often.
fn read(members: &[Member]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for life in members.iter().flat_map(Member::lives) {
        for (_, word, value) in life {
            if word == "read" {
                *counts.entry(value).or_default() += 1;
            }
        }
    }
    counts
}

/// Checks by the members' own words that no partition had two owners at one time.
fn assert_no_overlap(members: &[Member], on: &str) {
    // Begin and end of each ownership, by partition.
    let mut spans: BTreeMap<i32, Vec<(u64, u64, String)>> = BTreeMap::new();
    for member in members {
        for (number, life) in member.lives().into_iter().enumerate() {
            let mut since: BTreeMap<i32, u64> = BTreeMap::new();
            let mut last = 0;
            for (time, word, rest) in life {
                last = time;
                for partition in rest.split_whitespace().filter_map(|word| word.parse::<i32>().ok()) {
                    match word.as_str() {
                        "assigned" => drop(since.insert(partition, time)),
                        "revoked" | "lost" => {
                            if let Some(begun) = since.remove(&partition) {
                                let owner = format!("{} ({number})", member.name);
                                spans.entry(partition).or_default().push((begun, time, owner));
                            }
                        }
                        _ => {}
                    }
                }
            }
            for (partition, begun) in since {
                let end = if number + 1 == member.lives().len() { u64::MAX } else { last };
                spans.entry(partition).or_default().push((begun, end, format!("{} ({number})", member.name)));
            }
        }
    }
    assert_eq!(spans.len(), PARTITIONS as usize);
    for (partition, mut spans) in spans {
        spans.sort();
        for pair in spans.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "partition {partition} had two owners on {on}: {spans:?}");
        }
    }
}

/// A group over a rolling restart of all of its members.
async fn rolling_restart(cluster: &rkafka_testkit::Cluster, settings: &[(&str, &str)], is_static: bool, test: &str) {
    let found = tokio::task::spawn_blocking(|| kafka_jars().and_then(|_| python())).await.expect("no panic");
    if let Err(why) = found {
        return skipped(test, &why);
    }
    let (topic, group) = (cluster.topic("mixed", PARTITIONS, &[]).await, cluster.unique("mixed"));
    let bootstrap = cluster.bootstrap();
    let folder = tempfile::tempdir().expect("a folder");
    let of = |name: &str, kind: Kind| {
        let mut all: Settings =
            vec![("bootstrap.servers".to_owned(), bootstrap.clone()), ("group.id".to_owned(), group.clone())];
        if is_static {
            all.push(("group.instance.id".to_owned(), name.to_owned()));
        }
        for (setting, value) in settings {
            let value = match (*setting, *value, kind) {
                ("partition.assignment.strategy", "range", Kind::Java) => {
                    "org.apache.kafka.clients.consumer.RangeAssignor"
                }
                ("partition.assignment.strategy", "cooperative-sticky", Kind::Java) => {
                    "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"
                }
                (_, value, _) => value,
            };
            all.push(((*setting).to_owned(), value.to_owned()));
        }
        Member::new(kind, name, all)
    };
    let mut members =
        vec![of("java", Kind::Java), of("ours-1", Kind::Ours), of("python", Kind::Python), of("ours-2", Kind::Ours)];
    for member in &mut members {
        member.start(&topic, folder.path()).await;
    }
    settled(&members).await;
    let mut sent = 0;
    for round in 0..members.len() + 1 {
        let numbers = sent..sent + 120;
        sent = numbers.end;
        send_values(&bootstrap, &topic, PARTITIONS, numbers.map(|number| number.to_string())).await;
        if round == members.len() {
            break;
        }
        let before: Vec<(BTreeSet<i32>, usize)> =
            members.iter().map(|member| (member.owned(), member.moves())).collect();
        members[round].stop().await;
        members[round].start(&topic, folder.path()).await;
        settled(&members).await;
        if is_static {
            for (at, (member, (owned, moves))) in members.iter().zip(before).enumerate() {
                assert_eq!(member.owned(), owned, "{} after a restart of {}", member.name, members[round].name);
                assert!(
                    at == round || member.moves() == moves,
                    "{} was moved for {}",
                    member.name,
                    members[round].name
                );
            }
        }
    }
    eventually("every record is read", || async {
        let read = read(&members);
        if read.len() == sent { Ok(()) } else { Err(format!("{} of {sent}", read.len())) }
    })
    .await;
    for member in &mut members {
        member.stop().await;
    }
    let twice: Vec<_> = read(&members).into_iter().filter(|(_, count)| *count != 1).collect();
    let errors: Vec<_> =
        members.iter().flat_map(Member::lives).flatten().filter(|(_, word, _)| word == "error").collect();
    assert!(twice.is_empty(), "read more than once on {}: {twice:?}; {errors:?}", cluster.name());
    assert_no_overlap(&members, &cluster.name());
}

const QUICK: [(&str, &str); 2] = [("session.timeout.ms", "20000"), ("heartbeat.interval.ms", "300")];

on_both! {
    async fn by_range(cluster: &Cluster) {
        let settings = [&QUICK[..], &[("partition.assignment.strategy", "range")]].concat();
        rolling_restart(cluster, &settings, false, "mixed_groups::by_range").await;
    }
}

on_both! {
    async fn by_range_with_static_members(cluster: &Cluster) {
        let settings = [&QUICK[..], &[("partition.assignment.strategy", "range")]].concat();
        rolling_restart(cluster, &settings, true, "mixed_groups::by_range_with_static_members").await;
    }
}

on_both! {
    async fn by_cooperative_sticky(cluster: &Cluster) {
        let settings = [&QUICK[..], &[("partition.assignment.strategy", "cooperative-sticky")]].concat();
        rolling_restart(cluster, &settings, false, "mixed_groups::by_cooperative_sticky").await;
    }
}

on_both! {
    async fn by_the_consumer_protocol(cluster: &Cluster) {
        let settings = [("group.protocol", "consumer")];
        rolling_restart(cluster, &settings, false, "mixed_groups::by_the_consumer_protocol").await;
    }
}

on_both! {
    async fn by_the_consumer_protocol_with_static_members(cluster: &Cluster) {
        let settings = [("group.protocol", "consumer")];
        rolling_restart(cluster, &settings, true, "mixed_groups::by_the_consumer_protocol_with_static_members").await;
    }
}
