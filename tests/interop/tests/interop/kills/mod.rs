//! Three brokers, each a process, under load by clients of ours and Java's, each a process too. Brokers are killed as by
//! `kill -9`, held, cut off and left without a disk, and clients are killed; what all clients saw is one history, in which
//! there must be no anomaly (`rkafka-history`).
//!
//! `RKAFKA_KILLS` says how many brokers are killed; by default as few as a build can wait for. `RKAFKA_HISTORY` names a
//! folder to keep histories in.

mod cast;
mod crew;
mod diary;
mod disk;
mod network;
mod outage;
mod worker;

use std::path::{Path, PathBuf};

use rkafka_testkit::{BrokerProcesses, Host, Program, kafka_jars, skipped};

use tokio::sync::{Mutex, MutexGuard};

use crate::process::command_line;
use cast::{Role, Trial};
use disk::SmallDisk;
use network::Network;

const BROKERS: usize = 3;
const PARTITIONS: i32 = 6;
const RECORDS: &str = "records";
const TRANSACTIONS: &str = "transactions";
/// The groups for which transactions commit offsets, each also the transactional id of who makes them: ours, and Java's.
const GROUPS: [&str; 2] = ["payments", "invoices"];
/// How many brokers are killed where nobody says how many.
const KILLS: usize = 2;

