//! Every failure is one plain line and an exit code that scripts can rely on.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use common::{Broker, rkafka, run, send_signal};

fn alone(words: &[&str]) -> common::Ran {
    let mut command = rkafka();
    command.args(words);
    run(command, b"")
}

#[test]
fn a_wrong_command_line_is_2() {
    alone(&["produce", "t", "--bogus"]).fails(2, &["`--bogus`", "`rkafka produce --help`"]);
    alone(&["consume"]).fails(2, &["missing: <TOPICS>..."]);
    alone(&["consume", "t", "-o", "banana"]).fails(2, &["-o banana", "s@TIME"]);
    alone(&["consume", "t", "-f", "%z"]).fails(2, &["`%z`"]);
    alone(&["consume", "t", "-G", "g", "-o", "5"]).fails(2, &["with -G"]);
    alone(&["consume", "t", "-X", "fetch.min.byte=1"]).fails(2, &["did you mean `fetch.min.bytes`"]);
    alone(&["produce", "t", "-X", "acks"]).fails(2, &["NAME=VALUE"]);
    alone(&["produce", "t", "-z", "zip"]).fails(2, &["zip", "zstd"]);
    alone(&["produce", "t", "-b", "nowhere"]).fails(2, &["`nowhere`", "HOST:PORT"]);
    alone(&["produce", "t", "/nowhere/file"]).fails(2, &["/nowhere/file", "nothing was sent"]);
    alone(&["topics", "create", "t", "-p", "0"]).fails(2, &["`0`"]);
    alone(&["broker", "run"]).fails(2, &["--data-dir"]);
    alone(&["broker", "run", "--in-memory", "-X", "num.partition=1"]).fails(2, &["did you mean `num.partitions`"]);
    alone(&["broker", "run", "--in-memory", "--listen", "x"]).fails(2, &["--listen x"]);
}

#[test]
fn help_and_version_are_answers() {
    for words in [&["--help"][..], &["--version"], &["produce", "--help"], &["topics", "create", "--help"]] {
        let ran = alone(words);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        assert!(!ran.stdout.is_empty());
    }
}

#[test]
fn brokers_that_refuse_are_3_and_each_is_named() {
    // A port that was free a moment ago, and that nobody listens on.
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let brokers = format!("{},{}", port(), port());
    for words in [&["topics", "list"][..], &["produce", "t"], &["consume", "t"], &["consume", "t", "-G", "g"]] {
        let ran = alone(&[words, &["-b", &brokers]].concat());
        let mut parts: Vec<&str> = brokers.split(',').collect();
        parts.extend(["refused", "-b"]);
        ran.fails(3, &parts);
    }
    alone(&["topics", "list", "-b", "no-such-host.invalid:9092"]).fails(3, &["no-such-host.invalid"]);
}

#[test]
fn a_cluster_that_is_silent_is_3_when_the_time_is_over() {
    // It accepts connections, as the system does for it, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for words in [&["topics", "list"][..], &["produce", "t"], &["consume", "t"]] {
        alone(&[words, &["-b", &address, "--timeout", "300ms"]].concat()).fails(3, &["--timeout"]);
    }
}

#[test]
fn what_is_not_there_is_4_and_is_not_created() {
    let broker = Broker::in_memory();
    broker.topic("orders", "1");
    broker.run(&["produce", "order"], b"x\n").fails(4, &["`order`", "did you mean `orders`?", "--create"]);
    broker.run(&["consume", "clicks"], b"").fails(4, &["`clicks`", "rkafka topics create clicks"]);
    broker.run(&["consume", "clicks", "-G", "g"], b"").fails(4, &["`clicks`"]);
    broker.run(&["consume", "orders", "-p", "1"], b"").fails(4, &["no partition 1"]);
    broker.run(&["produce", "orders", "-p", "1"], b"x\n").fails(4, &["no partition 1"]);
    broker.run(&["topics", "describe", "clicks"], b"").fails(4, &["`clicks`"]);
    broker.run(&["topics", "delete", "clicks", "--yes"], b"").fails(4, &["`clicks`"]);
    assert_eq!(broker.ok(&["topics", "list"], b""), b"orders\n");
    let created = broker.run(&["produce", "clicks", "--create"], b"x\n");
    assert_eq!((created.code, created.stderr.as_str()), (0, "created topic `clicks`\n"));
    assert_eq!(broker.ok(&["consume", "clicks", "-e"], b""), b"x\n");
}

