//! `rkafka topics alter` and `config`, `configs`, `offsets`, `records` and `cluster`: what they print, what they say, and
//! how they end.

mod common;

use common::{Broker, Ran};
use serde_json::Value;

fn ends(ran: &Ran, code: i32, stdout: &str, stderr: &str) {
    assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (code, stdout, stderr));
}

fn json_of(broker: &Broker, words: &[&str]) -> Value {
    serde_json::from_slice(&broker.ok(words, b"")).unwrap()
}

fn with_records() -> Broker {
    let broker = Broker::in_memory();
    broker.topic("orders", "2");
    broker.ok(&["produce", "orders", "-p", "0"], b"1\n2\n3\n");
    broker
}

#[test]
fn partitions_are_added_and_keys_are_said_to_move() {
    let broker = with_records();
    let warning = "keys move: records with the same key as earlier ones may go to another partition from now on\n";
    let dry = broker.run(&["topics", "alter", "orders", "--partitions", "4", "--dry-run"], b"");
    ends(&dry, 0, "", &format!("topic `orders` would have 4 partitions\n{warning}"));
    let count = || json_of(&broker, &["topics", "list", "-o", "json"])[0]["partitions"].clone();
    assert_eq!(count(), 2);
    let done = broker.run(&["topics", "alter", "orders", "-p", "4"], b"");
    ends(&done, 0, "", &format!("topic `orders` has 4 partitions\n{warning}"));
    assert_eq!(count(), 4);
    broker.run(&["topics", "alter", "orders", "-p", "3"], b"").fails(1, &["topic `orders`", "INVALID_PARTITIONS"]);
    broker.run(&["topics", "alter", "order", "-p", "9"], b"").fails(4, &["did you mean `orders`?"]);
    broker.run(&["topics", "alter", "orders"], b"").fails(2, &["missing: --partitions"]);
}

#[test]
fn topics_are_created_by_assignment_and_described_by_state() {
    let broker = with_records();
    let id = json_of(&broker, &["cluster", "brokers", "-o", "json"])[0]["broker"].to_string();
    broker.ok(&["topics", "create", "placed", "--assignment", &format!("{id},{id},{id}"), "-q"], b"");
    let described = json_of(&broker, &["topics", "describe", "placed", "-o", "json"]);
    assert_eq!(described[0]["partitions"].as_array().unwrap().len(), 3);
    broker.run(&["topics", "create", "x", "--assignment", "a"], b"").fails(2, &["--assignment", "1:2,2:3"]);
    broker.run(&["topics", "create", "x", "--assignment", "1", "-p", "1"], b"").fails(2, &["do not go together"]);
    for filter in ["--under-replicated", "--under-min-isr", "--offline"] {
        ends(&broker.run(&["topics", "describe", filter], b""), 0, "", "");
    }
    ends(&broker.run(&["topics", "describe", "--at-min-isr", "-o", "name"], b""), 0, "orders\nplaced\n", "");
}

#[test]
fn settings_are_printed_set_and_taken_back() {
    let broker = with_records();
    ends(
        &broker.run(&["topics", "config", "set", "orders", "retention.ms=5000"], b""),
        0,
        "",
        "changed 1 setting of topic/orders\n",
    );
    ends(
        &broker.run(&["topics", "config", "get", "orders", "retention.ms"], b""),
        0,
        "RESOURCE      NAME          VALUE  SOURCE\ntopic/orders  retention.ms  5000   DYNAMIC_TOPIC_CONFIG\n",
        "",
    );
    broker.ok(&["topics", "config", "append", "orders", "cleanup.policy=compact", "-q"], b"");
    let got = json_of(&broker, &["topics", "config", "get", "orders", "cleanup.policy", "-o", "json"]);
    assert_eq!(got[0]["value"], "delete,compact");
    broker.ok(&["topics", "config", "unset", "orders", "retention.ms", "cleanup.policy", "-q"], b"");
    let names = broker.ok(&["topics", "config", "get", "orders", "-o", "name"], b"");
    assert!(!String::from_utf8(names).unwrap().contains("retention.ms"));
    let all = broker.ok(&["configs", "describe", "topic/orders", "--all", "-o", "name"], b"");
    assert!(String::from_utf8(all).unwrap().contains("retention.ms\n"));

    broker
        .run(&["topics", "config", "get", "orders", "retention.mss"], b"")
        .code_and(2, "did you mean `retention.ms`?");
    broker.run(&["topics", "config", "get", "order"], b"").fails(4, &["did you mean `orders`?"]);
    broker.run(&["topics", "config", "set", "orders", "retention.ms"], b"").fails(2, &["NAME=VALUE"]);
    broker.run(&["topics", "config", "set", "orders", "retention.mss=1"], b"").fails(1, &["retention.mss"]);
    broker.run(&["configs", "describe", "user/x"], b"").fails(2, &["`user/x`", "topic/NAME"]);
    broker.run(&["configs", "alter", "topic/orders"], b"").fails(2, &["missing"]);

    let dry = broker.run(&["configs", "alter", "topic/orders", "-s", "retention.ms=7", "--dry-run"], b"");
    ends(&dry, 0, "", "would change 1 setting of topic/orders\n");
    broker.ok(&["configs", "alter", "group/g", "-s", "consumer.session.timeout.ms=50000", "-q"], b"");
    let group = json_of(&broker, &["configs", "describe", "group/g", "-o", "jsonl"]);
    assert_eq!((&group["name"], &group["value"]), (&"consumer.session.timeout.ms".into(), &"50000".into()));
}

