//! `rkafka groups`: what it prints, what it says, and how it ends.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::{Broker, Ran};
use serde_json::{Value, json};

/// A broker with a topic of five records in one partition, of which group `g` has read three.
fn with_group() -> Broker {
    let broker = Broker::in_memory();
    broker.topic("orders", "1");
    broker.ok(&["produce", "orders"], b"1\n2\n3\n");
    assert_eq!(broker.ok(&["consume", "orders", "-G", "g", "-o", "beginning", "-e", "-q"], b""), b"1\n2\n3\n");
    broker.ok(&["produce", "orders"], b"4\n5\n");
    broker
}

fn ends(ran: &Ran, code: i32, stdout: &str, stderr: &str) {
    assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (code, stdout, stderr));
}

fn json_of(broker: &Broker, words: &[&str]) -> Value {
    serde_json::from_slice(&broker.ok(words, b"")).unwrap()
}

#[test]
fn groups_are_listed_with_their_lag() {
    let broker = with_group();
    ends(
        &broker.run(&["groups", "list"], b""),
        0,
        "GROUP  TYPE     STATE  PROTOCOL\ng      classic  Empty  consumer\n",
        "",
    );
    ends(&broker.run(&["group", "list", "-o", "name"], b""), 0, "g\n", "");
    ends(&broker.run(&["groups", "list", "--state", "Stable", "-o", "jsonl"], b""), 0, "", "");
    broker.run(&["groups", "list", "--state", "sleepy"], b"").fails(2, &["`sleepy`", "Stable"]);
    ends(
        &broker.run(&["groups", "lag"], b""),
        0,
        "GROUP  TOPIC   PARTITION  OFFSET  END  LAG  CLIENT-ID\ng      orders  0          3       5    2    -\n",
        "",
    );
    ends(
        &broker.run(&["groups", "lag", "g", "--total", "-o", "yaml"], b""),
        0,
        "- group: g\n  type: classic\n  state: Empty\n  members: 0\n  lag: 2\n",
        "",
    );
    let described = json_of(&broker, &["groups", "describe", "g", "-o", "json"]);
    assert_eq!(described[0]["state"], "Empty");
    assert_eq!(described[0]["lag"], 2);
    let offsets = json!([{
        "topic": "orders", "partition": 0, "offset": 3, "end": 5, "lag": 2,
        "client_id": null, "member": null, "host": null,
    }]);
    assert_eq!(described[0]["offsets"], offsets);
    let bold = broker.ok(&["groups", "list", "--color", "always"], b"");
    assert!(bold.starts_with(b"\x1b[1mGROUP"), "{bold:?}");
}

#[test]
fn a_group_that_is_not_there_is_4_and_named() {
    let broker = with_group();
    for words in [&["groups", "describe", "gg"][..], &["groups", "lag", "gg"], &["groups", "delete", "gg", "--yes"]] {
        broker.run(words, b"").fails(4, &["group `gg` is not there", "did you mean `g`?"]);
    }
    broker.run(&["groups", "delete-offsets", "x", "orders", "--yes"], b"").fails(4, &["group `x`"]);
    broker.run(&["groups", "remove-members", "x", "--all", "--yes"], b"").fails(4, &["group `x`"]);
    broker.run(&["groups", "reset", "x", "--all-topics", "--to", "earliest"], b"").fails(4, &["group `x`"]);
    let partly = broker.run(&["groups", "lag", "g", "x", "-o", "name"], b"");
    assert_eq!((partly.code, partly.text()), (1, "orders:0\n"));
    assert!(partly.stderr.contains("`x`"), "{}", partly.stderr);
}

