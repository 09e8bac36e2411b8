//! What other tools were measured to do wrong, a test for each case, on a broker of ours and on Apache Kafka (which creates
//! topics that somebody asks for).

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

use common::{At, Broker, Ran, rkafka, run, send_signal};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Addresses that nobody listens on, for they were free a moment ago.
fn nowhere() -> At {
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    At { address: format!("{},{}", port(), port()), is_real: false }
}

#[test]
fn broker_down_list_produce_consume() {
    for words in [
        &["topics", "list"][..],
        &["groups", "list"],
        &["groups", "describe", "g"],
        &["produce", "t"],
        &["consume", "t"],
        &["consume", "t", "-G", "g"],
        &["cluster", "info"],
    ] {
        let ran = nowhere().run(words, b"a line\n");
        ran.fails(3, &["refused"]);
        assert_eq!(ran.text(), "", "{words:?}");
    }
}

/// Asserts that a topic is not there.
#[track_caller]
fn is_missing(at: &At, topic: &str) {
    let listed = at.ok(&["topics", "list"], b"");
    assert!(!text(&listed).lines().any(|line| line == topic), "{topic} is there");
}

on_both! {
    fn unknown_topic_is_4_and_is_not_created(at: &At) {
        let (topic, group) = (at.unique("missing"), at.unique("g"));
        for words in [
            &["consume", &topic, "-e"][..],
            &["consume", &topic, "-e", "-G", &group],
            &["topics", "describe", &topic],
            &["topics", "config", "get", &topic],
            &["offsets", &topic],
        ] {
            at.run(words, b"").fails(4, &[&topic, "not there"]);
        }
        at.run(&["produce", &topic], b"x\n").fails(4, &[&topic, "--create"]);
        let mut listed = rkafka();
        listed.args(["-L", "-b", &at.address, "-t", &topic]);
        assert_eq!(run(listed, b"").code, 1);
        is_missing(at, &topic);
    }
}

on_both! {
    fn unknown_group_is_4_to_describe_and_to_delete(at: &At) {
        let group = at.unique("no-group");
        for words in [
            &["groups", "describe", &group][..],
            &["groups", "lag", &group],
            &["groups", "delete", &group, "--yes"],
            &["groups", "reset", &group, "--all-topics", "--to-earliest", "--execute"],
        ] {
            at.run(words, b"").fails(4, &[&group]);
        }
    }
}

on_both! {
    fn delete_topic_one_missing(at: &At) {
        let (there, missing) = (at.unique("there"), at.unique("missing"));
        at.topic(&there, "1");
        let ran = at.run(&["topics", "delete", &there, &missing, "--yes"], b"");
        assert_eq!((ran.code, ran.text()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains(&format!("deleted topic `{there}`")) && ran.stderr.contains(&missing), "{ran:?}");
        is_missing(at, &there);
    }
}

on_both! {
    fn bad_flag_or_bad_value_is_2_in_one_line(at: &At) {
        let topic = at.unique("bad");
        at.topic(&topic, "1");
        at.ok(&["produce", &topic], b"x\n");
        for words in [&["-o", "banana"][..], &["--bogus"], &["-f", "%z"], &["-X", "fetch.min.byte=1"], &["-c", "many"]] {
            let ran = at.run(&[&["consume", &topic, "-e"], words].concat(), b"");
            ran.fails(2, &[]);
            assert_eq!(ran.text(), "");
        }
    }
}

on_both! {
    fn record_beyond_the_brokers_limit_in_a_batch_of_5(at: &At) {
        let topic = at.unique("limit");
        at.ok(&["topics", "create", &topic, "-p", "1", "-q", "-c", "max.message.bytes=600"], b"");
        let input = format!("1\n2\n{}\n4\n5\n", "x".repeat(1000));
        let words = ["produce", &topic, "--on-error", "continue", "-X", "linger.ms=200"];
        let ran = at.run(&words, input.as_bytes());
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("line 3 of stdin") && ran.stderr.contains("4 records acknowledged, 1 failed"), "{ran:?}");
        assert_eq!(text(&at.ok(&["consume", &topic, "-e"], b"")), "1\n2\n4\n5\n");
    }
}