#[test]
fn topics_do_all_they_can_and_delete_only_when_told() {
    let broker = Broker::in_memory();
    broker.topic("a", "2");
    broker.run(&["topics", "create", "a"], b"").fails(1, &["there already", "--if-not-exists"]);
    broker.ok(&["topics", "create", "a", "--if-not-exists"], b"");
    broker.run(&["topics", "create", "b/c"], b"").fails(1, &["b/c"]);
    broker.run(&["topics", "create", "b", "-c", "retention.mss=1"], b"").fails(1, &["retention.mss"]);
    assert_eq!(broker.run(&["topics", "create", "b", "--dry-run"], b"").code, 0);
    broker.ok(&["topics", "create", "b", "-q", "-c", "retention.ms=1000", "-p", "3"], b"");
    assert_eq!(
        broker.ok(&["topics", "list", "-o", "table"], b""),
        b"TOPIC  PARTITIONS  INTERNAL\na      2           no\nb      3           no\n"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&broker.ok(&["topics", "describe", "b", "-o", "json"], b"")).unwrap();
    assert_eq!(json[0]["configs"]["retention.ms"], "1000");
    assert_eq!(json[0]["partitions"].as_array().unwrap().len(), 3);
    for line in broker.ok(&["topics", "describe", "-o", "jsonl"], b"").split_inclusive(|byte| *byte == b'\n') {
        serde_json::from_slice::<serde_json::Value>(line).unwrap();
    }
    let partly = broker.run(&["topics", "describe", "a", "missing", "-o", "name"], b"");
    assert_eq!((partly.code, partly.text()), (1, "a\n"));
    assert!(partly.stderr.contains("`missing`"));

    let plan = broker.run(&["topics", "delete", "a", "b"], b"y\n");
    assert_eq!(plan.code, 0);
    assert!(plan.stderr.contains("nothing was deleted") && plan.stderr.contains("`a`"), "{}", plan.stderr);
    assert_eq!(broker.ok(&["topics", "list"], b""), b"a\nb\n");
    let partly = broker.run(&["topics", "delete", "a", "missing", "--yes"], b"");
    assert_eq!(partly.code, 1);
    assert!(partly.stderr.contains("deleted topic `a`") && partly.stderr.contains("`missing`"), "{}", partly.stderr);
    assert_eq!(broker.ok(&["topics", "list"], b""), b"b\n");
}

#[test]
fn a_record_too_large_names_line_size_limit_and_setting() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    let mut input = b"one\n".to_vec();
    input.extend(vec![b'x'; 2000]);
    input.extend(b"\nthree\n");
    let limit = ["-X", "max.request.size=1000"];
    let words = [&["produce", "t"][..], &limit].concat();
    broker
        .run(&words, &input)
        .fails(1, &["line 2 of stdin", "1000", "`max.request.size`", "1 record acknowledged, 1 failed"]);
    assert_eq!(broker.ok(&["consume", "t", "-e"], b""), b"one\n");
    let ran = broker.run(&[&words[..], &["--on-error", "continue"]].concat(), &input);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("line 2 of stdin") && ran.stderr.contains("2 records acknowledged, 1 failed"));
    assert_eq!(broker.ok(&["consume", "t", "-e"], b""), b"one\none\nthree\n");

    // Where it is the broker's limit, the broker's answer names it.
    broker.ok(&["topics", "create", "small", "-q", "-c", "max.message.bytes=500"], b"");
    broker.run(&["produce", "small"], &input[4..2005]).fails(1, &["line 1 of stdin", "MESSAGE_TOO_LARGE"]);
}

