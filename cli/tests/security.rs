//! `rkafka acls`, `quotas` and `users`: on Apache Kafka with an authorizer, and what is said where there is none of it.

mod common;

use std::sync::OnceLock;

use common::{At, Broker, Ran, eventually};
use rkafka_testkit::{RealKafka, kafka_tool, skipped};
use serde_json::{Value, json};

fn ends(ran: &Ran, code: i32, stdout: &str, stderr: &str) {
    assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (code, stdout, stderr));
}

/// Apache Kafka with an authorizer, to which everyone is the super user.
fn guarded(test: &str) -> Option<At> {
    static KAFKA: OnceLock<Result<RealKafka, String>> = OnceLock::new();
    let start = || {
        RealKafka::start_with(1, |_| {
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS"
                .to_owned()
        })
    };
    match KAFKA.get_or_init(start) {
        Ok(kafka) => Some(At { address: kafka.bootstrap(), is_real: true }),
        Err(why) => {
            skipped(test, why);
            None
        }
    }
}

/// What was changed is seen a little later.
#[track_caller]
fn comes(kafka: &At, words: &[&str], expected: &Value) {
    eventually(|| kafka.json(words), |found| found == expected);
}

#[test]
fn rules_are_added_listed_and_deleted() {
    let Some(kafka) = guarded("security::rules_are_added_listed_and_deleted") else { return };
    let add = ["acls", "create", "--allow-principal", "User:alice", "--operation", "Read", "--topic", "orders"];
    let dry = kafka.run(&[&add[..], &["--dry-run"]].concat(), b"");
    ends(&dry, 0, "", "would add ALLOW User:alice READ of topic/orders\n");
    ends(&kafka.run(&["acls", "list", "-o", "name"], b""), 0, "", "");
    ends(&kafka.run(&add, b""), 0, "", "added ALLOW User:alice READ of topic/orders\n");
    let rule = json!({
        "resource_type": "TOPIC", "resource": "orders", "pattern": "LITERAL", "principal": "User:alice", "host": "*",
        "operation": "READ", "permission": "ALLOW",
    });
    let list = ["acls", "list", "--topic", "orders", "-o", "json"];
    comes(&kafka, &list, &json!([rule]));
    let dry = kafka.run(&[&add[..], &["--dry-run"]].concat(), b"");
    ends(&dry, 0, "", "is there already: ALLOW User:alice READ of topic/orders\n");
    // Kafka's own tool reads it as it was meant.
    let words = ["--bootstrap-server", &kafka.address, "--list", "--topic", "orders"];
    let told = kafka_tool("org.apache.kafka.tools.AclCommand", &words, b"").unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("principal=User:alice, host=*, operation=READ, permissionType=ALLOW"), "{told}");

    let consumer = ["--consumer", "--topic", "ord", "--group", "etl", "--resource-pattern-type", "prefixed"];
    let words = [&["acls", "create", "--allow-principal", "User:bob", "--allow-host", "10.0.0.1", "-q"][..], &consumer];
    kafka.ok(&words.concat(), b"");
    let count = |words: &[&str], expected: usize| {
        let list = [&["acls", "list", "-o", "json"], words].concat();
        eventually(|| kafka.json(&list).as_array().unwrap().len(), |found| *found == expected);
    };
    count(&["--principal", "User:bob"], 3);
    count(&["--topic", "orders"], 1);
    count(&["--topic", "orders", "--resource-pattern-type", "match"], 3);
    count(&["--operation", "Read", "--allow-principal", "User:bob"], 2);
    count(&["--host", "10.0.0.1"], 3);
    count(&["--deny-principal", "User:bob"], 0);

    let plan = kafka.run(&["acls", "delete", "--topic", "orders"], b"");
    ends(&plan, 0, "", "would delete ALLOW User:alice READ of topic/orders\nnothing was deleted; --yes deletes\n");
    let done = kafka.run(&["acls", "delete", "--topic", "orders", "--yes"], b"");
    ends(&done, 0, "", "deleted ALLOW User:alice READ of topic/orders\n");
    comes(&kafka, &list, &json!([]));
    kafka.run(&["acls", "delete", "--topic", "orders", "--yes"], b"").fails(4, &["no such rule"]);
    kafka.run(&["acls", "delete", "--yes"], b"").fails(2, &["--all"]);
    kafka.ok(&["acls", "delete", "--all", "--yes", "-q"], b"");
    count(&[], 0);
}

#[test]
fn what_makes_no_rule_is_refused_before_anything_is_asked() {
    let nowhere = At { address: "127.0.0.1:1".into(), is_real: false };
    for (words, part) in [
        (&["--topic", "t"][..], "--allow-principal"),
        (&["--allow-principal", "alice", "--topic", "t"], "User:alice"),
        (&["--allow-principal", "User:a", "--topic", "t", "--operation", "Fly"], "`Fly`"),
        (&["--allow-principal", "User:a", "--group", "g", "--operation", "Write"], "nobody does WRITE with a group"),
        (&["--allow-principal", "User:a", "--consumer", "--topic", "t"], "--group"),
    ] {
        nowhere.run(&[&["acls", "create"], words].concat(), b"").fails(2, &[part]);
    }
}

