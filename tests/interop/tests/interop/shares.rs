//! Share groups (KIP-932) with Kafka's own members and tools.

use std::collections::BTreeSet;

use rkafka_testkit::on_both;

use crate::support::{has_java, send_values, tool, try_tool};

const CONFIGS: &str = "kafka.admin.ConfigCommand";
const SHARE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
const SHARE_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ShareGroupCommand";

/// The words of each line that begins with the group.
fn lines_of<'a>(printed: &'a str, group: &str) -> Vec<Vec<&'a str>> {
    let lines = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|words| words.first() == Some(&group)).collect()
}

on_both! {
    async fn a_java_share_group_reads_and_is_administered(cluster: &Cluster) {
        if !has_java("shares::a_java_share_group_reads_and_is_administered").await {
            return;
        }
        let (bootstrap, name) = (cluster.bootstrap(), cluster.name());
        let (topic, group) = (cluster.topic("java-share", 2, &[]).await, cluster.unique("java-share"));
        let at = ["--bootstrap-server", bootstrap.as_str()];
        let entity = ["--alter", "--entity-type", "groups", "--entity-name", &group];
        let earliest = ["--add-config", "share.auto.offset.reset=earliest"];
        tool(CONFIGS, &[&at[..], &entity, &earliest].concat(), b"").await;
        send_values(&bootstrap, &topic, 2, (0..60).map(|number| number.to_string())).await;
        let read = async |count: &str| {
            let arguments = ["--topic", &topic, "--group", &group, "--timeout-ms", "60000", "--max-messages", count];
            let printed = tool(SHARE_CONSUMER, &[&at[..], &arguments].concat(), b"").await;
            printed.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        // Each record is given to somebody once it was accepted, and is not given again.
        let all: BTreeSet<String> = (0..60).map(|number| number.to_string()).collect();
        let seen = read("60").await;
        assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (60, all.clone()), "on {name}");

        let groups = async |more: &[&str]| try_tool(SHARE_GROUPS, &[&at[..], more].concat(), b"").await;
        let done = async |more: &[&str]| {
            let (success, stdout, stderr) = groups(more).await;
            assert!(success, "on {name}: {more:?}\n{stdout}\n{stderr}");
            stdout
        };
        let listed = done(&["--list", "--state"]).await;
        assert_eq!(lines_of(&listed, &group), [[&group, "Empty"]], "on {name}: {listed}");
        let state = done(&["--describe", "--group", &group, "--state"]).await;
        let words = lines_of(&state, &group);
        assert!(words[0].contains(&"Empty") && words[0].last() == Some(&"0"), "on {name}: {state}");
        // Where the group starts is told differently: Kafka notes it when more is read. What is left is the same.
        let offsets = done(&["--describe", "--group", &group, "--offsets"]).await;
        let left: Vec<_> = lines_of(&offsets, &group).iter().map(|words| (words[1].to_owned(), words[4].to_owned())).collect();
        assert_eq!(left, vec![(topic.clone(), "0".to_owned()); 2], "on {name}: {offsets}");

        done(&["--group", &group, "--reset-offsets", "--to-earliest", "--topic", &topic, "--execute"]).await;
        let offsets = done(&["--describe", "--group", &group, "--offsets"]).await;
        let rows: BTreeSet<_> = lines_of(&offsets, &group).iter().map(|words| words[1..].join(" ")).collect();
        let expected = [0, 1].map(|partition| format!("{topic} {partition} 0 30"));
        assert_eq!(rows, expected.into(), "on {name}: {offsets}");
        assert_eq!(read("60").await.into_iter().collect::<BTreeSet<_>>(), all, "on {name}: all once more");

        done(&["--group", &group, "--delete-offsets", "--topic", &topic]).await;
        let deleted = done(&["--group", &group, "--delete"]).await;
        assert!(deleted.contains("was successful"), "on {name}: {deleted}");
        let listed = done(&["--list"]).await;
        assert!(!listed.lines().any(|line| line == group), "on {name}: {listed}");
    }
}