on_both! {
    fn record_beyond_the_clients_limit_line_3_of_5(at: &At) {
        let topic = at.unique("limit");
        at.topic(&topic, "1");
        let input = format!("1\n2\n{}\n4\n5\n", "x".repeat(2000));
        let words = ["produce", &topic, "-X", "max.request.size=1000"];
        at.run(&words, input.as_bytes()).fails(1, &["line 3 of stdin", "`max.request.size`", "2 records acknowledged, 1 failed"]);
        assert_eq!(text(&at.ok(&["consume", &topic, "-e"], b"")), "1\n2\n");
    }
}

on_both! {
    fn last_line_without_newline_is_sent(at: &At) {
        let topic = at.unique("newline");
        at.topic(&topic, "1");
        at.ok(&["produce", &topic], b"one\ntwo");
        assert_eq!(text(&at.ok(&["consume", &topic, "-e"], b"")), "one\ntwo\n");
    }
}

on_both! {
    fn missing_input_file_among_2_is_2_and_nothing_is_sent(at: &At) {
        let topic = at.unique("files");
        at.topic(&topic, "1");
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there");
        std::fs::write(&there, "line\n").unwrap();
        let words = ["produce", &topic, there.to_str().unwrap(), "/nowhere/file"];
        at.run(&words, b"").fails(2, &["/nowhere/file", "nothing was sent"]);
        assert_eq!(text(&at.ok(&["consume", &topic, "-e"], b"")), "");
    }
}

#[test]
fn broker_restarts_in_the_middle_of_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::on_disk(folder.path());
    broker.topic("t", "1");
    let mut child = broker.command(&["produce", "t"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut send = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            writeln!(stdin, "{number}").unwrap();
        }
    };
    send(0..700);
    // Some have arrived, and others are under way.
    assert_eq!(broker.ok(&["consume", "t", "-c", "100"], b"").iter().filter(|byte| **byte == b'\n').count(), 100);
    let address = broker.address.clone();
    broker.kill();
    send(700..1_400);
    let broker = Broker::on_disk_at(folder.path(), &address);
    send(1_400..1_500);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let expected: String = (0..1_500).map(|number| format!("{number}\n")).collect();
    assert_eq!(text(&broker.ok(&["consume", "t", "-e"], b"")), expected, "each once, and in order");
}

/// Starts it with its stdout piped.
fn started(at: &At, words: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = at.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let reader = BufReader::new(child.stdout.take().unwrap());
    (child, reader)
}

fn next_line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

on_both! {
    fn consume_head_1_on_an_idle_topic_prints_and_ends(at: &At) {
        let (topic, group) = (at.unique("idle"), at.unique("g"));
        at.topic(&topic, "1");
        at.ok(&["produce", &topic], b"one\n");
        for words in [&["consume", &topic][..], &["consume", &topic, "-G", &group, "-o", "beginning"]] {
            let (child, mut reader) = started(at, words);
            assert_eq!(next_line(&mut reader), "one\n");
            drop(reader);
            assert_eq!(ended(child), (Some(0), String::new()));
        }
    }
}

on_both! {
    /// What was not read must come again; what was read may.
    fn group_consume_head_5_and_what_the_next_run_gets(at: &At) {
        let (topic, group) = (at.unique("head"), at.unique("g"));
        at.topic(&topic, "1");
        let input: String = (0..1_000).map(|number| format!("{number}\n")).collect();
        at.ok(&["produce", &topic], input.as_bytes());
        let words = ["consume", &topic, "-G", &group, "-o", "beginning"];
        let (child, mut reader) = started(at, &words);
        for number in 0..5 {
            assert_eq!(next_line(&mut reader), format!("{number}\n"));
        }
        drop(reader);
        assert_eq!(ended(child), (Some(0), String::new()));
        let rest = at.ok(&[&words[..], &["-e"]].concat(), b"");
        let rest = text(&rest);
        assert!(input.ends_with(rest), "records in their order to the last");
        assert!(rest.lines().next().unwrap().parse::<u32>().unwrap() <= 5, "nothing that was not read is lost");
    }
}

