//! `rkafka partitions` and the same under `rkafka cluster`, on three brokers of ours and of Apache Kafka.

mod common;

use common::{At, Ran, eventually};
use rkafka_testkit::{RealKafka, kafka_tool, skipped};

fn ends(ran: &Ran, code: i32, stdout: &str, stderr: &str) {
    assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (code, stdout, stderr));
}

fn three(test: &str) -> Option<(RealKafka, At)> {
    match RealKafka::start(3) {
        Ok(kafka) => {
            let at = At { address: kafka.bootstrap(), is_real: true };
            Some((kafka, at))
        }
        Err(why) => {
            skipped(test, &why);
            None
        }
    }
}

fn replicas(kafka: &At, topic: &str) -> Vec<String> {
    let described = kafka.json(&["topics", "describe", topic, "-o", "json"]);
    let partitions = described[0]["partitions"].as_array().unwrap();
    partitions.iter().map(|partition| partition["replicas"].to_string()).collect()
}

#[test]
fn ours_moves_partitions_by_a_plan_and_elects_leaders() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cluster = runtime.block_on(rkafka::broker::Cluster::brokers(3).start()).unwrap();
    moves_and_leaders(&At { address: cluster.bootstrap(), is_real: false });
    runtime.block_on(cluster.shutdown()).unwrap();
}

#[test]
fn real_kafka_moves_partitions_by_a_plan_and_elects_leaders() {
    let test = "placement::real_kafka_moves_partitions_by_a_plan_and_elects_leaders";
    let Some((_kafka, kafka)) = three(test) else { return };
    moves_and_leaders(&kafka);
    slow_moves(&kafka);
}

/// Writes files for a test.
struct Files(tempfile::TempDir);

impl Files {
    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A plan for one partition of `orders`.
    fn plan(&self, name: &str, partition: i32, replicas: &str) -> String {
        let json = format!(
            r#"{{"version":1,"partitions":[{{"topic":"orders","partition":{partition},"replicas":[{replicas}]}}]}}"#
        );
        self.write(name, json.as_bytes())
    }
}

fn moves_and_leaders(kafka: &At) {
    let files = Files(tempfile::tempdir().unwrap());
    kafka.ok(&["topics", "create", "orders", "--assignment", "1:2,1:2,1:2", "-q"], b"");
    eventually(|| kafka.run(&["topics", "describe", "orders"], b"").code, |code| *code == 0);
    let input: String = (0..2_000).map(|number| format!("{number}:{}\n", "x".repeat(500))).collect();
    kafka.ok(&["produce", "orders", "-K:"], input.as_bytes());

    // A plan moves no more than it must, and execute only when told.
    let plan = kafka.run(&["partitions", "reassign", "plan", "orders"], b"");
    assert_eq!(
        (plan.code, plan.stderr.as_str()),
        (0, "3 partitions to be changed, 2 replicas to be copied\n"),
        "{plan:?}"
    );
    assert!(
        plan.text().starts_with("TOPIC   PARTITION  REPLICAS  TARGET\norders  0          1,2       "),
        "{}",
        plan.text()
    );
    let plan = files.write("plan.json", &kafka.ok(&["cluster", "reassign", "plan", "orders", "-o", "json", "-q"], b""));
    let before = replicas(kafka, "orders");
    let would = kafka.run(&["partitions", "reassign", "execute", &plan], b"");
    assert_eq!((would.code, would.text()), (0, ""));
    assert!(
        would.stderr.contains("would move orders-0 from 1,2 to ") && would.stderr.contains("--yes moves"),
        "{would:?}"
    );
    assert_eq!(replicas(kafka, "orders"), before);
    kafka
        .run(&["partitions", "reassign", "verify", &plan], b"")
        .fails(1, &["3 partitions are neither there nor being moved"]);

    let back = kafka.ok(&["partitions", "reassign", "execute", &plan, "--yes", "-q"], b"");
    let done = kafka.run(&["partitions", "reassign", "verify", &plan, "--wait", "60s", "-o", "jsonl"], b"");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    assert_eq!(done.text().matches("\"state\":\"done\"").count(), 3, "{}", done.text());
    if kafka.is_real {
        // Kafka's own tool reads the plan, and finds it done.
        let words = ["--bootstrap-server", &kafka.address, "--reassignment-json-file", &plan, "--verify"];
        let told = kafka_tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", &words, b"").unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.matches("is completed").count(), 3, "{told}");
    }
    let again = kafka.run(&["partitions", "reassign", "plan", "orders"], b"");
    ends(&again, 0, "TOPIC  PARTITION  REPLICAS  TARGET\n", "all is where it should be\n");
    ends(
        &kafka.run(&["partitions", "reassign", "execute", &plan, "--yes"], b""),
        0,
        "",
        "all is where the plan has it\n",
    );
    // What execute printed leads back, here by stdin.
    kafka.ok(&["partitions", "reassign", "execute", "-", "--yes", "-q"], &back);
    let back = files.write("back.json", &back);
    assert_eq!(kafka.run(&["partitions", "reassign", "verify", &back, "--wait", "60s"], b"").code, 0);
    assert_eq!(replicas(kafka, "orders"), before);

    // Leaders: the preferred one of partition 1 is to be broker 2.
    kafka.ok(&["partitions", "elect-leaders", "orders", "-q"], b"");
    let swapped = files.plan("swapped.json", 1, "2,1");
    kafka.ok(&["partitions", "reassign", "apply", &swapped, "--yes", "-q"], b"");
    assert_eq!(kafka.run(&["partitions", "reassign", "verify", &swapped, "--wait", "60s"], b"").code, 0);
    let elect = ["partitions", "elect-leaders", "orders:1"];
    let would = kafka.run(&[&elect[..], &["--dry-run"]].concat(), b"");
    ends(
        &would,
        0,
        "",
        "would elect broker 2 to lead orders-1 in the place of broker 1\nnothing was elected; --yes elects\n",
    );
    ends(&kafka.run(&elect, b""), 0, "", "elected a leader of orders-1\n");
    ends(&kafka.run(&["cluster", "elect", "orders"], b""), 0, "", "no partition needs it\n");
    ends(
        &kafka.run(&["partitions", "elect-leaders", "--all", "--election-type", "UNCLEAN"], b""),
        0,
        "",
        "no partition needs it\n",
    );
    kafka.run(&["partitions", "elect-leaders", "order"], b"").fails(4, &["did you mean `orders`?"]);
    kafka.run(&["partitions", "elect-leaders"], b"").fails(2, &["missing"]);

    // What cannot be carried out is refused whole.
    let bad = files.plan("bad.json", 0, "9");
    kafka.run(&["partitions", "reassign", "execute", &bad, "--yes"], b"").fails(1, &["broker 9", "there are 1,2,3"]);
    let bad = files.plan("bad.json", 7, "1");
    assert_eq!(kafka.run(&["partitions", "reassign", "execute", &bad, "--yes"], b"").code, 4);
    let bad = files.plan("bad.json", 0, "");
    kafka.run(&["partitions", "reassign", "execute", &bad, "--yes"], b"").fails(2, &["is no plan", "empty"]);
    kafka.run(&["partitions", "reassign", "plan", "orders", "--to", "1,9"], b"").fails(1, &["no broker 9"]);
    kafka.run(&["partitions", "reassign", "plan", "orders", "-r", "4"], b"").fails(2, &["4 replicas", "3 brokers"]);
}