#[test]
fn a_line_that_is_no_json_is_named() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    broker.run(&["produce", "t", "-J"], b"{}\nplain\n").fails(1, &["line 2 of stdin", "-J"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure_also_on_an_idle_topic() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    broker.ok(&["produce", "t"], b"one\n");
    for group in [&[][..], &["-G", "g", "-o", "beginning"]] {
        let mut command = broker.command(&[&["consume", "t"], group].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "one\n");
        drop(reader);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let mut said = String::new();
        child.stderr.unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_1() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    broker.ok(&["produce", "t"], b"one\n");
    for words in [&["consume", "t"][..], &["consume", "t", "-e"], &["topics", "list"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = broker.command(words).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(
            said.starts_with("rkafka: cannot write to stdout: No space left") && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[test]
fn ctrl_c_stops_produce_at_once_and_loses_nothing_that_was_read() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut command = broker.command(&["produce", "t"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It stays open until the end of the test.
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{signal}").unwrap();
        // The line has been read once it can be consumed.
        let offset = if signal == "INT" { "0" } else { "1" };
        assert_eq!(broker.ok(&["consume", "t", "-o", offset, "-c", "1"], b""), format!("{signal}\n").as_bytes());
        write!(stdin, "half a line").unwrap();
        send_signal(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let mut said = String::new();
        child.stderr.unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("1 record acknowledged, 0 failed") && said.lines().count() == 1, "{said}");
        drop(stdin);
    }
}

#[test]
fn ctrl_c_ends_consume_and_commits_what_was_printed() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    broker.ok(&["produce", "t"], b"1\n2\n");
    let consume = |signal: &str, expected: &str, code: i32| {
        let mut command = broker.command(&["consume", "t", "-G", "g", "-o", "beginning"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        for expected in expected.lines() {
            line.clear();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line.trim_end(), expected);
        }
        send_signal(&child, signal);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!((child.wait().unwrap().code(), rest.as_str()), (Some(code), ""));
    };
    consume("INT", "1\n2\n", 130);
    broker.ok(&["produce", "t"], b"3\n");
    consume("TERM", "3\n", 143);
}

#[test]
fn ctrl_c_ends_consume_though_its_reader_is_asleep() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    broker.ok(&["produce", "t"], &b"a line that fills pipes\n".repeat(100_000));
    let mut child = broker.command(&["consume", "t"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = child.stdout.take().unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    send_signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(reader);
}

#[test]
fn settings_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("server.properties"), "num.partitions=4\nprocess.roles=broker,controller\n").unwrap();
    let broker = Broker::start(&["--in-memory", "--config", &path("server.properties")]);
    let text = format!("bootstrap.servers={}\nlinger.ms=0\nauto.offset.reset=earliest\n", broker.address);
    std::fs::write(path("client.properties"), text).unwrap();
    let ran = alone(&["topics", "create", "t", "-F", &path("client.properties")]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "created topic `t`, 4 partitions, 1 replica\n"));
    std::fs::write(path("client.properties"), "\nlinger.mss=0\n").unwrap();
    alone(&["produce", "t", "-F", &path("client.properties")]).fails(2, &["line 2", "did you mean `linger.ms`"]);
    alone(&["produce", "t", "-F", &path("missing")]).fails(2, &["missing"]);
}

#[test]
fn a_broker_says_why_it_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::on_disk(folder.path());
    alone(&["broker", "run", "--in-memory", "--listen", &broker.address]).fails(1, &[&broker.address, "--listen"]);
    let path = folder.path().to_str().unwrap();
    alone(&["broker", "run", "--data-dir", path, "--listen", "127.0.0.1:0"]).fails(1, &[path, "in use"]);
    let file = folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let path = file.to_str().unwrap();
    alone(&["broker", "run", "--data-dir", path, "--listen", "127.0.0.1:0"]).fails(1, &[path]);
}
