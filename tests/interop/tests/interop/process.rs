//! `rkafka broker run` as a process: foreign clients, and `kill -9`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rkafka_testkit::{Child, create_topic, eventually, skipped};

use crate::support::{has_kcat, kcat, read_all, send_values, text};

/// The command line, which `cargo test --workspace` and `cargo build` leave beside the tests' folder.
pub fn command_line() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let program = test.parent()?.parent()?.join("rkafka").with_extension(std::env::consts::EXE_EXTENSION);
    program.exists().then_some(program)
}

/// Starts a broker on `listen` and gives it with the address that it says it is ready on.
async fn start(program: &Path, listen: &str, data: &Path, log: &Path) -> (Child, String) {
    start_with(program, listen, data, log, &[]).await
}

/// As [`start`], with more arguments.
pub async fn start_with(program: &Path, listen: &str, data: &Path, log: &Path, more: &[&str]) -> (Child, String) {
    let mut command = Command::new(program);
    command.args(["broker", "run", "--listen", listen, "--data-dir"]).arg(data).args(more);
    let said = File::create(log).expect("a file");
    let child = Child::spawn(&command, None, |command| {
        command.stderr(said);
    });
    let address = eventually("the broker", || async {
        let said = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
        let ready = said.split_once("ready on ").and_then(|(_, rest)| rest.split_once(','));
        ready.map(|(address, _)| address.to_owned()).ok_or(said)
    })
    .await;
    (child.expect("the broker starts"), address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_comes_back_with_every_record() {
    let test = "process::a_killed_process_comes_back_with_every_record";
    let Some(program) = command_line() else {
        return skipped(test, "`rkafka` is not built: run the tests of the whole workspace");
    };
    if !has_kcat(test) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let (mut broker, address) = start(&program, "127.0.0.1:0", &data, &log).await;
    let at = address.clone();
    tokio::task::spawn_blocking(move || create_topic(&at, "kept", 1, &[])).await.expect("created");

    let mut expected = Vec::new();
    for round in 0..4 {
        let ours: Vec<String> = (0..500).map(|number| format!("{round} ours {number}")).collect();
        send_values(&address, "kept", 1, ours.clone().into_iter()).await;
        let theirs: Vec<String> = (0..500).map(|number| format!("{round} theirs {number}")).collect();
        kcat(&address, &["-P", "-t", "kept", "-p", "0", "-z", "lz4"], theirs.join("\n").as_bytes()).await;
        expected.extend(ours);
        expected.extend(theirs);
        broker.kill().expect("killed");
        if round == 1 {
            // A write that was cut off by a loss of power: it is cut, and everything before it stays.
            let log = data.join("kept-0/00000000000000000000.log");
            let mut bytes = std::fs::read(&log).expect("the log");
            let torn = bytes[..200].to_vec();
            bytes.extend(torn);
            std::fs::write(&log, bytes).expect("the log");
        }
        broker = start(&program, &address, &data, &log).await.0;
        let records = read_all(&address, "kept", 1).await;
        let values: Vec<&str> = records.iter().map(|record| text(record.value()).expect("a value")).collect();
        assert!(values == expected, "round {round}: {} of {} records", values.len(), expected.len());
        let printed = kcat(&address, &["-C", "-t", "kept", "-p", "0", "-o", "beginning", "-e", "-q"], b"").await;
        assert!(printed.lines().eq(expected.iter()), "round {round}: kcat reads the same");
    }
    broker.signal("TERM");
    assert!(broker.wait(Duration::from_secs(60)).code().is_some_and(|code| code == 0 || code == 143));
}
