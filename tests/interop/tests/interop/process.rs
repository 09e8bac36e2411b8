//! `rkafka broker run` as a process: foreign clients, and `kill -9`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rkafka_testkit::{Child, create_topic, eventually, skipped};

use crate::support::{has_kcat, kcat, read_all, send_values, text};

/// The command line, which `cargo test --workspace` and `cargo build` leave beside the tests' folder.
fn command_line() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let program = test.parent()?.parent()?.join("rkafka").with_extension(std::env::consts::EXE_EXTENSION);
    program.exists().then_some(program)
}

/// Starts a broker and gives it with its address. Its stderr is the test's.
async fn start(program: &Path, listen: &str, data: &Path) -> (Child, String) {
    let mut command = Command::new(program);
    command.args(["broker", "run", "--listen", listen, "--data-dir"]).arg(data);
    let port_known = !listen.ends_with(":0");
    let mut child = Child::spawn(&command, None, |command| {
        command.stdout(Stdio::piped());
    })
    .expect("the broker starts");
    let address = if port_known {
        listen.to_owned()
    } else {
        let stdout = child.stdout().expect("piped");
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(Duration::from_secs(60), line).await;
        let line = line.expect("the address is printed").expect("no panic").expect("a line");
        line.split_whitespace().find(|word| word.contains("127.0.0.1:")).unwrap_or_default().to_owned()
    };
    eventually("the broker", || async {
        std::net::TcpStream::connect(&address).map(drop).map_err(|error| format!("{address}: {error}"))
    })
    .await;
    (child, address)
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
    let data = folder.path().join("data");
    let (mut broker, address) = start(&program, "127.0.0.1:0", &data).await;
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
        broker = start(&program, &address, &data).await.0;
        let records = read_all(&address, "kept", 1).await;
        let values: Vec<&str> = records.iter().map(|record| text(record.value()).expect("a value")).collect();
        assert!(values == expected, "round {round}: {} of {} records", values.len(), expected.len());
        let printed = kcat(&address, &["-C", "-t", "kept", "-p", "0", "-o", "beginning", "-e", "-q"], b"").await;
        assert!(printed.lines().eq(expected.iter()), "round {round}: kcat reads the same");
    }
    broker.signal("TERM");
    assert!(broker.wait(Duration::from_secs(60)).code().is_some_and(|code| code == 0 || code == 143));
}
