//! Called as kcat it does what kcat does: both binaries, side by side, on the same broker.

mod common;

use std::process::Command;

use common::{Broker, Ran, rkafka, run};

/// kcat itself, where this machine has it.
fn kcat() -> Option<Command> {
    let found = Command::new("kcat").arg("-V").output().is_ok_and(|output| output.status.success());
    if !found {
        #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen to be")]
        {
            eprintln!("SKIPPED: kcat is not installed, so that nothing was compared with it");
        }
        return None;
    }
    let mut command = Command::new("kcat");
    // A file of the user's must not reach the tests.
    command.env("HOME", "/nonexistent").env_remove("KCAT_CONFIG").env_remove("KAFKACAT_CONFIG");
    Some(command)
}

fn ours() -> Command {
    let mut command = rkafka();
    command.arg("kcat").env("HOME", "/nonexistent").env_remove("KCAT_CONFIG").env_remove("KAFKACAT_CONFIG");
    command
}

fn ran(mut command: Command, broker: &Broker, words: &[&str], input: &[u8]) -> Ran {
    command.args(["-b", &broker.address]).args(words);
    run(command, input)
}

/// Asserts that both print the same and end alike; what they printed.
#[track_caller]
fn alike(broker: &Broker, words: &[&str]) -> Vec<u8> {
    let mine = ran(ours(), broker, words, b"");
    if let Some(kcat) = kcat() {
        let theirs = ran(kcat, broker, words, b"");
        let text = |ran: &Ran| String::from_utf8_lossy(&ran.stdout).into_owned();
        assert_eq!(
            (text(&mine), mine.code),
            (text(&theirs), theirs.code),
            "{words:?}: {} / {}",
            mine.stderr,
            theirs.stderr
        );
    }
    mine.stdout
}

/// Asserts that both send the same records and end alike.
#[track_caller]
fn sends_alike(broker: &Broker, topic: &str, partitions: &str, words: &[&str], input: &[u8]) -> String {
    let sent = |command: Command, topic: String| {
        broker.topic(&topic, partitions);
        let ran = ran(command, broker, &[&["-P", "-t", &topic], words].concat(), input);
        let format = "%p|%K|%k|%S|%s|%h;";
        let read = broker.ok(&["consume", &topic, "-e", "-f", format, "-Z"], b"");
        let mut records: Vec<String> =
            String::from_utf8(read).unwrap().split_inclusive(';').map(str::to_owned).collect();
        if partitions != "1" {
            records.sort();
        }
        (records.concat(), ran.stdout.clone(), ran.code, ran)
    };
    let mine = sent(ours(), format!("{topic}-mine"));
    if let Some(kcat) = kcat() {
        let theirs = sent(kcat, format!("{topic}-theirs"));
        assert_eq!((&mine.0, &mine.1, mine.2), (&theirs.0, &theirs.1, theirs.2), "{:?} / {:?}", mine.3, theirs.3);
    }
    mine.0
}

/// A topic with keys, nulls, headers and times.
fn filled() -> Broker {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    broker.topic("m", "3");
    let json = concat!(
        r#"{"key":"a","payload":"1","ts":1000,"headers":["a","1","b","","c",null]}"#,
        "\n",
        r#"{"key":null,"payload":"with \"quotes\", \\ and ü\n","ts":2000}"#,
        "\n",
        r#"{"key":"c","payload":null,"ts":3000}"#,
        "\n",
        r#"{"key":"","payload":"","ts":4000}"#,
        "\n",
    );
    broker.ok(&["produce", "t", "-J"], json.as_bytes());
    broker
}