/// What the group has committed of partition 0; 0 where it is nothing.
fn committed(at: &At, group: &str) -> u64 {
    let lag = at.run(&["groups", "lag", group, "-o", "json"], b"");
    serde_json::from_slice::<serde_json::Value>(&lag.stdout).map_or(0, |lag| lag[0]["offset"].as_u64().unwrap_or(0))
}

on_both! {
    /// What is in the pipe and has not been read is not committed, however it ends and however often it commits.
    fn group_consume_with_a_slow_reader_and_sigint(at: &At) {
        let (topic, group) = (at.unique("slow"), at.unique("g"));
        at.topic(&topic, "1");
        for batch in 0..20 {
            let input: String = (0..50).map(|number| format!("{:06}\n", batch * 50 + number)).collect();
            at.ok(&["produce", &topic], input.as_bytes());
        }
        let words = ["consume", &topic, "-G", &group, "-o", "beginning", "-X", "auto.commit.interval.ms=10"];
        let (mut child, reader) = started(at, &words);
        let mut pipe = reader.into_inner();
        let mut read = vec![0; 7 * 120];
        pipe.read_exact(&mut read).unwrap();
        // It commits the two batches that are read, and no more though all are written.
        common::eventually(|| committed(at, &group), |offset| *offset > 0);
        send_signal(&child, "INT");
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let offset = committed(at, &group);
        assert!((1..=120).contains(&offset), "{offset} committed, and 120 read");
        drop(pipe);
        let rest = at.ok(&["consume", &topic, "-G", &group, "-e"], b"");
        assert_eq!(text(&rest).lines().next().unwrap().parse::<u64>().unwrap(), offset);
    }
}

on_both! {
    fn a_group_that_is_not_to_commit_commits_nothing(at: &At) {
        let (topic, group) = (at.unique("nothing"), at.unique("g"));
        at.topic(&topic, "1");
        at.ok(&["produce", &topic], b"one\n");
        let words = ["consume", &topic, "-G", &group, "-o", "beginning", "-e", "-X", "enable.auto.commit=false"];
        assert_eq!(text(&at.ok(&words, b"")), "one\n");
        assert_eq!(text(&at.ok(&words, b"")), "one\n");
    }
}

#[cfg(target_os = "linux")]
mod full_disk {
    use super::*;

    on_both! {
        fn stdout_is_dev_full(at: &At) {
            let topic = at.unique("full");
            at.topic(&topic, "1");
            at.ok(&["produce", &topic], b"one\n");
            for words in [&["consume", &topic, "-e"][..], &["topics", "list"], &["cluster", "brokers"]] {
                let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
                let child = at.command(words).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
                let (code, said) = ended(child);
                assert_eq!(code, Some(1), "{words:?}: {said}");
                assert!(said.starts_with("rkafka: cannot write to stdout: No space left"), "{said}");
            }
        }
    }
}

on_both! {
    fn sigint_and_sigterm_of_consume(at: &At) {
        let topic = at.unique("signal");
        at.topic(&topic, "1");
        at.ok(&["produce", &topic], b"one\n");
        for (signal, code) in [("INT", 130), ("TERM", 143)] {
            let (child, mut reader) = started(at, &["consume", &topic]);
            assert_eq!(next_line(&mut reader), "one\n");
            send_signal(&child, signal);
            assert_eq!(ended(child).0, Some(code));
        }
    }
}

on_both! {
    fn sigint_of_produce_with_stdin_open(at: &At) {
        let topic = at.unique("signal");
        at.topic(&topic, "1");
        let mut child = at.command(&["produce", &topic]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"one\ntwo\n").unwrap();
        // A slow pipe: each line goes out though more may come.
        assert_eq!(text(&at.ok(&["consume", &topic, "-c", "2"], b"")), "one\ntwo\n");
        send_signal(&child, "INT");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(said.contains("2 records acknowledged, 0 failed"), "{said}");
        drop(stdin);
    }
}

