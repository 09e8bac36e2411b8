//! What rkafka produces, others read: every codec, keys, headers, nulls and timestamps.

use rkafka::producer::Record;
use rkafka_testkit::{Cluster, log_lines, on_both};

use crate::support::{CODECS, CONSOLE_CONSUMER, has_java, has_kcat, in_time, kcat, producer, tool};

/// A record as text, for every reader's own form.
struct Sent {
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(&'static str, Option<&'static str>)>,
}

fn records(codec: &str) -> Vec<Sent> {
    let log = String::from_utf8(log_lines(3_000)).expect("text");
    let mut records = Vec::new();
    for (number, line) in log.lines().enumerate() {
        records.push(Sent {
            timestamp: 1_700_000_000_000 + number as i64,
            key: (number % 5 > 0).then(|| format!("{codec} {number}")),
            // No tabs and bars, which the readers' output is split at.
            value: (number % 50 > 0).then(|| line.replace(['\t', '|'], " ")),
            headers: match number % 4 {
                0 => vec![("twice", Some("first")), ("once", Some("größer")), ("twice", Some("second"))],
                1 => vec![("codec", Some("any")), ("nothing", None)],
                _ => vec![],
            },
        });
    }
    records
}

/// Sends the records of each codec to one topic of one partition, and gives them all in their order.
async fn produce(cluster: &Cluster) -> (String, Vec<Sent>) {
    let topic = cluster.topic("by-rkafka", 1, &[("retention.ms", "-1")]).await;
    let mut all = Vec::new();
    for codec in CODECS {
        let producer = producer(&cluster.bootstrap(), codec).await;
        let mut deliveries = Vec::new();
        for sent in records(codec) {
            let headers: Vec<_> = sent.headers.iter().map(|(name, value)| (*name, value.map(str::as_bytes))).collect();
            let mut record = Record::to(&topic).timestamp(sent.timestamp).headers(&headers);
            record.key = sent.key.as_deref().map(str::as_bytes);
            record.value = sent.value.as_deref().map(str::as_bytes);
            deliveries.push(producer.send(record).await.expect("accepted"));
            all.push(sent);
        }
        for delivery in deliveries {
            in_time("an acknowledgement", delivery).await.expect("written");
        }
    }
    (topic, all)
}

/// Compares line by line, so that a difference is shown and not fifteen thousand lines.
fn assert_lines(reader: &str, printed: &str, expected: &[String]) {
    let printed: Vec<&str> = printed.lines().collect();
    for (line, expected) in printed.iter().zip(expected) {
        assert_eq!(line, expected, "{reader}");
    }
    assert_eq!(printed.len(), expected.len(), "{reader}");
}

on_both! {
    async fn the_java_consumer(cluster: &Cluster) {
        if !has_java("read_by_others::the_java_consumer").await {
            return;
        }
        let (topic, sent) = produce(cluster).await;
        let bootstrap = cluster.bootstrap();
        let count = sent.len().to_string();
        let mut arguments = vec!["--bootstrap-server", &bootstrap, "--topic", &topic, "--from-beginning"];
        arguments.extend(["--max-messages", &count, "--timeout-ms", "60000"]);
        for property in ["print.timestamp", "print.partition", "print.offset", "print.headers", "print.key"] {
            arguments.extend(["--formatter-property", match property {
                "print.timestamp" => "print.timestamp=true",
                "print.partition" => "print.partition=true",
                "print.offset" => "print.offset=true",
                "print.headers" => "print.headers=true",
                _ => "print.key=true",
            }]);
        }
        let printed = tool(CONSOLE_CONSUMER, &arguments, b"").await;
        let expected: Vec<String> = sent.iter().enumerate().map(|(offset, sent)| {
            let headers: Vec<String> =
                sent.headers.iter().map(|(name, value)| format!("{name}:{}", value.unwrap_or("null"))).collect();
            let headers = if headers.is_empty() { "NO_HEADERS".to_owned() } else { headers.join(",") };
            let (key, value) = (sent.key.as_deref().unwrap_or("null"), sent.value.as_deref().unwrap_or("null"));
            format!("CreateTime:{}\tPartition:0\tOffset:{offset}\t{headers}\t{key}\t{value}", sent.timestamp)
        }).collect();
        assert_lines(&format!("Java on {}", cluster.name()), &printed, &expected);
    }
}

on_both! {
    async fn kcat_reads_it(cluster: &Cluster) {
        if !has_kcat("read_by_others::kcat_reads_it") {
            return;
        }
        let (topic, sent) = produce(cluster).await;
        let form = "%T|%p|%o|%h|%K|%k|%S|%s\n";
        let arguments = ["-C", "-t", &topic, "-p", "0", "-o", "beginning", "-e", "-q", "-X", "check.crcs=true", "-f", form];
        let printed = kcat(&cluster.bootstrap(), &arguments, b"").await;
        let length = |field: &Option<String>| field.as_ref().map_or(-1, |field| field.len() as i64);
        let expected: Vec<String> = sent.iter().enumerate().map(|(offset, sent)| {
            let headers: Vec<String> =
                sent.headers.iter().map(|(name, value)| format!("{name}={}", value.unwrap_or("NULL"))).collect();
            format!(
                "{}|0|{offset}|{}|{}|{}|{}|{}",
                sent.timestamp, headers.join(","), length(&sent.key), sent.key.as_deref().unwrap_or_default(),
                length(&sent.value), sent.value.as_deref().unwrap_or_default()
            )
        }).collect();
        assert_lines(&format!("kcat on {}", cluster.name()), &printed, &expected);
    }
}