#[test]
fn offsets_are_those_that_are_asked_for() {
    let broker = with_records();
    ends(
        &broker.run(&["offsets", "orders"], b""),
        0,
        "TOPIC   PARTITION  OFFSET  TIMESTAMP\norders  0          3       -\norders  1          0       -\n",
        "",
    );
    let at = |place: &str| json_of(&broker, &["offsets", "orders:0", "--at", place, "-o", "jsonl"])["offset"].clone();
    for (place, offset) in [("start", 0), ("end", 3), ("stable", 3), ("2020-01-01", 0), ("-1h", 0)] {
        assert_eq!(at(place), offset, "{place}");
    }
    assert_eq!(at("2100-01-01"), Value::Null);
    let newest = json_of(&broker, &["offsets", "orders:0", "--at", "newest", "-o", "jsonl"]);
    assert!(newest["offset"].is_i64() && newest["timestamp"].as_i64().unwrap() > 0, "{newest}");
    broker.run(&["offsets", "orders", "--at", "soon"], b"").fails(2, &["`soon`", "stable"]);
    let partly = broker.run(&["offsets", "orders:0,7", "clicks", "-o", "name"], b"");
    assert_eq!((partly.code, partly.text()), (1, "orders:0\n"));
    assert!(partly.stderr.contains("no partition 7") && partly.stderr.contains("`clicks`"), "{}", partly.stderr);
}

#[test]
fn records_are_deleted_only_when_told() {
    let broker = with_records();
    ends(
        &broker.run(&["records", "delete", "orders:0:2"], b""),
        0,
        "",
        "would delete the records of orders-0 before 2\nnothing was deleted; --yes deletes\n",
    );
    ends(
        &broker.run(&["records", "delete", "orders:0:2", "--yes"], b""),
        0,
        "TOPIC   PARTITION  LOW-WATERMARK\norders  0          2\n",
        "orders-0 now begins at 2\n",
    );
    assert_eq!(broker.ok(&["consume", "orders", "-e"], b""), b"3\n");
    broker.run(&["records", "delete", "orders:0:9", "--yes"], b"").code_and(1, "orders-0: there is no such offset");
    broker.run(&["records", "delete", "orders:9:1", "--yes"], b"").code_and(4, "no partition 9");
    broker.run(&["records", "delete", "orders"], b"").fails(2, &["TOPIC:PARTITION:OFFSET"]);
    broker.ok(&["records", "delete", "orders:0:end", "--yes", "-q"], b"");
    assert_eq!(broker.ok(&["consume", "orders", "-e"], b""), b"");
}

#[test]
fn the_cluster_says_what_it_is_made_of() {
    let broker = with_records();
    let (host, port) = broker.address.rsplit_once(':').unwrap();
    let brokers = json_of(&broker, &["cluster", "brokers", "-o", "json"]);
    assert_eq!((&brokers[0]["host"], &brokers[0]["port"].to_string()), (&host.into(), &port.to_owned()));
    assert_eq!(brokers[0]["controller"], true);
    let info = json_of(&broker, &["cluster", "info", "-o", "jsonl"]);
    assert_eq!(info["brokers"], 1);
    assert!(info["cluster"].is_string());
    let versions = broker.ok(&["cluster", "api-versions"], b"");
    assert!(String::from_utf8(versions).unwrap().lines().any(|line| line.contains("Produce ")));
    let features = broker.ok(&["cluster", "features", "-o", "name"], b"");
    assert!(String::from_utf8(features).unwrap().lines().any(|line| line == "metadata.version"));
    let quorum = json_of(&broker, &["cluster", "quorum", "-o", "json"]);
    assert_eq!((&quorum[0]["role"], &quorum[0]["lag"]), (&"leader".into(), &0.into()));
    let directories = json_of(&broker, &["cluster", "logdirs", "-o", "json"]);
    assert!(directories[0]["replicas"].as_u64().unwrap() >= 2);
}