on_both! {
    fn stdout_is_data_and_nothing_else(at: &At) {
        let (topic, group) = (at.unique("pure"), at.unique("g"));
        at.topic(&topic, "2");
        let ran = at.run(&["produce", &topic, "-v"], b"one\n");
        assert_eq!((ran.code, ran.text()), (0, ""));
        for words in [&["consume", &topic, "-e", "-v"][..], &["consume", &topic, "-e", "-v", "-G", &group, "-o", "beginning"]] {
            let ran = at.run(words, b"");
            assert_eq!((ran.code, ran.text()), (0, "one\n"), "{}", ran.stderr);
        }
    }
}

on_both! {
    fn a_small_topic_is_read_to_its_end_and_no_further(at: &At) {
        let topic = at.unique("end");
        at.topic(&topic, "3");
        at.ok(&["produce", &topic, "-K:"], b"a:1\nb:2\nc:3\nf:4\n");
        for words in [&["-e"][..], &["-o", ":end"], &["-o", "beginning", "-e"], &["-o", "0:end"]] {
            let printed = at.ok(&[&["consume", &topic], words].concat(), b"");
            let mut lines: Vec<&str> = text(&printed).lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, ["1", "2", "3", "4"], "{words:?}");
        }
    }
}

on_both! {
    fn keys_a_to_j_on_3_partitions_go_where_java_and_kcat_put_them(at: &At) {
        let input: String = ('a'..='j').map(|key| format!("{key}:\n")).collect();
        let places = |topic: &str| {
            let printed = at.ok(&["consume", topic, "-e", "-f", "%k%p\\n"], b"");
            let mut lines: Vec<String> = text(&printed).lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines.join(" ")
        };
        let (java, kcat) = (at.unique("java"), at.unique("kcat"));
        at.topic(&java, "3");
        at.ok(&["produce", &java, "-K:"], input.as_bytes());
        assert_eq!(places(&java), "a1 b2 c1 d2 e2 f0 g0 h1 i2 j2");
        at.topic(&kcat, "3");
        let mut command = rkafka();
        command.args(["-P", "-b", &at.address, "-t", &kcat, "-K:"]).env("HOME", "/nonexistent");
        let ran: Ran = run(command, input.as_bytes());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(places(&kcat), "a0 b2 c0 d0 e0 f2 g1 h0 i1 j0");
    }
}

on_both! {
    fn a_group_reads_the_topics_that_match(at: &At) {
        let (prefix, group) = (at.unique("match"), at.unique("g"));
        for name in ["a", "b"] {
            at.topic(&format!("{prefix}.{name}"), "1");
            at.ok(&["produce", &format!("{prefix}.{name}")], format!("{name}\n").as_bytes());
        }
        at.topic(&format!("x-{prefix}.a"), "1");
        at.ok(&["produce", &format!("x-{prefix}.a")], b"none of it\n");
        let sorted = |printed: Vec<u8>| {
            let mut lines: Vec<String> = text(&printed).lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        let pattern = format!("{prefix}\\.[ab]");
        let words = ["consume", "-r", &pattern, "-G", &group, "-o", "beginning", "-c", "2"];
        assert_eq!(sorted(at.ok(&words, b"")), ["a", "b"]);
        let mut kcat = rkafka();
        let (begins, group) = (format!("^{prefix}"), at.unique("g"));
        kcat.args(["-G", &group, "-b", &at.address, "-q", "-c", "2", "-X", "auto.offset.reset=earliest", &begins]);
        let ran = run(kcat, b"");
        assert_eq!((ran.code, sorted(ran.stdout)), (0, vec!["a".to_owned(), "b".to_owned()]));
        at.run(&["consume", "-r", &pattern], b"").fails(2, &["--group"]);
    }
}
