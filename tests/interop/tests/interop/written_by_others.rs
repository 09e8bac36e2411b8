//! What others produce, rkafka reads: every codec, keys, headers, nulls and timestamps.

use rkafka::consumer::ConsumerRecord;
use rkafka_testkit::{log_lines, on_both};

use crate::support::{CODECS, CONSOLE_PRODUCER, has_java, has_kcat, headers_text, kcat, read_all, text, tool};

/// Lines without tabs, the last of them long: it is more than one block of each codec.
fn lines() -> Vec<String> {
    let log = String::from_utf8(log_lines(3_000)).expect("text");
    let mut lines: Vec<String> =
        log.lines().filter(|line| !line.is_empty()).map(|line| line.replace(['\t', ':', '|'], " ")).collect();
    lines.push(lines.concat());
    lines
}

fn check(writer: &str, records: &[ConsumerRecord], lines: &[String], headers: &str) {
    assert_eq!(records.len(), lines.len(), "{writer}");
    for (number, (record, line)) in records.iter().zip(lines).enumerate() {
        let key = format!("key {number}");
        assert_eq!(text(record.key()), Some(key.as_str()), "{writer}");
        let expected = (number % 10 > 0).then_some(line.as_str());
        assert!(text(record.value()) == expected, "{writer}: line {number} came out otherwise");
        assert_eq!(headers_text(record), headers, "{writer}");
        assert_eq!(record.offset(), number as i64, "{writer}");
        // Sent today, by the clock of this machine.
        assert!(record.timestamp() > 1_700_000_000_000, "{writer}: {}", record.timestamp());
    }
}

on_both! {
    async fn the_java_producer(cluster: &Cluster) {
        if !has_java("written_by_others::the_java_producer").await {
            return;
        }
        let (bootstrap, lines) = (cluster.bootstrap(), lines());
        let mut input = String::new();
        for (number, line) in lines.iter().enumerate() {
            let value = if number % 10 > 0 { line } else { "NULL" };
            input += &format!("twice:first,other:größe,twice:second\tkey {number}\t{value}\n");
        }
        for codec in CODECS {
            let topic = cluster.topic("by-java", 1, &[]).await;
            let arguments = [
                "--bootstrap-server", &bootstrap, "--topic", &topic, "--compression-codec", codec,
                "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
                "--reader-property", "null.marker=NULL",
            ];
            tool(CONSOLE_PRODUCER, &arguments, input.as_bytes()).await;
            let records = read_all(&bootstrap, &topic, 1).await;
            let writer = format!("Java with {codec} on {}", cluster.name());
            check(&writer, &records, &lines, "twice:first,other:größe,twice:second");
        }
    }
}

on_both! {
    async fn kcat_writes_it(cluster: &Cluster) {
        if !has_kcat("written_by_others::kcat_writes_it") {
            return;
        }
        let (bootstrap, lines) = (cluster.bootstrap(), lines());
        let mut input = String::new();
        for (number, line) in lines.iter().enumerate() {
            let value = if number % 10 > 0 { line } else { "" };
            input += &format!("key {number}:{value}\n");
        }
        for codec in CODECS {
            let topic = cluster.topic("by-kcat", 1, &[]).await;
            let arguments = [
                "-P", "-t", &topic, "-p", "0", "-z", codec, "-K", ":", "-Z", "-X", "linger.ms=20",
                "-H", "twice=first", "-H", "other=größe", "-H", "twice=second",
            ];
            kcat(&bootstrap, &arguments, input.as_bytes()).await;
            let records = read_all(&bootstrap, &topic, 1).await;
            let writer = format!("kcat with {codec} on {}", cluster.name());
            check(&writer, &records, &lines, "twice:first,other:größe,twice:second");
        }
    }
}
