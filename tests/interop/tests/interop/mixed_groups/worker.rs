//! A member of our own as a process of its own: this program, started again as the test `member_of_our_own`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::consumer::{
    Batch, Consumer, ConsumerConfig, ConsumerHandle, HookFuture, RebalanceListener, TopicPartition,
};
use rkafka_testkit::pause;
use tokio::signal::unix::{SignalKind, signal};

use super::clock;

/// The topic, then a setting per line.
const ARGUMENTS: &str = "RKAFKA_TEST_MEMBER";
/// The file to say things in: stdout is the test harness's too.
const FILE: &str = "RKAFKA_TEST_FILE";
/// How long a record takes, so that there is a time in which it is done and not committed.
const WORK: Duration = Duration::from_millis(1);

/// The command that runs a member, which appends to `file`.
pub(super) fn command(arguments: &[String], file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
    command.args(["--exact", "mixed_groups::worker::member_of_our_own", "--nocapture"]);
    command.env(ARGUMENTS, arguments.join("\n")).env(FILE, file);
    command
}

/// What a member says, and what it has read and does not know to be committed.
#[derive(Clone)]
struct Diary {
    file: Arc<Mutex<File>>,
    read: Arc<Mutex<BTreeMap<i32, i64>>>,
    /// Whether commits come by themselves.
    is_automatic: bool,
}

impl Diary {
    /// A line is one write, so that a kill leaves the whole of it or nothing.
    fn say(&self, what: &str) {
        let line = format!("{} {what}\n", clock());
        self.file.lock().expect("no panic").write_all(line.as_bytes()).expect("written");
    }

    fn told(&self, what: &str, consumer: &ConsumerHandle, places: &[TopicPartition]) {
        let epoch = consumer.group_metadata().map_or(-1, |group| group.generation_id);
        let places: Vec<String> = places.iter().map(|place| format!(" {}", place.partition)).collect();
        self.say(&format!("{what} {epoch}{}", places.concat()));
    }

    fn note(&self, batch: &Batch) {
        for record in batch.records() {
            let record = record.expect("a record");
            let value = String::from_utf8_lossy(record.value.unwrap_or_default());
            self.say(&format!("read {} {} {value}", batch.partition(), record.offset));
            self.read.lock().expect("no panic").insert(batch.partition(), record.offset + 1);
        }
    }

    fn forget(&self, places: &[TopicPartition]) {
        let mut read = self.read.lock().expect("no panic");
        read.retain(|partition, _| places.iter().all(|place| place.partition != *partition));
    }

    async fn commit(&self, consumer: &ConsumerHandle) {
        let offsets = self.read.lock().expect("no panic").clone();
        if self.is_automatic || offsets.is_empty() {
            return;
        }
        match consumer.commit().await {
            Ok(()) => {
                let list: Vec<String> = offsets.iter().map(|(place, offset)| format!(" {place}:{offset}")).collect();
                self.say(&format!("committed{}", list.concat()));
                self.read.lock().expect("no panic").retain(|place, offset| offsets.get(place) != Some(offset));
            }
            Err(error) => self.say(&format!("error {error}")),
        }
    }
}

impl RebalanceListener for Diary {
    fn on_assigned<'a>(&'a self, consumer: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async { self.told("assigned", consumer, places) })
    }

    fn on_revoked<'a>(&'a self, consumer: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async {
            // Nothing of them is read any more.
            self.told("revoked", consumer, places);
            self.commit(consumer).await;
            self.forget(places);
        })
    }

    fn on_lost<'a>(&'a self, consumer: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async {
            self.told("lost", consumer, places);
            self.forget(places);
        })
    }
}

/// Nothing, where nobody has started it for what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_of_our_own() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let file = std::env::var_os(FILE).expect("a file to write to");
    let file = OpenOptions::new().create(true).append(true).open(file).expect("the file");
    let mut lines = arguments.lines();
    let topic = lines.next().expect("a topic");
    let mut config = ConsumerConfig::new();
    config.set("auto.offset.reset", "earliest").expect("a setting");
    config.set("enable.auto.commit", "false").expect("a setting");
    for line in lines {
        let (name, value) = line.split_once('=').expect("a setting");
        config.set(name, value).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let is_automatic = config.enable_auto_commit;
    let diary = Diary { file: Arc::new(Mutex::new(file)), read: Arc::default(), is_automatic };
    let mut term = signal(SignalKind::terminate()).expect("signals");
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.subscribe_with([topic], diary.clone()).expect("subscribed");
    let handle = consumer.handle();
    loop {
        let batch = tokio::select! {
            biased;
            _ = term.recv() => break,
            batch = consumer.next_batch() => batch,
        };
        match batch {
            Ok(batch) => {
                diary.note(&batch);
                pause(WORK * u32::try_from(batch.declared_records()).unwrap_or(u32::MAX)).await;
                diary.commit(&handle).await;
            }
            Err(error) if error.is_fatal() => {
                diary.say(&format!("fatal {error}"));
                break;
            }
            Err(error) => diary.say(&format!("error {error}")),
        }
    }
    diary.say("ends");
    if let Err(error) = consumer.close().await {
        diary.say(&format!("error {error}"));
    }
}
