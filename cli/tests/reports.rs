//! `--report`: how produce and consume ended, as JSON for programs.

mod common;

use common::{Broker, rkafka, run};
use serde_json::{Value, json};

#[test]
fn the_end_is_told_in_json() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let file = path.to_str().unwrap();
    let told = || serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()).unwrap();
    broker.ok(&["produce", "t", "--report", file], b"1\n2\n3\n");
    assert_eq!(
        told(),
        json!({"sent": 3, "acked": 3, "failed": 0, "first_failed_source": null, "first_failed_line": null,
               "offsets": {"0": {"first": 0, "last": 2}}, "exit": 0, "error": null})
    );
    let words = ["produce", "t", "-X", "max.request.size=1000", "--on-error", "continue", "--report", file];
    let input = format!("ok\n{}\nok\n", "x".repeat(2000));
    assert_eq!(broker.run(&words, input.as_bytes()).code, 1);
    let said = told();
    assert_eq!((&said["sent"], &said["acked"], &said["failed"]), (&json!(3), &json!(2), &json!(1)));
    assert_eq!((&said["first_failed_source"], &said["first_failed_line"]), (&json!("stdin"), &json!(2)));
    assert_eq!((&said["exit"], said["error"].is_string()), (&json!(1), true));
    broker.run(&["produce", "missing", "--report", file], b"1\n").fails(4, &["`missing`"]);
    assert_eq!((&told()["sent"], &told()["exit"]), (&json!(0), &json!(4)));

    assert_eq!(broker.ok(&["consume", "t", "-c", "4", "--report", file], b""), b"1\n2\n3\nok\n");
    assert_eq!(told(), json!({"records": 4, "offsets": {"t": {"0": 4}}, "exit": 0, "error": null}));
    let mut command = rkafka();
    command.args(["consume", "t", "--report", "/nowhere/report"]);
    run(command, b"").fails(2, &["--report /nowhere/report"]);
}

#[test]
fn an_open_file_is_named_by_its_number() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    let script = format!("printf 'a\\n' | \"$0\" produce t -b {} --report 3 3>&1", broker.address);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_rkafka")]).env("XDG_CONFIG_HOME", "/nonexistent");
    let ran = run(command, b"");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(serde_json::from_slice::<Value>(&ran.stdout).unwrap()["acked"], 1);
}