#[test]
fn it_prints_as_kcat_does() {
    let broker = filled();
    for words in [
        &["-C", "-t", "t", "-e"][..],
        &["-C", "-t", "t", "-e", "-q", "-K:"],
        &["-Ce", "-t", "t", "-D", "|"],
        &["-C", "-t", "t", "-e", "-J"],
        &["-C", "-t", "t", "-e", "-f", "%t [%p] %o %T %k %K %S %h %s\\n"],
        &["-C", "-t", "t", "-e", "-f", "\\x41\\101%% %R"],
        &["-C", "-t", "t", "-c", "2"],
        &["-C", "-t", "t", "-o", "-2", "-e"],
        &["-C", "-t", "t", "-o", "2", "-e"],
        &["-C", "-t", "t", "-o", "99", "-e"],
        &["-C", "-t", "t", "-o", "beginning", "-e"],
        &["-C", "-t", "t", "-o", "end", "-e"],
        &["-C", "-t", "t", "-o", "s@2000", "-e"],
        &["-C", "-t", "t", "-o", "s@1000", "-o", "e@3000"],
        &["-C", "-t", "t", "-p", "0", "-e", "-u"],
        &["-C", "-t", "t", "-p", "7", "-e"],
        &["-C", "-t", "missing", "-e"],
        &["-C", "-t", "t", "-f", "%z", "-e"],
        &["-C", "-t", "t", "-e", "-X", "foo=bar"],
        &["-C", "-t", "t", "-e", "-X", "topic.auto.offset.reset=earliest"],
        &["-C", "-e"],
        &["-C", "-t", "t", "-y"],
        &["-G", "group", "t", "-e", "-o", "beginning"],
        &["-L"],
        &["-L", "-J"],
        &["-L", "-t", "m"],
        &["-L", "-t", "m", "-J"],
        &["-Q", "-t", "t:0:2500"],
        &["-Q", "-t", "t:0:-1", "-t", "m:2:-2"],
        &["-Q", "-t", "t:0:9999", "-J"],
        &["-Q", "-t", "t"],
    ] {
        alike(&broker, words);
    }
}

#[test]
fn it_sends_as_kcat_does() {
    let broker = Broker::in_memory();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("a"), "l1\nl2\n").unwrap();
    std::fs::write(path("b"), "m1\nm2").unwrap();
    let (a, b) = (path("a"), path("b"));
    let keys = b"a:1\nb:1\nc:1\nd:1\ne:1\nf:1\ng:1\nh:1\ni:1\nj:1\n";
    for (index, (words, input)) in [
        (&[][..], &b"one\n\ntwo"[..]),
        (&["-K:"], b"a:1\nb:\nnokey\n:x\nc:d:e\n"),
        (&["-K:", "-Z"], b"a:1\nb:\n:x\n"),
        (&["-D", "x", "-k", "key"], b"1x2x3"),
        (&["-H", "a=1", "-H", "b=", "-H", "c"], b"v\n"),
        (&["-c", "2"], b"1\n2\n3\n"),
        (&["-T"], b"1\n2\n"),
        (&["-z", "zstd"], b"1\n2\n"),
        (&["-z", "nozip"], b"1\n"),
        (&["-p", "0"], b"1\n"),
        (&["-p", "7"], b"1\n"),
        (&["-l", &a], b""),
        (&["-l", &a, &b], b""),
        (&[&a, &b], b""),
    ]
    .into_iter()
    .enumerate()
    {
        sends_alike(&broker, &format!("t{index}"), "1", words, input);
    }
    let records = sends_alike(&broker, "keys", "3", &["-K:"], keys);
    let mut placed: Vec<String> = records
        .split_terminator(';')
        .map(|record| {
            let parts: Vec<&str> = record.split('|').collect();
            format!("{}{}", parts[2], parts[0])
        })
        .collect();
    placed.sort();
    assert_eq!(placed.join(" "), "a0 b2 c0 d0 e0 f2 g1 h0 i1 j0");
}

