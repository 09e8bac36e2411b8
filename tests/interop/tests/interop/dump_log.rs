//! Kafka's DumpLogSegments reads every file that rkafka's broker writes.

use std::path::{Path, PathBuf};

use rkafka::consumer::Consumer;
use rkafka::producer::Record;
use rkafka_testkit::{TestCluster, create_topic, skipped};

use crate::python::python;
use crate::support::{CODECS, consumer_config, has_java, in_time, producer, run, try_tool};

const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";
const EACH: usize = 4_000;

/// A broker that has done some of everything, stopped: segments in every codec, groups, deletions, a crash.
async fn busy_broker() -> TestCluster {
    let cluster = TestCluster::builder()
        .topic("records", 2)
        .broker(|config| config.log_segment_bytes(1_048_576).log_index_interval_bytes(1_024))
        .on_disk()
        .start()
        .await;
    for (round, codec) in CODECS.into_iter().enumerate() {
        let producer = producer(&cluster.bootstrap(), codec).await;
        let mut deliveries = Vec::new();
        for number in 0..EACH {
            let (key, value) = (format!("{codec} {number}"), format!("{number} ").repeat(100));
            let record = Record::to("records").key(&key).value(&value).header("codec", codec).null_header("null");
            deliveries.push(producer.send(record).await.expect("accepted"));
        }
        for delivery in deliveries {
            in_time("an acknowledgement", delivery).await.expect("written");
        }
        let config = consumer_config(&cluster.bootstrap()).group_id(format!("group {round}"));
        let mut consumer = Consumer::connect(config).await.expect("a consumer");
        consumer.subscribe(["records"]).expect("subscribed");
        in_time("a record", consumer.recv()).await.expect("a record");
        in_time("the commit", consumer.commit()).await.expect("committed");
        in_time("the close", consumer.close()).await.expect("closed");
        match round {
            1 => cluster.restart().await,
            2 => {
                cluster.crash().await;
                cluster.start_again().await;
            }
            _ => {}
        }
    }
    let bootstrap = cluster.bootstrap();
    let created = tokio::task::spawn_blocking(move || create_topic(&bootstrap, "more", 3, &[("retention.ms", "1000")]));
    created.await.expect("created");
    cluster.stop().await;
    cluster
}

pub fn files_in(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files_in(&path, into) } else { into.push(path) }
    }
}