#[test]
fn reset_shows_where_to_and_moves_only_when_told() {
    let broker = with_group();
    let moved = |words: &[&str]| {
        let words = [&["groups", "reset", "g", "-o", "jsonl", "-q"], words].concat();
        let row: Value = serde_json::from_slice(&broker.ok(&words, b"")).unwrap();
        row["new_offset"].as_i64().unwrap()
    };
    ends(
        &broker.run(&["groups", "reset", "g", "--topic", "orders", "--to", "earliest"], b""),
        0,
        "GROUP  TOPIC   PARTITION  OFFSET  NEW-OFFSET  END\ng      orders  0          3       0           5\n",
        "nothing was changed; --execute does it\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("offsets.csv");
    std::fs::write(&file, "orders,0,4\n").unwrap();
    let file = file.to_str().unwrap();
    for (words, offset) in [
        (&["--to-earliest"][..], 0),
        (&["--to-latest"], 5),
        (&["--to-current"], 3),
        (&["--to-offset", "2"], 2),
        (&["--shift-by", "-2"], 1),
        (&["--shift-by", "1"], 4),
        (&["--to-datetime", "2020-01-01T00:00:00Z"], 0),
        (&["--to-datetime", "2100-01-01"], 5),
        (&["--by-duration", "1h"], 0),
        (&["--by-duration", "PT1H"], 0),
        (&["--from-file", file], 4),
        (&["--to", "+1"], 4),
        (&["--to", "-1"], 2),
        (&["--to", "-1h"], 0),
        (&["--to", "1"], 1),
        (&["--to", "latest"], 5),
        (&["--to", "group:g"], 3),
        (&["--to", &format!("file:{file}")], 4),
    ] {
        assert_eq!(moved(&[words, &["--all-topics"]].concat()), offset, "{words:?}");
    }
    let lag = || json_of(&broker, &["groups", "lag", "g", "-o", "json"])[0]["lag"].clone();
    assert_eq!(lag(), 2, "all of that only showed");
    let done =
        broker.run(&["groups", "reset-offsets", "g", "--topic", "orders:0", "--to-offset", "1", "--execute"], b"");
    ends(
        &done,
        0,
        "GROUP  TOPIC   PARTITION  OFFSET  NEW-OFFSET  END\ng      orders  0          3       1           5\n",
        "moved group `g` in 1 partition\n",
    );
    assert_eq!(lag(), 4);
    let clamped = broker.run(&["groups", "reset", "g", "--topic", "orders", "--to", "99", "-o", "name"], b"");
    ends(
        &clamped,
        0,
        "orders:0\n",
        "orders-0: 99 is outside of 0 to 5; 5 is taken\nnothing was changed; --execute does it\n",
    );
    // A group may begin with its offsets.
    broker.ok(&["groups", "reset", "new", "--topic", "orders", "--to", "2", "--execute", "-q"], b"");
    assert_eq!(broker.ok(&["consume", "orders", "-G", "new", "-e", "-q"], b""), b"3\n4\n5\n");
}

#[test]
fn a_reset_that_cannot_be_is_refused() {
    let broker = with_group();
    let reset = |words: &[&str]| broker.run(&[&["groups", "reset", "g"], words].concat(), b"");
    reset(&["--topic", "orders"]).fails(2, &["missing"]);
    reset(&["--to", "earliest"]).fails(2, &["--all-topics"]);
    reset(&["--topic", "orders", "--to", "soon"]).fails(2, &["--to soon", "earliest"]);
    reset(&["--topic", "orders", "--to-earliest", "--to-latest"]).fails(2, &["do not go together"]);
    reset(&["--topic", "order", "--to", "earliest"]).code_and(4, "did you mean `orders`?");
    reset(&["--topic", "orders:7", "--to", "earliest"]).code_and(4, "no partition 7");
}

#[test]
fn a_group_in_use_is_refused_with_its_members_named() {
    let broker = with_group();
    for protocol in ["classic", "consumer"] {
        let setting = format!("group.protocol={protocol}");
        let words =
            ["consume", "orders", "-G", protocol, "-o", "beginning", "-X", &setting, "-X", "client.id=the-reader"];
        let mut child = broker.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "1\n");
        let in_use = ["in use by 1 member", "the-reader", "127.0.0.1"];
        broker
            .run(&["groups", "reset", protocol, "--all-topics", "--to", "earliest", "--execute"], b"")
            .fails(1, &in_use);
        broker.run(&["groups", "delete", protocol, "--yes"], b"").fails(1, &in_use);
        let described = json_of(&broker, &["groups", "describe", protocol, "-o", "json"]);
        assert_eq!(described[0]["type"], protocol);
        assert_eq!(described[0]["members"][0]["client_id"], "the-reader");
        assert_eq!(described[0]["members"][0]["assignment"], json!([{"topic": "orders", "partition": 0}]));
        let table = broker.ok(&["groups", "describe", protocol], b"");
        let table = String::from_utf8(table).unwrap();
        assert!(table.contains("1 member") && table.contains("orders:0"), "{table}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn offsets_and_groups_are_deleted_only_when_told() {
    let broker = with_group();
    ends(
        &broker.run(&["groups", "delete", "g"], b"y\n"),
        0,
        "",
        "would delete group `g` and all it has committed\nnothing was deleted; --yes deletes\n",
    );
    ends(
        &broker.run(&["groups", "delete-offsets", "g", "orders", "--dry-run"], b""),
        0,
        "",
        "would delete the offset of group `g` in orders-0\nnothing was deleted; --yes deletes\n",
    );
    broker.run(&["groups", "delete-offsets", "g", "order", "--yes"], b"").fails(4, &["did you mean `orders`?"]);
    ends(
        &broker.run(&["groups", "delete-offsets", "g", "orders", "--yes"], b""),
        0,
        "",
        "deleted the offsets of group `g` in 1 partition\n",
    );
    let partly = broker.run(&["groups", "delete", "g", "x", "--yes"], b"");
    // A group without members and offsets may have gone by itself.
    assert!(partly.stderr.contains("group `x` is not there"), "{}", partly.stderr);
    ends(&broker.run(&["groups", "list", "-o", "name"], b""), 0, "", "");
}

#[test]
fn members_are_removed_by_id_or_all() {
    let broker = with_group();
    let words = ["consume", "orders", "-G", "r", "-o", "beginning"];
    let mut child = broker.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let described = json_of(&broker, &["groups", "describe", "r", "-o", "json"]);
    let id = described[0]["members"][0]["member"].as_str().unwrap();
    // It is gone without a word, so that it cannot join anew.
    child.kill().unwrap();
    child.wait().unwrap();
    broker.run(&["groups", "remove-members", "r"], b"").fails(2, &["missing"]);
    broker.run(&["groups", "remove-members", "r", "nobody", "--yes"], b"").fails(4, &["no member `nobody`"]);
    let plan = broker.run(&["groups", "remove-members", "r", "--all"], b"");
    assert_eq!(plan.code, 0);
    assert!(plan.stderr.contains("would remove") && plan.stderr.contains("nothing was removed"), "{}", plan.stderr);
    ends(&broker.run(&["groups", "remove-members", "r", id, "--yes"], b""), 0, "", &format!("removed member {id}\n"));
    assert_eq!(json_of(&broker, &["groups", "describe", "r", "-o", "json"])[0]["members"], json!([]));
}
