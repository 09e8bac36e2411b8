//! Kafka Streams, unmodified: the WordCount of its examples, exactly once.

use std::collections::BTreeMap;
use std::path::Path;

use rkafka_testkit::{eventually, on_both};

use crate::support::{CONSOLE_CONSUMER, has_java, send_values, start_tool};

const WORD_COUNT: &str = "org.apache.kafka.streams.examples.wordcount.WordCountDemo";

/// What the demo calls its topics.
const INPUT: &str = "streams-plaintext-input";
const OUTPUT: &str = "streams-wordcount-output";

on_both! {
    /// The demo has no cache, so it writes a word's count at each occurrence: read committed, each number comes once and
    /// in order, although the application is killed between the two halves of its input.
    async fn word_count_counts_exactly_once(cluster: &Cluster) {
        if !has_java("streams::word_count_counts_exactly_once").await {
            return;
        }
        let bootstrap = cluster.bootstrap();
        let at = bootstrap.clone();
        let created = tokio::task::spawn_blocking(move || {
            rkafka_testkit::create_topic(&at, INPUT, 2, &[]);
            rkafka_testkit::create_topic(&at, OUTPUT, 2, &[("cleanup.policy", "compact")]);
        });
        created.await.expect("created");
        let folder = tempfile::tempdir().expect("a folder");
        let properties = folder.path().join("streams.properties");
        let state = folder.path().join("state");
        std::fs::write(&properties, format!(
            "bootstrap.servers={bootstrap}\napplication.id={}\nprocessing.guarantee=exactly_once_v2\n\
             state.dir={}\ncommit.interval.ms=100\nsession.timeout.ms=6000\nheartbeat.interval.ms=500\n\
             transaction.timeout.ms=10000\nreplication.factor=1\n",
            cluster.unique("word-count"), state.display(),
        ))
        .expect("a file");
        let properties = properties.display().to_string();

        let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
        for round in 0..2 {
            let log = folder.path().join(format!("log-{round}"));
            let mut demo = start_tool(WORD_COUNT, &[&properties], &log).await;
            let lines = (0..200).map(|number| ["all streams lead", "to kafka", "join kafka summit", "all"][number % 4]);
            lines.clone().flat_map(str::split_whitespace).for_each(|word| *expected.entry(word).or_default() += 1);
            send_values(&bootstrap, INPUT, 2, lines.map(str::to_owned)).await;
            let total: usize = expected.values().sum();
            eventually("the counts", || counted(&bootstrap, total, &log, &expected)).await;
            demo.kill().expect("killed");
        }
    }
}

/// Whether the committed output is 1, 2, 3 and so on for each word, up to what is expected.
async fn counted(bootstrap: &str, total: usize, log: &Path, expected: &BTreeMap<&str, usize>) -> Result<(), String> {
    let (total_text, property) = (total.to_string(), "print.key=true");
    let read = [
        "--bootstrap-server",
        bootstrap,
        "--topic",
        OUTPUT,
        "--from-beginning",
        "--isolation-level",
        "read_committed",
        "--max-messages",
        &total_text,
        "--timeout-ms",
        "5000",
        "--formatter-property",
        property,
        "--formatter-property",
        "value.deserializer=org.apache.kafka.common.serialization.LongDeserializer",
    ];
    let printed = crate::support::try_tool(CONSOLE_CONSUMER, &read, b"").await.1;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in printed.lines() {
        let (word, count) = line.split_once('\t').unwrap_or_else(|| panic!("not a count: {line}"));
        let seen = counts.entry(word).or_default();
        *seen += 1;
        assert_eq!(count, seen.to_string(), "{word} is counted twice, or not at all\n{printed}");
    }
    if counts == *expected {
        return Ok(());
    }
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let end = said.char_indices().nth_back(3_000).map_or(0, |(at, _)| at);
    Err(format!("{counts:?}\n{}", &said[end..]))
}
