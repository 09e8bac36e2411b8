//! docs/from-kafka.md: each line of rkafka's is run in its order, on a broker of ours and on Apache Kafka.

mod common;

use std::path::Path;

use common::{At, run};
use rkafka_testkit::{RealKafka, skipped};

/// The lines of rkafka's below a heading.
fn lines(heading: &str) -> Vec<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/from-kafka.md")).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|') && line.contains("rkafka ") && line.contains('`'));
    // A bar within a row is escaped.
    let line = |row: &str| {
        let cell =
            row.replace("\\|", "\u{1}").split('|').nth(2).unwrap().trim().trim_matches('`').replace('\u{1}', "|");
        assert!(cell.contains("rkafka "), "{row}");
        cell
    };
    rows.map(line).collect()
}

/// Runs them all as a shell does, in a folder of their own.
fn all_succeed(at: &At, lines: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_rkafka"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    for line in lines {
        let mut last = None;
        // What was changed is seen a little later by another broker's thread.
        common::eventually(
            || {
                let mut shell = std::process::Command::new("sh");
                shell.args(["-c", line]).current_dir(folder.path()).env("PATH", &path);
                shell.env("RKAFKA_BROKERS", &at.address).env("XDG_CONFIG_HOME", "/nonexistent");
                let ran = run(shell, b"");
                // Only what is not there yet is worth another attempt.
                let code = ran.code;
                last = Some(ran);
                code
            },
            |code| *code != 4,
        );
        let ran = last.unwrap();
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
    }
}

on_both! {
    fn topics_records_groups_and_the_cluster(at: &At) {
        let lines = lines("Topics, records, groups, the cluster");
        assert!(lines.len() > 30);
        all_succeed(at, &lines);
    }
}

#[test]
fn who_may_do_what_and_how_much() {
    let authorizer = |_| {
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS"
            .to_owned()
    };
    match RealKafka::start_with(1, authorizer) {
        Ok(kafka) => {
            let at = At { address: kafka.bootstrap(), is_real: true };
            all_succeed(&at, &lines("Who may do what, and how much"));
        }
        Err(why) => skipped("from_kafka::who_may_do_what_and_how_much", &why),
    }
}