#[test]
fn every_way_of_calling_it() {
    let broker = filled();
    let expected = b"1\n";
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("kcat");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rkafka"), &link).unwrap();
    for command in [Command::new(&link), rkafka(), ours()] {
        let got = ran(command, &broker, &[], b"");
        // Without a mode it is stdin that decides; without a topic it is 1 either way, where it is kcat's grammar.
        assert!(matches!(got.code, 1 | 2), "{got:?}");
    }
    for mut command in [Command::new(&link), ours(), rkafka()] {
        command.args(["-C", "-t", "t", "-c", "1", "-b", &broker.address]);
        let got = run(command, b"");
        assert_eq!((got.code, &got.stdout[..]), (0, &expected[..]), "{}", got.stderr);
    }
    // A file of kcat's, by its variable; and the mode by what stdin is.
    let file = folder.path().join("kcat.conf");
    std::fs::write(&file, format!("# kcat\nmetadata.broker.list={}\ntopic.acks=1\n", broker.address)).unwrap();
    let mut command = ours();
    command.env("KCAT_CONFIG", &file).args(["-t", "m", "-p", "1"]);
    let got = run(command, b"auto\n");
    assert_eq!((got.code, got.stderr.as_str()), (0, "% Auto-selecting Producer mode (use -P or -C to override)\n"));
    assert_eq!(broker.ok(&["consume", "m", "-e"], b""), b"auto\n");
}

#[test]
fn the_end_is_told_as_kcat_tells_it() {
    let broker = filled();
    let got = ran(ours(), &broker, &["-C", "-t", "t", "-e"], b"");
    assert_eq!(got.stderr, "% Reached end of topic t [0] at offset 4: exiting\n");
    let got = ran(ours(), &broker, &["-C", "-t", "t", "-e", "-q"], b"");
    assert_eq!(got.stderr, "");
}

#[test]
fn what_kcat_does_wrong_is_done_right() {
    let broker = filled();
    // It creates what is asked for, reads all for a word that is no offset, and writes bytes that are no JSON.
    let missing = ran(ours(), &broker, &["-L", "-t", "missing"], b"");
    assert_eq!((missing.code, missing.stdout.len()), (1, 0), "{missing:?}");
    assert!(missing.stderr.starts_with("% ERROR: topic `missing`"), "{}", missing.stderr);
    assert_eq!(broker.ok(&["topics", "list"], b""), b"m\nt\n");
    let banana = ran(ours(), &broker, &["-C", "-t", "t", "-o", "banana", "-e"], b"");
    assert_eq!((banana.code, banana.stdout.len()), (1, 0), "{banana:?}");
    assert_eq!(ran(ours(), &broker, &["-P", "-t", "t", "-O"], b"").code, 1);
    assert_eq!(ran(ours(), &broker, &["-P", "-t", "t", "/nowhere/a", "/nowhere/b"], b"").code, 1);
    broker.ok(&["produce", "m", "-p", "0"], b"\xff\n");
    let got = ran(ours(), &broker, &["-C", "-t", "m", "-e", "-J"], b"");
    let parsed: serde_json::Value = serde_json::from_slice(&got.stdout).unwrap();
    assert_eq!((parsed["payload"]["base64"].as_str(), parsed["broker"].as_i64()), (Some("/w=="), Some(1)));
}

#[test]
fn settings_are_listed_and_dumped() {
    let of = |words: &[&str]| {
        let mut command = ours();
        command.args(words);
        run(command, b"")
    };
    let listed = of(&["-X", "list"]);
    assert_eq!(listed.code, 0);
    assert_eq!(listed.text().lines().filter(|line| line.starts_with("bootstrap.servers ")).count(), 1);
    let dumped = of(&["-b", "one:1", "-X", "linger.ms=7", "-X", "dump"]);
    assert_eq!(dumped.code, 0, "{dumped:?}");
    let line = dumped.text().lines().find(|line| line.starts_with("linger.ms ")).unwrap();
    assert!(line.contains(" 7 "), "{line}");
    for words in [&["-C", "-t", "t", "-s", "avro"][..], &["-C", "-t", "t", "-r", "http://x"], &["-C", "-d", "all"]] {
        let ran = of(words);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains(words[words.len() - 2]), "{}", ran.stderr);
    }
}
