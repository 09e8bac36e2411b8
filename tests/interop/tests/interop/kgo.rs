//! The suite of franz-go, the client for Go that covers the protocol most widely: groups of every kind, transactions,
//! share groups, on several topics at a time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rkafka_testkit::{Cluster, skipped};

use crate::support::cache;

const VERSION: &str = "v1.22.2";
const PACKAGE: &str = "github.com/twmb/franz-go/pkg/kgo";

/// How many records each test moves; by itself the suite takes half a million, for a cluster with time to spare.
const RECORDS: &str = "10000";

/// How long the suite may take before it counts as hung, in Go's words and in ours, which are a little more patient.
const GO_LIMIT: &str = "25m";
const LIMIT: Duration = Duration::from_secs(26 * 60);

/// The suite as a program, and the folder of its sources, which it reads: built once, in the cache that also holds Kafka's
/// jars.
fn suite() -> Result<(PathBuf, PathBuf), String> {
    if std::env::var_os("RKAFKA_INTEROP").is_some_and(|value| value == "off") {
        return Err("RKAFKA_INTEROP=off".into());
    }
    Command::new("go").arg("version").output().map_err(|error| format!("`go` cannot be run: {error}"))?;
    let folder = cache()?.join(format!("franz-go-{VERSION}"));
    let (program, complete) = (folder.join("kgo.test"), folder.join(".complete"));
    if let Ok(sources) = std::fs::read_to_string(&complete) {
        return Ok((program, sources.into()));
    }
    let io = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(io)?;
    let module = format!("module suite\n\ngo 1.24\n\nrequire github.com/twmb/franz-go {VERSION}\n");
    std::fs::write(folder.join("go.mod"), module).map_err(io)?;
    std::fs::write(folder.join("suite.go"), format!("package suite\n\nimport _ \"{PACKAGE}\"\n")).map_err(io)?;
    go(&folder, &["mod", "tidy"])?;
    go(&folder, &["test", "-c", "-o", "kgo.test", PACKAGE])?;
    let sources = go(&folder, &["list", "-f", "{{.Dir}}", PACKAGE])?.trim().to_owned();
    std::fs::write(complete, &sources).map_err(io)?;
    Ok((program, sources.into()))
}

/// Runs `go`, and gives what it printed.
fn go(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("go").current_dir(folder).args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
    Err(format!("`go {}` fails: {why}", arguments.join(" ")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn franz_gos_own_suite_passes() {
    let (program, sources) = match tokio::task::spawn_blocking(suite).await.expect("no panic") {
        Ok(suite) => suite,
        Err(why) => return skipped("kgo::franz_gos_own_suite_passes", &why),
    };
    let cluster = Cluster::embedded().await;
    let run = tokio::process::Command::new(program)
        .current_dir(sources)
        .args(["-test.v", "-test.timeout", GO_LIMIT])
        .env("KGO_SEEDS", cluster.bootstrap())
        .env("KGO_TEST_RF", "1")
        .env("KGO_TEST_RECORDS", RECORDS)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, run).await.expect("the suite ends").expect("the suite runs");
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // What failed stands anywhere in many lines; the end of them tells of a crash.
    let failed: Vec<&str> = printed.lines().filter(|line| line.contains("--- FAIL")).collect();
    let tail: Vec<&str> = printed.lines().rev().take(60).collect();
    assert!(
        output.status.success(),
        "{failed:#?}\n{}\n{errors}",
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    );
    assert!(printed.contains("--- PASS: TestGroupETL"), "the suite did not meet the broker:\n{printed}");
}
