//! Every example runs: on a broker of its own, and on a cluster that it is given.

use std::path::PathBuf;
use std::process::{Command, Output};

use rkafka_testkit::TestCluster;

/// The example's program, which `cargo test` builds beside this test.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let target = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/TEST");
    let program = target.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.exists(), "{} is not built: run `cargo test -p rkafka-examples`", program.display());
    program
}

fn run(name: &str, bootstrap: Option<&str>, arguments: &[&str]) -> Output {
    // Wherever it is started: no example may hang on the folder.
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(program(name));
    command.args(arguments).current_dir(elsewhere.path()).env_remove("RKAFKA_BOOTSTRAP");
    if let Some(bootstrap) = bootstrap {
        command.env("RKAFKA_BOOTSTRAP", bootstrap);
    }
    let output = command.output().expect("the example can be started");
    let left = std::fs::read_dir(elsewhere.path()).expect("the folder is there").count();
    assert_eq!(left, 0, "{name} leaves nothing behind");
    output
}

/// The example's stdout, after it has succeeded.
fn succeeds(name: &str, bootstrap: Option<&str>, arguments: &[&str]) -> String {
    let output = run(name, bootstrap, arguments);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} ended with {}\n{stdout}\n{stderr}", output.status);
    assert_eq!(stderr, "", "{name} has nothing to complain of");
    stdout.into_owned()
}

#[test]
fn the_tour_brings_back_what_it_sends() {
    let printed = succeeds("tour", None, &[]);
    assert!(printed.contains("(in this process, in memory)"), "{printed}");
    let verified = printed.lines().last().unwrap_or_default();
    assert!(verified.starts_with("verified  all ") && verified.contains(" records came back unchanged"), "{printed}");
    let records: usize = verified.split(' ').find_map(|word| word.parse().ok()).expect("a count of records");
    assert!(records > 10_000, "{printed}");
}

#[test]
fn the_tour_takes_any_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("lines");
    std::fs::write(&file, b"one two\n\n\xff\xfe binary\r\n  spaces\nno line feed at the end").expect("a file");
    let printed = succeeds("tour", None, &[file.to_str().expect("a path of letters")]);
    assert!(printed.contains("verified  all 5 records"), "{printed}");
    std::fs::write(&file, b"").expect("a file");
    for (path, why) in [(file.to_str().expect("a path of letters"), "not empty"), ("/not/there", "/not/there")] {
        let output = run("tour", None, &[path]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr.starts_with("error: ") && stderr.contains(why) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn the_tour_names_a_broker_that_is_not_there() {
    let output = run("tour", Some("127.0.0.1:1"), &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("error: ") && stderr.contains("127.0.0.1:1") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn each_example_runs_by_itself() {
    assert_eq!(succeeds("produce", None, &[]).lines().count(), 10);
    let ways = succeeds("ways_to_send", None, &[]);
    assert!(ways.ends_with("30 known to be written, 0 failed\n"), "{ways}");
    let json = succeeds("produce_json", None, &[]);
    assert!(json.contains(r#"{"customer":"alice","apples":3}"#) && json.contains("alice wants 3 apples"), "{json}");
    assert!(succeeds("blocking", None, &[]).ends_with("10 records written\n"));
    let shared = succeeds("consume_group", None, &[]);
    assert!(shared.contains("first  clicks") && shared.contains("second clicks"), "{shared}");
    let jobs = succeeds("share_group", None, &[]);
    assert!(jobs.contains("job 13 failed for now") && jobs.ends_with("30 jobs done, 1 given up\n"), "{jobs}");
    let billed = succeeds("exactly_once", None, &[]);
    assert!(billed.contains("interrupted: the power is off") && billed.ends_with("40 orders, 40 bills\n"), "{billed}");
    let most = succeeds("at_most_once", None, &[]);
    assert!(
        most.ends_with("9 of 10 records were dealt with, and none twice\n") && !most.contains("reading 3"),
        "{most}"
    );
    let least = succeeds("at_least_once", None, &[]);
    assert!(least.contains("10 of 10 records were dealt with, ") && !least.contains(" 0 of them twice"), "{least}");
    let parallel = succeeds("parallel", None, &[]);
    assert!(parallel.contains("customer 5: order 5 .. order 59"), "{parallel}");
    let dead = succeeds("dead_letter", None, &[]);
    assert!(dead.contains("-300 degrees are colder than cold") && dead.contains("3 temperatures were taken"), "{dead}");
    let typed = succeeds("typed_json", None, &[]);
    assert!(typed.contains("passed over: offset 1, the value") && typed.contains("12 pears"), "{typed}");
    let sought = succeeds("seek", None, &[]);
    assert!(sought.contains("21 o'clock") && sought.contains("noon is at offset Some(12)"), "{sought}");
    let topics = succeeds("admin_topics", None, &[]);
    assert!(topics.contains("retention.ms = 86400000") && topics.contains("deleted payments"), "{topics}");
}

#[test]
fn each_example_runs_on_a_cluster() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cluster = runtime.block_on(TestCluster::start());
    let bootstrap = cluster.bootstrap();
    for name in [
        "tour",
        "produce",
        "produce_json",
        "ways_to_send",
        "blocking",
        "consume_group",
        "at_most_once",
        "at_least_once",
        "exactly_once",
        "parallel",
        "dead_letter",
        "typed_json",
        "seek",
        "share_group",
        "admin_topics",
    ] {
        succeeds(name, Some(&bootstrap), &[]);
    }
    let printed = succeeds("tour", Some(&bootstrap), &[]);
    assert!(printed.contains("($RKAFKA_BOOTSTRAP)"), "{printed}");
}
