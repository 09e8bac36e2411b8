//! Share groups (KIP-932) with Kafka's own members and tools.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{ShareConsumer, ShareConsumerConfig};
use rkafka_testkit::{Child, eventually, on_both};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::mixed_groups::load::Load;
use crate::support::{LIMIT, configure_group, has_java, in_time, send_values, start_tool, text, tool, try_tool};

const CONFIGS: &str = "kafka.admin.ConfigCommand";
const SHARE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
const SHARE_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ShareGroupCommand";

/// The words of each line that begins with the group.
fn lines_of<'a>(printed: &'a str, group: &str) -> Vec<Vec<&'a str>> {
    let lines = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|words| words.first() == Some(&group)).collect()
}

on_both! {
    async fn a_java_share_group_reads_and_is_administered(cluster: &Cluster) {
        if !has_java("shares::a_java_share_group_reads_and_is_administered").await {
            return;
        }
        let (bootstrap, name) = (cluster.bootstrap(), cluster.name());
        let (topic, group) = (cluster.topic("java-share", 2, &[]).await, cluster.unique("java-share"));
        let at = ["--bootstrap-server", bootstrap.as_str()];
        let entity = ["--alter", "--entity-type", "groups", "--entity-name", &group];
        let earliest = ["--add-config", "share.auto.offset.reset=earliest"];
        tool(CONFIGS, &[&at[..], &entity, &earliest].concat(), b"").await;
        send_values(&bootstrap, &topic, 2, (0..60).map(|number| number.to_string())).await;
        let read = async |count: &str| {
            let arguments = ["--topic", &topic, "--group", &group, "--timeout-ms", "60000", "--max-messages", count];
            let printed = tool(SHARE_CONSUMER, &[&at[..], &arguments].concat(), b"").await;
            printed.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        // Each record is given to somebody once it was accepted, and is not given again.
        let all: BTreeSet<String> = (0..60).map(|number| number.to_string()).collect();
        let seen = read("60").await;
        assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (60, all.clone()), "on {name}");

        let groups = async |more: &[&str]| try_tool(SHARE_GROUPS, &[&at[..], more].concat(), b"").await;
        let done = async |more: &[&str]| {
            let (success, stdout, stderr) = groups(more).await;
            assert!(success, "on {name}: {more:?}\n{stdout}\n{stderr}");
            stdout
        };
        let listed = done(&["--list", "--state"]).await;
        assert_eq!(lines_of(&listed, &group), [[&group, "Empty"]], "on {name}: {listed}");
        let state = done(&["--describe", "--group", &group, "--state"]).await;
        let words = lines_of(&state, &group);
        assert!(words[0].contains(&"Empty") && words[0].last() == Some(&"0"), "on {name}: {state}");
        // Where the group starts is told differently: Kafka notes it when more is read. What is left is the same.
        let offsets = done(&["--describe", "--group", &group, "--offsets"]).await;
        let left: Vec<_> = lines_of(&offsets, &group).iter().map(|words| (words[1].to_owned(), words[4].to_owned())).collect();
        assert_eq!(left, vec![(topic.clone(), "0".to_owned()); 2], "on {name}: {offsets}");

        done(&["--group", &group, "--reset-offsets", "--to-earliest", "--topic", &topic, "--execute"]).await;
        let offsets = done(&["--describe", "--group", &group, "--offsets"]).await;
        let rows: BTreeSet<_> = lines_of(&offsets, &group).iter().map(|words| words[1..].join(" ")).collect();
        let expected = [0, 1].map(|partition| format!("{topic} {partition} 0 30"));
        assert_eq!(rows, expected.into(), "on {name}: {offsets}");
        assert_eq!(read("60").await.into_iter().collect::<BTreeSet<_>>(), all, "on {name}: all once more");

        done(&["--group", &group, "--delete-offsets", "--topic", &topic]).await;
        let deleted = done(&["--group", &group, "--delete"]).await;
        assert!(deleted.contains("was successful"), "on {name}: {deleted}");
        let listed = done(&["--list"]).await;
        assert!(!listed.lines().any(|line| line == group), "on {name}: {listed}");
    }
}

/// What a member has read, in the order of reading.
type Read = Arc<Mutex<Vec<String>>>;

/// A member of our own, which accepts each record by asking for the next.
async fn run_ours(bootstrap: &str, topic: &str, group: &str) -> (oneshot::Sender<()>, JoinHandle<()>, Read) {
    let config = ShareConsumerConfig::new().bootstrap_servers(bootstrap).group_id(group);
    let mut consumer = ShareConsumer::connect(config).await.expect("a share consumer");
    consumer.subscribe([topic]).expect("subscribed");
    let (stop, mut stopped) = oneshot::channel();
    let read = Read::default();
    let noted = Arc::clone(&read);
    #[expect(clippy::disallowed_methods, reason = "a member runs beside the test")]
    let task = tokio::spawn(async move {
        loop {
            let record = tokio::select! {
                biased;
                _ = &mut stopped => break,
                record = consumer.recv() => record.expect("a record"),
            };
            noted.lock().expect("no panic").push(text(record.value()).expect("a value").to_owned());
        }
        for result in consumer.commit().await.expect("answered") {
            assert_eq!(result.result, Ok(()), "{result:?}");
        }
        consumer.close().await.expect("closed");
    });
    (stop, task, read)
}

