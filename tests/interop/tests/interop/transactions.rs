//! Transactions by foreign clients, and Kafka's tools on what they leave.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rkafka_testkit::{Cluster, RawClient, RawProducer, TestCluster, TransactionProtocol, on_both, skipped};

use crate::dump_log::{dump, files_in};
use crate::python::python;
use crate::support::{has_java, run, tool};

const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const PYTHON: &str = include_str!("../../programs/transactions.py");

async fn topics(cluster: &Cluster) -> (String, String) {
    (cluster.topic("source", 2, &[]).await, cluster.topic("target", 2, &[]).await)
}

on_both! {
    /// librdkafka speaks transactions of version 1: it adds partitions itself, and keeps its epoch.
    async fn confluent_kafka_commits_aborts_and_is_fenced(cluster: &Cluster) {
        let found = tokio::task::spawn_blocking(python).await.expect("no panic");
        let python = match found {
            Ok(python) => python,
            Err(why) => return skipped("transactions::confluent_kafka_commits_aborts_and_is_fenced", &why),
        };
        let (source, target) = topics(cluster).await;
        let (group, id) = (cluster.unique("copy"), cluster.unique("copy"));
        let arguments = ["-c", PYTHON, &cluster.bootstrap(), &source, &target, &group, &id].map(str::to_owned).to_vec();
        let output = run(python.to_str().expect("text"), arguments, b"").await;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && stdout.trim() == "done", "on {}:\n{stdout}{stderr}", cluster.name());
    }
}

/// Runs the Java program, and says how many transactions its first producer ended itself.
async fn copy_in_java(bootstrap: &str, source: &str, target: &str, group: &str, id: &str) -> i16 {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/TransactionalCopy.java");
    let printed = tool(program, &[bootstrap, source, target, group, id], b"").await;
    let count = printed.lines().find_map(|line| line.strip_prefix("transactions "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("{printed}"))
}

/// The line of a table whose first column with this name has this value, by the names of the columns.
fn row<'a>(printed: &'a str, name: &str, value: &str) -> impl Fn(&str) -> &'a str {
    let mut lines = printed.lines().skip_while(|line| !line.split_whitespace().any(|column| column == name));
    let columns: Vec<&str> = lines.next().unwrap_or_default().split('\t').map(str::trim).collect();
    let rows = lines.map(|line| line.split('\t').map(str::trim).collect::<Vec<_>>());
    let at = columns.iter().position(|column| *column == name);
    let mut found = rows.filter(|row| at.and_then(|at| row.get(at)).is_some_and(|found| *found == value));
    let found = found.next().unwrap_or_else(|| panic!("{name} {value} in:\n{printed}"));
    move |name| {
        let at = columns.iter().position(|column| *column == name).expect("a column");
        found.get(at).copied().expect("as many columns as in the head")
    }
}

async fn transactions(bootstrap: &str, arguments: &[&str]) -> String {
    tool(TRANSACTIONS, &[&["--bootstrap-server", bootstrap], arguments].concat(), b"").await
}

on_both! {
    /// Kafka's own client of this age speaks version 2: every transaction has an epoch of its own.
    async fn java_copies_and_kafkas_tool_describes(cluster: &Cluster) {
        if !has_java("transactions::java_copies_and_kafkas_tool_describes").await {
            return;
        }
        let ((source, target), bootstrap) = (topics(cluster).await, cluster.bootstrap());
        let (group, id) = (cluster.unique("copy"), cluster.unique("java"));
        let count = copy_in_java(&bootstrap, &source, &target, &group, &id).await;
        let listed = transactions(&bootstrap, &["list"]).await;
        assert_eq!(row(&listed, "TransactionalId", &id)("TransactionState"), "CompleteCommit");
        let described = transactions(&bootstrap, &["describe", "--transactional-id", &id]).await;
        let described = row(&described, "TransactionalId", &id);
        // One more for the transaction that was fenced, one for the producer that fenced it, and one for its transaction.
        assert_eq!(described("ProducerEpoch"), (count + 3).to_string(), "on {}", cluster.name());
        assert_eq!((described("TransactionState"), described("TopicPartitions")), ("CompleteCommit", ""));

        // The partition has heard of each of them, and nothing is open there.
        let place = ["--topic", target.as_str(), "--partition", "0"];
        let printed = transactions(&bootstrap, &[&["describe-producers"], &place[..]].concat()).await;
        let producer = row(&printed, "ProducerId", described("ProducerId"));
        assert_eq!(producer("ProducerEpoch"), described("ProducerEpoch"));
        assert_eq!(producer("CurrentTransactionStartOffset"), "None");

        // One that is open shows everywhere, and is nothing that hangs.
        let open = cluster.unique("open");
        let mut client = RawClient::connect(&bootstrap).await.expect("a connection");
        let mut producer = RawProducer::init(&mut client, &open, TransactionProtocol::V2, Duration::from_secs(600)).await.expect("an id");
        producer.produce(&mut client, &target, &[(0, "open")]).await.expect("written");
        let described = transactions(&bootstrap, &["describe", "--transactional-id", &open]).await;
        let described = row(&described, "TransactionalId", &open);
        assert_eq!((described("TransactionState"), described("TopicPartitions")), ("Ongoing", &*format!("{target}-0")));
        let printed = transactions(&bootstrap, &[&["describe-producers"], &place[..]].concat()).await;
        let start_offset = row(&printed, "ProducerId", described("ProducerId"))("CurrentTransactionStartOffset");
        assert!(start_offset.parse::<i64>().is_ok(), "{printed}");
        let hanging = transactions(&bootstrap, &["find-hanging", "--topic", &target]).await;
        assert!(!hanging.contains(&target), "{hanging}");
        producer.end(&mut client, false).await.expect("aborted");
    }
}

