//! What goes in by `produce` comes out by `consume`, byte for byte.

mod common;

use common::Broker;

/// Lines of every length, with bytes that are no text, and a last one without a line feed.
fn lines() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut state = 1u32;
    for length in 0..2000usize {
        for _ in 0..length % 307 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = (state >> 24) as u8;
            bytes.push(if byte == b'\n' { 0xff } else { byte });
        }
        bytes.push(b'\n');
    }
    bytes.extend(b"the end");
    bytes
}

#[test]
fn every_codec_and_every_ack() {
    let broker = Broker::in_memory();
    let lines = lines();
    let mut expected = lines.clone();
    expected.push(b'\n');
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for acks in ["0", "1", "all"] {
            let topic = format!("{codec}-{acks}");
            broker.topic(&topic, "1");
            broker.ok(&["produce", &topic, "-z", codec, "--acks", acks], &lines);
            let count = expected.iter().filter(|byte| **byte == b'\n').count().to_string();
            // Without an acknowledgement the records may still be on their way.
            let out = broker.ok(&["consume", &topic, "-c", &count], b"");
            assert!(out == expected, "{topic}: {} bytes in, {} out", expected.len(), out.len());
        }
    }
}

#[test]
fn files_one_after_the_other_and_stdin() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("a"), "a1\na2").unwrap();
    std::fs::write(path("b"), "").unwrap();
    std::fs::write(path("c"), "c1\n").unwrap();
    broker.ok(&["produce", "t", &path("a"), &path("b"), "-", &path("c")], b"stdin\n");
    assert_eq!(broker.ok(&["consume", "t", "-e"], b""), b"a1\na2\nstdin\nc1\n");
}

#[test]
fn keys_nulls_and_headers() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    broker.ok(&["produce", "t", "-K", ":", "-H", "h=1", "-H", "n", "-H", "h=2"], b"a:1\nb:\nnone\n:x\n");
    broker.ok(&["produce", "t", "-K", "\\t", "-Z"], b"c\t\n\td\n");
    broker.ok(&["produce", "t", "-k", "all", "-D", "||"], b"x\ny||z");
    let out = broker.ok(&["consume", "t", "-e", "-f", "%k|%K|%s|%S|%h;", "-Z"], b"");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "a|1|1|1|h=1,n=NULL,h=2;b|1||0|h=1,n=NULL,h=2;NULL|-1|none|4|h=1,n=NULL,h=2;|0|x|1|h=1,n=NULL,h=2;\
         c|1|NULL|-1|;NULL|-1|d|1|;all|3|x\ny|3|;all|3|z|1|;"
    );
    assert_eq!(broker.ok(&["consume", "t", "-c", "2", "-K", "=", "-D", "."], b""), b"a=1.b=.");
}

#[test]
fn json_loses_nothing() {
    let broker = Broker::in_memory();
    broker.topic("from", "1");
    broker.topic("to", "1");
    let json = concat!(
        r#"{"key":"k","payload":"ü\n\"","ts":1700000000000,"headers":["a","1","a",null,"b",{"base64":"/w=="}]}"#,
        "\n",
        r#"{"key":{"base64":"//79"},"payload":null,"ts":5}"#,
        "\n",
        r#"{"payload":"","ts":0}"#,
    );
    broker.ok(&["produce", "from", "-J"], json.as_bytes());
    let once = broker.ok(&["consume", "from", "-J", "-e"], b"");
    broker.ok(&["produce", "to", "-J"], &once);
    let twice = broker.ok(&["consume", "to", "-J", "-e"], b"");
    let (once, twice) = (String::from_utf8(once).unwrap(), String::from_utf8(twice).unwrap());
    assert_eq!(once.replace("\"from\"", "\"to\""), twice);
    let first: serde_json::Value = serde_json::from_str(once.lines().next().unwrap()).unwrap();
    assert_eq!(first["headers"], serde_json::json!(["a", "1", "a", null, "b", {"base64": "/w=="}]));
    assert_eq!((first["ts"].as_i64(), first["payload"].as_str()), (Some(1_700_000_000_000), Some("ü\n\"")));
}