#[test]
fn quotas_are_set_listed_and_taken_away() {
    let Some(kafka) = guarded("security::quotas_are_set_listed_and_taken_away") else { return };
    let alter =
        ["quotas", "alter", "--user", "alice", "-s", "producer_byte_rate=1048576", "-s", "request_percentage=12.5"];
    let dry = kafka.run(&[&alter[..], &["--dry-run"]].concat(), b"");
    ends(&dry, 0, "", "would change 2 quotas of user alice\n");
    ends(&kafka.run(&alter, b""), 0, "", "changed 2 quotas of user alice\n");
    kafka.ok(&["quotas", "alter", "--user", "alice", "--client-defaults", "-s", "consumer_byte_rate=7", "-q"], b"");
    let row = |client: Value, quota: &str, value: Value| json!({"user": "alice", "client_id": client, "ip": null, "quota": quota, "value": value});
    let (bytes, share) =
        (row(Value::Null, "producer_byte_rate", json!(1_048_576)), row(Value::Null, "request_percentage", json!(12.5)));
    let other = row(json!("<default>"), "consumer_byte_rate", json!(7));
    let list = ["quotas", "list", "--user", "alice", "-o", "json"];
    comes(&kafka, &list, &json!([other, bytes, share]));
    comes(&kafka, &[&list[..], &["--strict"]].concat(), &json!([bytes, share]));
    comes(&kafka, &["quotas", "list", "--ip-defaults", "-o", "json"], &json!([]));
    kafka.ok(&["quotas", "alter", "--user", "alice", "-u", "request_percentage", "-q"], b"");
    comes(&kafka, &[&list[..], &["--strict"]].concat(), &json!([bytes]));
    let plan = kafka.run(&["quotas", "delete", "--user", "alice"], b"");
    ends(&plan, 0, "", "would delete producer_byte_rate=1048576 of user alice\nnothing was deleted; --yes deletes\n");
    kafka.ok(&["quotas", "delete", "--user", "alice", "--yes", "-q"], b"");
    comes(&kafka, &list, &json!([other]));
    kafka.run(&["quotas", "delete", "--user", "alice", "--yes"], b"").fails(4, &["user alice has no quotas"]);
    kafka.run(&["quotas", "alter", "--user", "a", "-s", "bytes=1"], b"").fails(1, &["user a", "bytes"]);
    kafka.run(&["quotas", "alter", "--user", "a", "-s", "producer_byte_rate=fast"], b"").fails(2, &["`fast`"]);
    kafka.run(&["quotas", "alter", "-s", "producer_byte_rate=1"], b"").fails(2, &["--user"]);
}

#[test]
fn users_come_and_go_and_their_passwords_are_told_nowhere() {
    let Some(kafka) = guarded("security::users_come_and_go_and_their_passwords_are_told_nowhere") else { return };
    let create = ["users", "create", "carol", "--password-file", "-"];
    ends(&kafka.run(&create, b"swordfish\n"), 0, "", "set a password of user `carol` for SCRAM-SHA-512\n");
    let row = |mechanism: &str, rounds: i32| json!({"user": "carol", "mechanism": mechanism, "iterations": rounds});
    let list = ["users", "list", "-o", "json"];
    comes(&kafka, &list, &json!([row("SCRAM-SHA-512", 4096)]));
    kafka.run(&create, b"swordfish\n").fails(1, &["has a password", "users alter"]);
    let alter = ["users", "alter", "carol", "-m", "SCRAM-SHA-256", "--iterations", "8192", "--password", "-sword-"];
    ends(&kafka.run(&alter, b""), 0, "", "set a password of user `carol` for SCRAM-SHA-256\n");
    comes(&kafka, &list, &json!([row("SCRAM-SHA-256", 8192), row("SCRAM-SHA-512", 4096)]));
    kafka.run(&["users", "describe", "karol"], b"").fails(4, &["did you mean `carol`?"]);
    let partly = kafka.run(&["users", "describe", "carol", "dave", "-o", "name"], b"");
    assert_eq!((partly.code, partly.text()), (1, "carol\n"));

    let plan = kafka.run(&["users", "delete", "carol", "-m", "SCRAM-SHA-256"], b"");
    ends(
        &plan,
        0,
        "",
        "would delete the password of user `carol` for SCRAM-SHA-256\nnothing was deleted; --yes deletes\n",
    );
    kafka.ok(&["users", "delete", "carol", "--yes", "-q"], b"");
    comes(&kafka, &list, &json!([]));
    kafka.run(&["users", "delete", "carol", "--yes"], b"").fails(4, &["user `carol` is not there"]);

    for (words, input, part) in [
        (&["users", "create", "x"][..], &b""[..], "missing"),
        (&["users", "create", "x", "--password-file", "/nowhere"], b"", "/nowhere"),
        (&["users", "create", "x", "--password-file", "-"], b"\n", "empty"),
        (&["users", "create", "x", "--password", "swordfish", "-m", "PLAIN"], b"", "SCRAM-SHA-256"),
        (&["users", "create", "x", "--password", "swordfish", "--iterations", "1"], b"", "4096"),
    ] {
        let ran = kafka.run(words, input);
        ran.fails(2, &[part]);
        assert!(!ran.stderr.contains("swordfish"), "{}", ran.stderr);
    }
}

#[test]
fn a_broker_without_it_says_so() {
    let broker = Broker::in_memory();
    broker.run(&["acls", "list"], b"").fails(1, &["no authorizer"]);
    let add = ["acls", "create", "--allow-principal", "User:a", "--topic", "t", "--topic", "u"];
    broker.run(&add, b"").fails(1, &["no authorizer"]);
    for (words, api) in
        [(&["quotas", "list"][..], "DescribeClientQuotas"), (&["users", "list"], "DescribeUserScramCredentials")]
    {
        broker.run(words, b"").fails(1, &[api, "does without that part"]);
    }
}