fn partition_name(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

fn kills() -> usize {
    std::env::var("RKAFKA_KILLS").map_or(KILLS, |text| text.parse().expect("RKAFKA_KILLS is a number"))
}

/// The program to run, or why it cannot be run.
fn program(which: &str) -> Result<Program, String> {
    // Java's clients are there in any case.
    kafka_jars()?;
    if which == "kafka" {
        return Ok(Program::Kafka);
    }
    let path = std::env::var_os("RKAFKA_PROGRAM").map(PathBuf::from).or_else(command_line);
    path.map(Program::Rkafka).ok_or_else(|| "`rkafka` is not built: run the tests of the whole workspace".to_owned())
}

/// Starts brokers on this machine, or says that `test` is skipped.
async fn brokers(which: &str, test: &str, hosts: Vec<Host>) -> Option<BrokerProcesses> {
    let which = which.to_owned();
    let started =
        tokio::task::spawn_blocking(move || BrokerProcesses::start(program(&which)?, &hosts, |_| String::new()));
    match started.await.expect("no panic") {
        Ok(brokers) => Some(brokers),
        Err(why) => {
            skipped(test, &why);
            None
        }
    }
}

/// Clusters of processes come one at a time: several at once would have no processor left for what they are to show.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// The roles in which brokers are troubled: as many as a build can wait for, or all where more is asked for.
fn roles() -> impl Iterator<Item = Role> {
    Role::ALL.into_iter().take(if is_asked_for() { Role::ALL.len() } else { 1 })
}

fn is_asked_for() -> bool {
    std::env::var_os("RKAFKA_KILLS").is_some()
}

/// What only shows that the load and its judge are right, for it is about Kafka's brokers, runs where it is asked for.
fn shows_the_reference(test: &str) -> bool {
    if !is_asked_for() {
        skipped(test, "it runs Kafka's brokers for long; RKAFKA_KILLS=2 asks for it");
    }
    is_asked_for()
}

/// Says something past the harness's capture: a run of many kills takes long, and its figures are what it is for.
fn say(line: &str) {
    use std::io::Write as _;
    drop(std::io::stderr().write_all(format!("\n{line}\n").as_bytes()));
}

/// Brokers are killed, each in a role that it has at that time, and clients beside them.
async fn killed(which: &str, test: &str) {
    let _turn = turn().await;
    let Some(brokers) = brokers(which, test, vec![Host::local(); BROKERS]).await else { return };
    let mut trial = Trial::begin(brokers).await;
    let kills = kills();
    for kill in 0..kills {
        let role = Role::ALL[kill % Role::ALL.len()];
        let victim = trial.who_is(role).await;
        trial.kill(victim);
        // Every third comes back before the others could take over from it.
        if kill % 3 != 2 {
            trial.goes_on("the cluster goes on without one broker").await;
        }
        trial.revive(victim).await;
        // Clients die as well, in the midst of what they do.
        match kill % 8 {
            3 => trial.workers[0].die_and_live(),
            7 => trial.workers[1].die_and_live(),
            _ => {}
        }
        trial.goes_on("the cluster goes on").await;
        trial.is_whole().await;
        if kills > KILLS {
            say(&format!(
                "{which}: kill {} of {kills}: {role:?} {}, {} acknowledged",
                kill + 1,
                victim + 1,
                trial.acknowledged()
            ));
        }
    }
    trial.end(&format!("{which}: {kills} brokers killed and revived")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_kafka_are_killed_and_revived_under_load() {
    killed("kafka", "kills::brokers_of_kafka_are_killed_and_revived_under_load").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_our_own_are_killed_and_revived_under_load() {
    killed("rkafka", "kills::brokers_of_our_own_are_killed_and_revived_under_load").await;
}

/// Brokers are held for longer than their session, and come back believing that they lead.
async fn held(which: &str, test: &str) {
    let _turn = turn().await;
    let Some(brokers) = brokers(which, test, vec![Host::local(); BROKERS]).await else { return };
    let mut trial = Trial::begin(brokers).await;
    for role in roles() {
        let victim = trial.who_is(role).await;
        trial.brokers().signal(victim, "STOP");
        trial.goes_on("the cluster goes on without one broker").await;
        trial.brokers().signal(victim, "CONT");
        trial.goes_on("the cluster goes on").await;
        trial.is_whole().await;
    }
    trial.end(&format!("{which}: {} brokers held", roles().count())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_kafka_are_held_under_load() {
    let test = "kills::brokers_of_kafka_are_held_under_load";
    if shows_the_reference(test) {
        held("kafka", test).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_our_own_are_held_under_load() {
    held("rkafka", "kills::brokers_of_our_own_are_held_under_load").await;
}

/// Brokers are cut off from everybody, and pairs of them from each other, for longer than their session.
async fn cut_off(which: &str, test: &str) {
    let _turn = turn().await;
    let network = match Network::new(BROKERS) {
        Ok(network) => network,
        Err(why) => return skipped(test, &why),
    };
    let Some(brokers) = brokers(which, test, network.hosts()).await else { return };
    let mut trial = Trial::begin(brokers).await;
    for role in roles() {
        let victim = trial.who_is(role).await;
        network.cut(victim);
        trial.goes_on("the cluster goes on without one broker").await;
        network.join(victim);
        trial.goes_on("the cluster goes on").await;
        trial.is_whole().await;
        // The third broker, and all clients, reach both.
        let other = (victim + 1) % BROKERS;
        network.cut_between(victim, other);
        trial.goes_on("the cluster goes on with two brokers that do not hear each other").await;
        network.join_between(victim, other);
        trial.goes_on("the cluster goes on").await;
        trial.is_whole().await;
    }
    trial.end(&format!("{which}: {} brokers cut off, and as many pairs", roles().count())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_kafka_are_cut_off_under_load() {
    let test = "kills::brokers_of_kafka_are_cut_off_under_load";
    if shows_the_reference(test) {
        cut_off("kafka", test).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_our_own_are_cut_off_under_load() {
    cut_off("rkafka", "kills::brokers_of_our_own_are_cut_off_under_load").await;
}

/// The disk of a broker is full. It goes, or does what it can without; with room again, it is as it was.
async fn without_room(which: &str, test: &str) {
    let _turn = turn().await;
    let turns = roles().count();
    let disk = match SmallDisk::new(128) {
        Ok(disk) => disk,
        Err(why) => return skipped(test, &why),
    };
    let mut hosts = vec![Host::local(); BROKERS];
    hosts[0].data = Some(disk.data());
    let Some(brokers) = brokers(which, test, hosts).await else { return };
    let mut trial = Trial::begin(brokers).await;
    for _ in 0..turns {
        disk.fill();
        trial.goes_on("the cluster goes on without room on one disk").await;
        trial.kill(0);
        trial.goes_on("the cluster goes on without one broker").await;
        disk.make_room();
        trial.revive(0).await;
        trial.goes_on("the cluster goes on").await;
        trial.is_whole().await;
    }
    trial.end(&format!("{which}: a disk full {turns} times")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_kafka_has_no_room_under_load() {
    let test = "kills::a_broker_of_kafka_has_no_room_under_load";
    if shows_the_reference(test) {
        without_room("kafka", test).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_our_own_has_no_room_under_load() {
    without_room("rkafka", "kills::a_broker_of_our_own_has_no_room_under_load").await;
}

/// Where histories are kept: in a folder that is named, or in one that goes with the test.
fn folder_of_histories(folder: &Path) -> PathBuf {
    match std::env::var_os("RKAFKA_HISTORY") {
        Some(kept) => {
            let kept = PathBuf::from(kept).join(format!("trial-{}", diary::clock()));
            std::fs::create_dir_all(&kept).expect("a folder for histories");
            kept
        }
        None => folder.to_owned(),
    }
}
