//! Groups with foreign members.

use std::collections::BTreeSet;
use std::time::Duration;

use rkafka::consumer::{Consumer, Start, TopicPartition};
use rkafka_testkit::{eventually, on_both};

use crate::support::{
    CONSOLE_CONSUMER, CONSUMER_GROUPS, consumer_config, has_java, has_kcat, in_time, kcat, send_values, start_tool,
    text, tool,
};

on_both! {
    async fn a_java_group_reads_and_commits(cluster: &Cluster) {
        if !has_java("groups::a_java_group_reads_and_commits").await {
            return;
        }
        let bootstrap = cluster.bootstrap();
        for protocol in ["classic", "consumer"] {
            let (topic, group) = (cluster.topic("java-group", 2, &[]).await, cluster.unique("java-group"));
            send_values(&bootstrap, &topic, 2, (0..100).map(|number| number.to_string())).await;
            let protocol = format!("group.protocol={protocol}");
            let read = ["--bootstrap-server", &bootstrap, "--topic", &topic, "--group", &group, "--from-beginning",
                "--command-property", &protocol, "--timeout-ms", "60000", "--max-messages"];
            let mut printed = tool(CONSOLE_CONSUMER, &[&read[..], &["60"]].concat(), b"").await;
            printed += &tool(CONSOLE_CONSUMER, &[&read[..], &["40"]].concat(), b"").await;
            let seen: BTreeSet<String> = printed.lines().map(str::to_owned).collect();
            let all: BTreeSet<String> = (0..100).map(|number| number.to_string()).collect();
            assert!(seen == all && printed.lines().count() == 100, "each record once on {}", cluster.name());

            // rkafka finds what Java committed.
            let consumer = Consumer::connect(consumer_config(&bootstrap).group_id(group)).await.expect("a consumer");
            let partitions = [TopicPartition::new(topic.as_str(), 0), TopicPartition::new(topic.as_str(), 1)];
            let committed = in_time("offsets", consumer.committed(&partitions)).await.expect("told");
            let offsets: Vec<_> = committed.into_iter().map(|(_, at)| at.map(|at| at.offset)).collect();
            assert_eq!(offsets, [Some(50), Some(50)]);
        }
    }
}

on_both! {
    async fn a_kcat_group_reads_and_commits(cluster: &Cluster) {
        if !has_kcat("groups::a_kcat_group_reads_and_commits") {
            return;
        }
        let bootstrap = cluster.bootstrap();
        let (topic, group) = (cluster.topic("kcat-group", 3, &[]).await, cluster.unique("kcat-group"));
        send_values(&bootstrap, &topic, 3, (0..90).map(|number| number.to_string())).await;
        let arguments = ["-G", &group, "-X", "auto.offset.reset=earliest", "-e", "-q", "-f", "%s\n", &topic];
        let printed = kcat(&bootstrap, &arguments, b"").await;
        let seen: BTreeSet<&str> = printed.lines().collect();
        assert_eq!(seen.len(), 90, "on {}", cluster.name());
        send_values(&bootstrap, &topic, 3, (90..120).map(|number| number.to_string())).await;

        // rkafka goes on where kcat ended.
        let mut consumer = Consumer::connect(consumer_config(&bootstrap).group_id(group)).await.expect("a consumer");
        let all = (0..3).map(|partition| (topic.as_str(), partition, Start::Committed));
        consumer.assign(all).expect("assigned");
        let mut rest = BTreeSet::new();
        while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("a record") {
            rest.insert(text(record.value()).expect("a value").to_owned());
        }
        assert_eq!(rest, (90..120).map(|number| number.to_string()).collect());
    }
}

on_both! {
    async fn a_java_member_and_one_of_rkafka_share(cluster: &Cluster) {
        if !has_java("groups::a_java_member_and_one_of_rkafka_share").await {
            return;
        }
        let bootstrap = cluster.bootstrap();
        let (topic, group) = (cluster.topic("mixed", 4, &[]).await, cluster.unique("mixed"));
        let config = consumer_config(&bootstrap)
            .group_id(group.clone())
            .session_timeout(Duration::from_secs(6))
            .heartbeat_interval(Duration::from_millis(200));
        let mut ours = Consumer::connect(config).await.expect("a consumer");
        ours.subscribe([topic.as_str()]).expect("subscribed");
        wait_for_share(&mut ours, 4, &BTreeSet::new()).await;

        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("java");
        let arguments = ["--bootstrap-server", &bootstrap, "--topic", &topic, "--group", &group, "--from-beginning",
            "--command-property", "group.protocol=classic", "--command-property", "session.timeout.ms=6000",
            "--command-property", "heartbeat.interval.ms=200"];
        let mut java = start_tool(CONSOLE_CONSUMER, &arguments, &log).await;
        wait_for_share(&mut ours, 2, &BTreeSet::new()).await;

        send_values(&bootstrap, &topic, 4, (0..400).map(|number| number.to_string())).await;
        let mut of_ours = BTreeSet::new();
        while of_ours.len() < 200 {
            let record = in_time("a record", ours.recv()).await.expect("a record");
            of_ours.insert(text(record.value()).expect("a value").to_owned());
        }
        let of_java = eventually("Java's half", || async {
            let printed = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
            // Java's warnings go to the same file.
            let numbers = printed.lines().filter(|line| line.parse::<u32>().is_ok());
            let lines: BTreeSet<String> = numbers.map(str::to_owned).collect();
            if lines.len() >= 200 { Ok(lines) } else { Err(printed) }
        })
        .await;
        assert!(of_java.is_disjoint(&of_ours), "no record is read by both");
        let all: BTreeSet<String> = (0..400).map(|number| number.to_string()).collect();
        assert_eq!(of_java.union(&of_ours).cloned().collect::<BTreeSet<_>>(), all);

        // Java's own view of the group.
        let describe = ["--bootstrap-server", &bootstrap, "--describe", "--group", &group, "--members"];
        let described = tool(CONSUMER_GROUPS, &describe, b"").await;
        let members = described.lines().filter(|line| line.starts_with(&group)).count();
        assert_eq!(members, 2, "{described}");

        // It dies without a word, and its half comes here: what it had not committed is read again.
        java.kill().expect("killed");
        wait_for_share(&mut ours, 4, &of_java).await;
        send_values(&bootstrap, &topic, 4, (400..440).map(|number| number.to_string())).await;
        let mut rest = BTreeSet::new();
        while rest.len() < 40 {
            let record = in_time("a record", ours.recv()).await.expect("a record");
            let value = text(record.value()).expect("a value").to_owned();
            assert!(!of_ours.contains(&value), "what was read here is not read again");
            if !of_java.contains(&value) {
                rest.insert(value);
            }
        }
        assert_eq!(rest, (400..440).map(|number| number.to_string()).collect());
    }
}

/// Comes back for records until so many partitions are assigned. Only records that are `expected` may come meanwhile.
async fn wait_for_share(consumer: &mut Consumer, partitions: usize, expected: &BTreeSet<String>) {
    for _ in 0..1_200 {
        if consumer.assignment().len() == partitions {
            return;
        }
        if let Ok(record) = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await {
            let record = record.expect("no error");
            assert!(expected.contains(text(record.value()).expect("a value")), "it is not due: {record:?}");
        }
    }
    panic!("not {partitions} partitions: {:?}", consumer.assignment());
}
