//! Members of rkafka, of Java and of librdkafka in one group, all processes, while records come: members go in good order,
//! by `kill -9`, or are held until the group gives them up; brokers go and come back; the group changes its protocol. What
//! everybody has said is judged in the end (`history.rs`): each record is processed, no partition has two owners, nothing
//! is committed that was not processed, each partition is read in order.
//!
//! `RKAFKA_RESTARTS` says how often members or brokers go in each test; by default as often as a build can wait for.

mod broker_restarts;
mod group;
mod history;
mod history_tests;
pub(crate) mod load;
mod member;
mod migration;
mod statics;
mod without_kip_848;
mod worker;

use std::time::{SystemTime, UNIX_EPOCH};

use rkafka_testkit::{Cluster, kafka_jars, on_both, skipped};

use crate::python::python;
use group::{Group, PARTITIONS, Protocol, SHORT_SESSION};
use load::Load;
use member::Kind;

/// Now, in milliseconds since 1970, on the clock by which all members tell the time.
#[expect(clippy::disallowed_methods, reason = "lines of several processes are put in order")]
fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    u64::try_from(since).expect("a time before the end of times")
}

/// How often something goes away, where `few` are enough for a build.
fn turns(few: usize) -> usize {
    std::env::var("RKAFKA_RESTARTS").map_or(few, |text| text.parse().expect("RKAFKA_RESTARTS is a number"))
}

/// Whether members of all kinds can be had; says so where not.
async fn has_all_kinds(test: &str) -> bool {
    let found = tokio::task::spawn_blocking(|| kafka_jars().and_then(|_| python())).await.expect("no panic");
    if let Err(why) = &found {
        skipped(test, why);
    }
    found.is_ok()
}

/// Says something past the harness's capture, where somebody has asked for a long run: its figures are what it is for.
fn say(line: &str) {
    use std::io::Write as _;
    if std::env::var_os("RKAFKA_RESTARTS").is_some() {
        drop(std::io::stderr().write_all(format!("\n{line}\n").as_bytes()));
    }
}

/// Settings of a member of ours that does not commit by itself.
const AUTOMATIC: [(&str, &str); 2] = [("enable.auto.commit", "true"), ("auto.commit.interval.ms", "100")];

/// How a member goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Stopped,
    Killed,
    /// It stands still until the group has given it up, and then goes on as if nothing had been.
    Held,
}

/// One member after another goes and comes back, in a build `few` times in all.
async fn members_go(cluster: &Cluster, protocol: Protocol, ways: &[Way], few: usize, test: &str) {
    if !has_all_kinds(test).await {
        return;
    }
    let (topic, id) = (cluster.topic("mixed", PARTITIONS, &[]).await, cluster.unique("mixed"));
    let bootstrap = cluster.bootstrap();
    let mut group = Group::begin(&bootstrap, &topic, &id, SHORT_SESSION).await;
    group.add(Kind::Ours, "ours", protocol, &[]);
    group.add(Kind::Java, "java", protocol, &[]);
    group.add(Kind::Ours, "automatic", protocol, &AUTOMATIC);
    group.add(Kind::Python, "python", protocol, &[]);
    let load = Load::begin(&bootstrap, &topic, PARTITIONS);
    group.start_all();
    group.settled("at first").await;
    let count = group.members.len();
    for turn in 0..turns(few) {
        let (victim, way) = (turn % count, ways[(turn + turn / count) % ways.len()]);
        let when = format!("after {} was {way:?}", group.members[victim].name);
        match way {
            Way::Stopped => group.members[victim].stop().await,
            Way::Killed => group.members[victim].kill(),
            Way::Held => {
                group.members[victim].hold();
                group.settled_without(&when, Some(victim)).await;
                group.members[victim].release();
            }
        }
        if !group.members[victim].is_running() {
            group.start(victim);
        }
        group.settled(&when).await;
    }
    let sent = load.end().await;
    let summary = group.finish(&sent).await;
    say(&format!("{test} on {}: {summary:?}", cluster.name()));
}

on_both! {
    async fn by_range(cluster: &Cluster) {
        members_go(cluster, Protocol::Classic("range"), &[Way::Stopped, Way::Killed], 2, "mixed_groups::by_range").await;
    }
}

on_both! {
    async fn by_cooperative_sticky(cluster: &Cluster) {
        let ways = [Way::Killed, Way::Stopped, Way::Held];
        members_go(cluster, Protocol::Classic("cooperative-sticky"), &ways, 3, "mixed_groups::by_cooperative_sticky").await;
    }
}

on_both! {
    async fn by_the_consumer_protocol(cluster: &Cluster) {
        let ways = [Way::Held, Way::Killed, Way::Stopped];
        members_go(cluster, Protocol::Consumer, &ways, 3, "mixed_groups::by_the_consumer_protocol").await;
    }
}