fn slow_moves(kafka: &At) {
    let files = Files(tempfile::tempdir().unwrap());
    // A move that takes for ever, for hardly a byte a second may go.
    kafka.ok(&["configs", "alter", "brokers", "-s", "leader.replication.throttled.rate=1", "-q"], b"");
    for name in ["leader.replication.throttled.replicas=*", "follower.replication.throttled.replicas=*"] {
        kafka.ok(&["topics", "config", "set", "orders", name, "-q"], b"");
    }
    for broker in ["broker/1", "broker/2", "broker/3"] {
        let rates = ["-s", "leader.replication.throttled.rate=1", "-s", "follower.replication.throttled.rate=1", "-q"];
        kafka.ok(&[&["configs", "alter", broker][..], &rates].concat(), b"");
    }
    let slow = files.plan("slow.json", 0, "3,2");
    ends(
        &kafka.run(&["partitions", "reassign", "execute", &slow, "--yes"], b""),
        0,
        "{\"version\":1,\"partitions\":[{\"topic\":\"orders\",\"partition\":0,\"replicas\":[1,2],\"log_dirs\":[\"any\",\"any\"]}]}\n",
        "moving orders-0 from 1,2 to 3,2\n",
    );
    kafka
        .run(&["partitions", "reassign", "verify", &slow, "--wait", "1s"], b"")
        .fails(1, &["1 partition is still being moved"]);
    let under_way = kafka.json(&["partitions", "reassign", "verify", "-o", "json"]);
    assert_eq!((&under_way[0]["state"], &under_way[0]["adding"]), (&"moving".into(), &serde_json::json!([3])));
    kafka
        .run(&["partitions", "reassign", "execute", &files.plan("other.json", 2, "2,3"), "--yes"], b"")
        .fails(1, &["orders-0", "--additional"]);
    let would = kafka.run(&["partitions", "reassign", "cancel", &slow], b"");
    ends(
        &would,
        0,
        "",
        "would cancel the move of orders-0, which stays on 2,1\nnothing was cancelled; --yes cancels\n",
    );
    ends(
        &kafka.run(&["partitions", "reassign", "cancel", "--all", "--yes"], b""),
        0,
        "",
        "cancelled the move of orders-0\n",
    );
    ends(&kafka.run(&["partitions", "reassign", "cancel", "--all", "--yes"], b""), 0, "", "nothing is being moved\n");
}
