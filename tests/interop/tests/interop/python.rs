//! confluent-kafka for Python, one more client over librdkafka, with groups and its admin client.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use rkafka_testkit::{on_both, skipped};

use crate::support::{cache, headers_text, read_all, run, text};

/// The package and its version, which carries librdkafka inside.
const PACKAGE: &str = "confluent-kafka==2.16.1";

/// A Python that has the package: made once, in the cache that also holds Kafka's jars.
pub fn python() -> Result<PathBuf, String> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PYTHON.get_or_init(install).clone()
}

fn install() -> Result<PathBuf, String> {
    if std::env::var_os("RKAFKA_INTEROP").is_some_and(|value| value == "off") {
        return Err("RKAFKA_INTEROP=off".into());
    }
    let folder = cache()?.join(PACKAGE);
    let python = folder.join("bin/python");
    if folder.join(".complete").exists() {
        return Ok(python);
    }
    drop(std::fs::remove_dir_all(&folder));
    let steps: [(&str, Vec<&str>); 2] = [
        ("python3", vec!["-m", "venv", folder.to_str().ok_or("the cache's path is not text")?]),
        (
            python.to_str().ok_or("the cache's path is not text")?,
            vec!["-m", "pip", "install", "-q", "--only-binary", ":all:", PACKAGE],
        ),
    ];
    for (program, arguments) in steps {
        let output = Command::new(program).args(&arguments).output().map_err(|error| format!("{program}: {error}"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
            return Err(format!("`{program} {}` fails: {why}", arguments.join(" ")));
        }
    }
    std::fs::write(folder.join(".complete"), b"").map_err(|error| error.to_string())?;
    Ok(python)
}

const SCRIPT: &str = r#"
import sys
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
bootstrap, topic, group = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": bootstrap})
admin.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "-1"})])[topic].result(60)
failed = []
for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True})
    for number in range(1000):
        producer.produce(topic, key=f"{codec} {number}", value=None if number % 10 == 0 else f"{codec} value {number}" * 5,
            headers=[("h", "first"), ("h", b"second"), ("none", None)], partition=number % 2, timestamp=1700000000000 + number,
            on_delivery=lambda error, message: failed.append(error) if error else None)
        producer.poll(0)
    assert producer.flush(60) == 0
assert not failed, failed
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe([topic])
seen = 0
while seen < 5000:
    message = consumer.poll(60)
    assert message is not None and not message.error(), message and message.error()
    assert message.headers() == [("h", b"first"), ("h", b"second"), ("none", None)], message.headers()
    seen += 1
consumer.commit(asynchronous=False)
committed = consumer.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], 60)
assert [place.offset for place in committed] == [2500, 2500], committed
assert consumer.get_watermark_offsets(TopicPartition(topic, 1), 60) == (0, 2500)
consumer.close()
described = admin.describe_consumer_groups([group])[group].result(60)
assert described.state.name == "EMPTY", described.state
assert topic in admin.list_topics(timeout=60).topics
print("done", seen)
"#;

on_both! {
    async fn confluent_kafka_writes_reads_and_manages(cluster: &Cluster) {
        let found = tokio::task::spawn_blocking(python).await.expect("no panic");
        let python = match found {
            Ok(python) => python,
            Err(why) => return skipped("python::confluent_kafka_writes_reads_and_manages", &why),
        };
        let (topic, group) = (cluster.unique("python"), cluster.unique("python"));
        let arguments = vec!["-c".to_owned(), SCRIPT.to_owned(), cluster.bootstrap(), topic.clone(), group];
        let output = run(python.to_str().expect("text"), arguments, b"").await;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && stdout.trim() == "done 5000", "on {}:\n{stdout}{stderr}", cluster.name());

        let records = read_all(&cluster.bootstrap(), &topic, 2).await;
        assert_eq!(records.len(), 5000);
        for record in records {
            let (codec, number) = text(record.key()).and_then(|key| key.split_once(' ')).expect("a key");
            let number: i64 = number.parse().expect("a number");
            let value = (number % 10 > 0).then(|| format!("{codec} value {number}").repeat(5));
            assert_eq!(text(record.value()), value.as_deref());
            assert_eq!(record.timestamp(), 1_700_000_000_000 + number);
            assert_eq!(headers_text(&record), "h:first,h:second,none:null");
        }
    }
}