/// A record that a client of old put into a partition without the coordinator's knowledge holds back all readers of what
/// is committed, until Kafka's tool is told to end it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkas_tool_finds_and_ends_a_hanging_transaction() {
    if !has_java("transactions::kafkas_tool_finds_and_ends_a_hanging_transaction").await {
        return;
    }
    let cluster = TestCluster::builder()
        .topic("topic", 1)
        .broker(|mut config| {
            config.set("transaction.partition.verification.enable", "false").expect("a setting");
            config
        })
        .start()
        .await;
    let bootstrap = cluster.bootstrap();
    let mut client = RawClient::connect(&bootstrap).await.expect("a connection");
    let mut producer =
        RawProducer::init(&mut client, "lost", TransactionProtocol::V1, Duration::from_secs(60)).await.expect("an id");
    producer.produce_unannounced(&mut client, "topic", 0, "lost", 1_000).await.expect("written");
    let hanging = transactions(&bootstrap, &["find-hanging", "--broker-id", "1"]).await;
    assert_eq!(row(&hanging, "Topic", "topic")("StartOffset"), "0");
    assert_eq!(client.read_committed("topic", 0, 0).await.expect("an answer").last_stable_offset, 0);
    let place = ["--topic", "topic", "--partition", "0"];
    transactions(&bootstrap, &[&["abort"], &place[..], &["--start-offset", "0"]].concat()).await;
    let hanging = transactions(&bootstrap, &["find-hanging", "--broker-id", "1"]).await;
    assert!(!hanging.contains("topic"), "{hanging}");
    let read = client.read_committed("topic", 0, 0).await.expect("an answer");
    assert_eq!((read.last_stable_offset, read.values.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_reads_the_files_of_transactions() {
    if !has_java("transactions::kafka_reads_the_files_of_transactions").await {
        return;
    }
    let cluster = TestCluster::builder().topic("source", 2).topic("target", 2).on_disk().start().await;
    copy_in_java(&cluster.bootstrap(), "source", "target", "group", "java").await;
    let mut client = RawClient::connect(&cluster.bootstrap()).await.expect("a connection");
    let mut producer =
        RawProducer::init(&mut client, "open", TransactionProtocol::V2, Duration::from_secs(60)).await.expect("an id");
    producer.produce(&mut client, "target", &[(1, "open")]).await.expect("written");
    cluster.stop().await;

    let mut all = Vec::new();
    files_in(&cluster.data_dir(), &mut all);
    let of = |folder: &str, extension: &str| -> Vec<&PathBuf> {
        let is_in = |path: &&PathBuf| {
            let parent = path.parent().and_then(Path::file_name);
            parent.is_some_and(|name| name.to_string_lossy().starts_with(folder))
                && path.extension().is_some_and(|other| other == extension)
                && path.metadata().is_ok_and(|metadata| metadata.len() > 0)
        };
        all.iter().filter(is_in).collect()
    };
    let printed = dump(&of("__transaction_state-", "log"), &["--transaction-log-decoder"]).await;
    let states = |id: &str| -> Vec<&str> {
        let key = format!("\"transactionalId\":\"{id}\"");
        let lines = printed.lines().filter(|line| line.contains(&key));
        lines.filter_map(|line| line.split_once("\"transactionStatus\":")?.1.get(..1)).collect()
    };
    let java = states("java");
    // Empty, ongoing, prepared and complete, to both ends.
    for state in ["0", "1", "2", "3", "4", "5"] {
        assert!(java.contains(&state), "{state}: {printed}");
    }
    assert_eq!(java.last(), Some(&"4"));
    assert_eq!(states("open"), ["0", "1"]);

    let printed = dump(&of("target-", "txnindex"), &[]).await;
    assert!(printed.lines().any(|line| line.contains("producerId")), "aborted transactions are read: {printed}");
    let printed = dump(&of("target-1", "snapshot"), &[]).await;
    assert!(printed.lines().any(|line| line.contains("currentTxnFirstOffset: OptionalLong[")), "{printed}");
    let printed = dump(&of("target-", "log"), &["--print-data-log"]).await;
    for marker in ["endTxnMarker: COMMIT", "endTxnMarker: ABORT"] {
        assert!(printed.contains(marker), "{marker}: {printed}");
    }
    let printed = dump(&of("__consumer_offsets-", "log"), &["--offsets-decoder"]).await;
    assert!(printed.contains("endTxnMarker: COMMIT") && printed.contains("\"group\":\"group\""), "{printed}");
}