/// Kafka's own console member, and where it prints.
async fn run_javas(bootstrap: &str, topic: &str, group: &str, log: PathBuf) -> (Child, PathBuf) {
    let arguments = ["--bootstrap-server", bootstrap, "--topic", topic, "--group", group];
    (start_tool(SHARE_CONSUMER, &arguments, &log).await, log)
}

fn printed(log: &Path) -> Vec<String> {
    let printed = std::fs::read_to_string(log).unwrap_or_default();
    // The last line may not be whole; Java's warnings go to the same file.
    let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter(|line| line.parse::<u32>().is_ok()).map(str::to_owned).collect()
}

/// Waits until as many records are read as show that a member has its share.
async fn works(who: &str, read: impl Fn() -> usize) {
    let before = read();
    eventually(&format!("{who} reads"), || async {
        let count = read() - before;
        if count >= 30 { Ok(()) } else { Err(format!("{count} records")) }
    })
    .await;
}

on_both! {
    /// Members come and go, in good order and not, while records come: each record is accepted once, and none is left.
    async fn members_of_both_kinds_share_one_group(cluster: &Cluster) {
        if !has_java("shares::members_of_both_kinds_share_one_group").await {
            return;
        }
        let (bootstrap, name) = (cluster.bootstrap(), cluster.name());
        let (topic, group) = (cluster.topic("both-share", 2, &[]).await, cluster.unique("both-share"));
        let settings = [("share.auto.offset.reset", "earliest"), ("share.record.lock.duration.ms", "15000")];
        configure_group(&bootstrap, &group, &settings).await;
        let folder = tempfile::tempdir().expect("a folder");
        let javas = |life: &str| run_javas(&bootstrap, &topic, &group, folder.path().join(life));
        let ours = || run_ours(&bootstrap, &topic, &group);
        let load = Load::begin(&bootstrap, &topic, 2);
        let (stop_first, first, first_read) = ours().await;
        let (_stop_second, second, second_read) = ours().await;
        let (mut java, first_log) = javas("first").await;
        works("ours", || first_read.lock().expect("no panic").len()).await;
        works("java", || printed(&first_log).len()).await;
        // In good order: nothing of theirs is seen again.
        stop_first.send(()).expect("it runs");
        in_time("the end of our member", first).await.expect("no panic");
        let ended = tokio::task::spawn_blocking(move || {
            java.signal("TERM");
            java.wait(LIMIT)
        });
        ended.await.expect("it ends");
        let (stop_third, third, third_read) = ours().await;
        let (mut java, second_log) = javas("second").await;
        works("ours", || third_read.lock().expect("no panic").len()).await;
        works("java", || printed(&second_log).len()).await;
        // Not in good order: what they had and did not accept goes to others.
        second.abort();
        java.kill().expect("killed");
        let (mut java, third_log) = javas("third").await;
        works("java", || printed(&third_log).len()).await;

        let sent: BTreeSet<String> = load.end().await.into_values().flatten().collect();
        let orderly = || {
            let ours = [&first_read, &third_read].map(|read| read.lock().expect("no panic").clone());
            let javas = [&first_log, &third_log].map(|log| printed(log));
            ours.into_iter().chain(javas).flatten().collect::<Vec<String>>()
        };
        let cut_off = || [second_read.lock().expect("no panic").clone(), printed(&second_log)].concat();
        eventually("every record is read", || async {
            let read: BTreeSet<String> = orderly().into_iter().chain(cut_off()).collect();
            if read == sent { Ok(()) } else { Err(format!("on {name}: {:?}", sent.difference(&read).collect::<Vec<_>>())) }
        })
        .await;
        // What was cut off comes again; nothing is left in the end.
        let describe = ["--bootstrap-server", &bootstrap, "--describe", "--group", &group, "--offsets"];
        eventually("every record is accepted", || async {
            let offsets = tool(SHARE_GROUPS, &describe, b"").await;
            let left: Vec<&str> = lines_of(&offsets, &group).iter().map(|words| words[4]).collect();
            if left == ["0", "0"] { Ok(()) } else { Err(format!("on {name}: {offsets}")) }
        })
        .await;
        stop_third.send(()).expect("it runs");
        in_time("the end of our member", third).await.expect("no panic");
        let ended = tokio::task::spawn_blocking(move || {
            java.signal("TERM");
            java.wait(LIMIT)
        });
        ended.await.expect("it ends");
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        orderly().into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
        counts.retain(|_, count| *count > 1);
        assert!(counts.is_empty(), "accepted more than once on {name}: {counts:?}");
    }
}