#[test]
fn every_place_to_start_and_to_stop() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    let json: String = (0..6).map(|at| format!("{{\"payload\":\"{at}\",\"ts\":{}}}\n", 1000 * at)).collect();
    broker.ok(&["produce", "t", "-J"], json.as_bytes());
    let read = |flags: &[&str]| {
        let words = [&["consume", "t", "-f", "%s"], flags].concat();
        let ran = broker.run(&words, b"");
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.text().to_owned()
    };
    for (flags, expected) in [
        (&["-e"][..], "012345"),
        (&["-o", "beginning", "-e"], "012345"),
        (&["-o", "end", "-e"], ""),
        (&["-o", "4", "-e"], "45"),
        (&["-o", "-2", "-e"], "45"),
        (&["-o", "-99", "-e"], "012345"),
        (&["-o", "99", "-e"], ""),
        (&["-o", "1:3"], "12"),
        (&["-o", ":2"], "01"),
        (&["-o", ":end"], "012345"),
        (&["-o", "-2:end"], "45"),
        (&["-o", "2:2"], ""),
        (&["-o", "s@2500", "-e"], "345"),
        (&["-o", "s@2000", "-o", "e@4000"], "23"),
        (&["-o", "s@99999", "-e"], ""),
        (&["-o", "e@99999"], "012345"),
        (&["-o", "s@1970-01-01T00:00:03Z", "-c", "1"], "3"),
        (&["-c", "0"], ""),
        (&["-c", "3"], "012"),
        (&["-o", "1:5", "-c", "2"], "12"),
    ] {
        assert_eq!(read(flags), expected, "{flags:?}");
    }
}

#[test]
fn partitions_are_chosen_and_named() {
    let broker = Broker::in_memory();
    broker.topic("t", "3");
    for partition in ["0", "1", "2"] {
        broker.ok(&["produce", "t", "-p", partition], partition.as_bytes());
    }
    assert_eq!(broker.ok(&["consume", "t", "-p", "1", "-e", "-f", "%p=%s "], b""), b"1=1 ");
    let out = broker.ok(&["consume", "t", "-p", "0,2", "-o", ":end", "-f", "%p=%s\n"], b"");
    let mut lines: Vec<&[u8]> = out.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort();
    assert_eq!(lines.concat(), b"0=0\n2=2\n");
    // The keys go where Java's producer puts them.
    broker.ok(&["produce", "t", "-K", ":"], b"a:k\nb:k\nc:k\nd:k\ne:k\nf:k\ng:k\nh:k\ni:k\nj:k\n");
    let out = broker.ok(&["consume", "t", "-e", "-o", "1", "-f", "%k%p\n"], b"");
    let mut lines: Vec<&str> = std::str::from_utf8(&out).unwrap().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.join(" "), "a1 b2 c1 d2 e2 f0 g0 h1 i2 j2");
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let broker = Broker::in_memory();
    broker.topic("t", "1");
    broker.ok(&["produce", "t"], b"1\n2\n3\n4\n5\n");
    let read = |flags: &[&str]| broker.ok(&[&["consume", "t", "-G", "g", "-o", "beginning"], flags].concat(), b"");
    assert_eq!(read(&["-c", "2"]), b"1\n2\n");
    assert_eq!(read(&["-e"]), b"3\n4\n5\n");
    broker.ok(&["produce", "t"], b"6\n");
    assert_eq!(read(&["-c", "1"]), b"6\n");
}

#[test]
fn records_survive_kill_9_and_a_stop_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::on_disk(folder.path());
    assert!(broker.ready.contains(folder.path().to_str().unwrap()), "{}", broker.ready);
    broker.topic("t", "1");
    broker.ok(&["produce", "t", "-z", "zstd"], b"one\ntwo\n");
    broker.kill();
    let broker = Broker::on_disk(folder.path());
    assert_eq!(broker.ok(&["consume", "t", "-e"], b""), b"one\ntwo\n");
    broker.ok(&["produce", "t"], b"three\n");
    assert_eq!(broker.stop("TERM"), (Some(0), String::new()));
    let broker = Broker::on_disk(folder.path());
    assert_eq!(broker.ok(&["consume", "t", "-e"], b""), b"one\ntwo\nthree\n");
    assert_eq!(broker.stop("INT").0, Some(0));
}