#[test]
fn transactions_are_listed_described_and_aborted_only_when_told() {
    use rkafka::client::ClientSettings;
    use rkafka::producer::{ProducerConfig, Record, blocking};

    let broker = with_records();
    let config = ProducerConfig::new().bootstrap_servers(&*broker.address).transactional_id("pay");
    let mut producer = blocking::TransactionalProducer::new(config).unwrap();
    let transaction = producer.begin().unwrap();
    drop(transaction.send(Record::to("orders").value("1").partition(1)).unwrap());
    transaction.flush().unwrap();

    let listed = json_of(&broker, &["transactions", "list", "--state", "Ongoing", "-o", "json"]);
    assert_eq!((&listed[0]["transaction"], &listed[0]["state"]), (&"pay".into(), &"Ongoing".into()));
    ends(
        &broker.run(&["transactions", "list", "--longer-than", "1h"], b""),
        0,
        "TRANSACTION  STATE  PRODUCER-ID\n",
        "",
    );
    let described = json_of(&broker, &["transactions", "describe", "pay", "-o", "json"]);
    assert_eq!(described[0]["partitions"], serde_json::json!(["orders:1"]));
    let writers = json_of(&broker, &["transactions", "producers", "orders:1", "-o", "json"]);
    assert_eq!(writers[0]["transaction_start_offset"], 0);
    assert_eq!(writers[0]["producer_id"], listed[0]["producer_id"]);
    // It is young, and its coordinator knows it.
    let hanging = broker.ok(&["transactions", "find-hanging", "-o", "name"], b"");
    assert_eq!(hanging, b"");
    broker.run(&["transactions", "describe", "paid"], b"").fails(4, &["transactional id `paid`"]);

    let plan = broker.run(&["transactions", "abort", "pay"], b"");
    ends(
        &plan,
        0,
        "",
        "would abort what is open of transactional id `pay` (Ongoing), and fence its producer\n\
         nothing was aborted; --yes aborts\n",
    );
    let done = broker.run(&["transactions", "abort", "pay", "--yes"], b"");
    ends(&done, 0, "", "aborted what was open of transactional id `pay`\n");
    assert!(transaction.commit().is_err(), "its producer is fenced");
    // What was aborted is no record to who reads what was committed.
    let words = ["consume", "orders", "-p", "1", "-e", "-X", "isolation.level=read_committed"];
    assert_eq!(broker.ok(&words, b""), b"");
}

#[test]
fn failures_name_things_once_and_end_by_what_is_missing() {
    let broker = with_records();
    let ran = broker.run(&["configs", "alter", "topic/orders", "-s", "bogus=1"], b"");
    ran.fails(1, &["rkafka: topic/orders: INVALID_CONFIG", "bogus"]);
    assert_eq!(ran.stderr.matches("orders").count(), 1, "{}", ran.stderr);
    let ran = broker.run(&["configs", "describe", "broker/9"], b"");
    ran.fails(4, &["no broker with the id 9"]);
    assert!(!ran.stderr.contains("-b HOST"), "{}", ran.stderr);
    broker.run(&["consume", "-r", "(", "-G", "g"], b"").fails(2, &["the pattern \"(\""]);
    for words in [&["transactions", "producers", "clicks"][..], &["records", "delete", "clicks:0:1", "--yes"]] {
        let ran = broker.run(&[words, &["-o", "json"]].concat(), b"");
        assert_eq!((ran.code, ran.text()), (4, "[]\n"), "{ran:?}");
        assert_eq!(broker.run(words, b"").text(), "");
    }
}

#[test]
fn topics_are_trimmed_by_offset_time_and_end() {
    let broker = with_records();
    let trim = |words: &[&str]| broker.run(&[&["topics", "trim", "orders", "-q", "-o", "jsonl"], words].concat(), b"");
    assert_eq!(trim(&["--to", "2020-01-01", "--yes"]).code, 0);
    assert_eq!(broker.ok(&["consume", "orders", "-e"], b""), b"1\n2\n3\n");
    ends(
        &broker.run(&["topics", "trim", "orders:0", "--to", "1"], b""),
        0,
        "",
        "would delete the records of orders-0 before 1\nnothing was deleted; --yes deletes\n",
    );
    // Of the other partition there is no such offset.
    assert_eq!(trim(&["--to", "1", "--yes"]).code, 1);
    assert_eq!(broker.ok(&["consume", "orders", "-e"], b""), b"2\n3\n");
    assert_eq!(trim(&["--to", "end", "--yes"]).code, 0);
    assert_eq!(broker.ok(&["consume", "orders", "-e"], b""), b"");
    trim(&["--to", "soon"]).fails(2, &["--to soon"]);
}