/// Dumps files, and gives what was printed if nothing in it is a complaint.
pub async fn dump(files: &[&PathBuf], more: &[&str]) -> String {
    assert!(!files.is_empty(), "there are files of this kind");
    let list: Vec<&str> = files.iter().map(|path| path.to_str().expect("a path of letters")).collect();
    let list = list.join(",");
    let (success, stdout, stderr) = try_tool(DUMP, &[&["--files", list.as_str()], more].concat(), b"").await;
    let printed = format!("{stdout}{stderr}");
    assert!(success, "{printed}");
    for complaint in
        ["ismatch", "isvalid: false", "xception", "orrupt", "Found invalid", "ERROR", "Could not", "not found"]
    {
        let line = printed.lines().find(|line| line.contains(complaint) && !line.contains("payload"));
        assert!(line.is_none(), "{list}: {line:?}");
    }
    printed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_reads_every_file() {
    if !has_java("dump_log::kafka_reads_every_file").await {
        return;
    }
    let cluster = busy_broker().await;
    let mut all = Vec::new();
    files_in(&cluster.data_dir(), &mut all);
    all.sort();
    let of = |folder: &str, extension: &str| -> Vec<&PathBuf> {
        let is_in = |path: &&PathBuf| {
            path.parent().and_then(Path::file_name).is_some_and(|name| name.to_string_lossy().starts_with(folder))
        };
        all.iter().filter(is_in).filter(|path| path.extension().is_some_and(|other| other == extension)).collect()
    };
    assert!(of("records-", "log").len() > 2, "the partitions have more than one segment: {all:?}");

    let printed = dump(&of("records-", "log"), &["--print-data-log", "--deep-iteration"]).await;
    let records = printed.lines().filter(|line| line.starts_with("| offset:")).count();
    assert_eq!(records, EACH * CODECS.len(), "every record is there");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        assert!(printed.contains(&format!("compresscodec: {codec} ")), "batches are in {codec}");
    }
    assert!(printed.contains("headerKeys: [codec,null]"), "headers are read");

    let printed = dump(&of("records-", "index"), &[]).await;
    assert!(printed.lines().filter(|line| line.starts_with("offset: ")).count() > 10, "indexes have entries");
    dump(&of("records-", "index"), &["--index-sanity-check"]).await;
    let printed = dump(&of("records-", "timeindex"), &[]).await;
    assert!(printed.lines().filter(|line| line.starts_with("timestamp: ")).count() > 2, "time indexes have entries");
    let printed = dump(&of("records-", "snapshot"), &[]).await;
    assert!(printed.contains("producerId: "), "{printed}");

    let printed = dump(&of("__cluster_metadata-", "log"), &["--cluster-metadata-decoder"]).await;
    for record in
        ["REGISTER_BROKER_RECORD", "TOPIC_RECORD", "PARTITION_RECORD", "CONFIG_RECORD", "FEATURE_LEVEL_RECORD"]
    {
        assert!(printed.contains(record), "{record} is read: {printed}");
    }
    let printed = dump(&of("__consumer_offsets-", "log"), &["--offsets-decoder"]).await;
    for round in 0..CODECS.len() {
        let group = format!("group {round}");
        assert!(printed.lines().any(|line| line.contains(&group) && line.contains("records")), "{group}: {printed}");
    }
    for folder in ["__cluster_metadata-", "__consumer_offsets-"] {
        for extension in ["index", "timeindex"] {
            let files = of(folder, extension);
            if !files.is_empty() {
                dump(&files, &[]).await;
            }
        }
    }
    for name in ["meta.properties", "leader-epoch-checkpoint"] {
        assert!(all.iter().any(|path| path.ends_with(name)), "{name} is there: {all:?}");
    }
}

const MEMBER: &str = r#"
import os, sys, time
from confluent_kafka import Consumer
bootstrap, topic, group = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "group.protocol": "consumer"})
consumer.subscribe(["^" + topic + ".*"])
end = time.monotonic() + 120
while len(consumer.assignment()) < 2:
    assert time.monotonic() < end, consumer.assignment()
    consumer.poll(0.1)
# Gone without a word, so that the group stays as it is.
os._exit(0)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_reads_the_records_of_consumer_groups() {
    let name = "dump_log::kafka_reads_the_records_of_consumer_groups";
    let python = match tokio::task::spawn_blocking(python).await.expect("no panic") {
        Ok(python) => python,
        Err(why) => return skipped(name, &why),
    };
    if !has_java(name).await {
        return;
    }
    let cluster = TestCluster::builder().topic("records", 2).on_disk().start().await;
    let arguments = ["-c", MEMBER, &cluster.bootstrap(), "records", "group"].map(str::to_owned).to_vec();
    let output = run(python.to_str().expect("text"), arguments, b"").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.stop().await;

    let mut all = Vec::new();
    files_in(&cluster.data_dir(), &mut all);
    let is_groups = |path: &&PathBuf| {
        let folder = path.parent().and_then(Path::file_name);
        folder.is_some_and(|name| name.to_string_lossy().starts_with("__consumer_offsets-"))
            && path.extension().is_some_and(|extension| extension == "log")
    };
    let files: Vec<&PathBuf> = all.iter().filter(is_groups).collect();
    let printed = dump(&files, &["--offsets-decoder"]).await;
    for record_type in [3, 5, 6, 7, 8, 16] {
        let key = format!("\"type\":\"{record_type}\"");
        let found = printed.lines().find(|line| line.contains(&key) && line.contains("\"group\""));
        let line = found.unwrap_or_else(|| panic!("type {record_type}: {printed}"));
        assert!(line.contains("\"version\":\"0\"") && line.contains("\"data\""), "it is read: {line}");
    }
    assert!(printed.contains("\"topics\":[\"records\"]"), "the pattern is resolved: {printed}");
}
