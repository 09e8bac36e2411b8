//! Kafka's administrative tools: the same calls on both brokers, with the same expectations.

use rkafka_testkit::on_both;

use crate::support::{CONSUMER_GROUPS, has_java, send_values, tool, try_tool};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// Whether a line has these words in this order.
fn has_line(printed: &str, words: &[&str]) -> bool {
    printed.lines().any(|line| {
        let mut all = line.split_whitespace();
        words.iter().all(|word| all.any(|other| other == *word))
    })
}

on_both! {
    async fn topics_and_their_settings(cluster: &Cluster) {
        if !has_java("admin_tools::topics_and_their_settings").await {
            return;
        }
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.unique("tools.topic"));
        let at = ["--bootstrap-server", bootstrap.as_str()];
        let topics = async |more: &[&str]| try_tool(TOPICS, &[&at[..], more].concat(), b"").await;
        let done = async |more: &[&str]| tool(TOPICS, &[&at[..], more].concat(), b"").await;

        let created = done(&["--create", "--topic", &topic, "--partitions", "3", "--replication-factor", "1",
            "--config", "retention.ms=3600000"]).await;
        assert!(created.contains(&format!("Created topic {topic}.")), "{created}");
        let (success, stdout, stderr) = topics(&["--create", "--topic", &topic]).await;
        assert!(!success && format!("{stdout}{stderr}").contains("already exists"), "{stdout}{stderr}");
        let (success, stdout, stderr) = topics(&["--create", "--topic", "more", "--replication-factor", "7"]).await;
        assert!(!success && format!("{stdout}{stderr}").contains("replication factor"), "{stdout}{stderr}");
        assert!(done(&["--list"]).await.lines().any(|line| line == topic));

        let described = done(&["--describe", "--topic", &topic]).await;
        assert!(described.contains("PartitionCount: 3") && described.contains("retention.ms=3600000"), "{described}");
        for partition in ["0", "1", "2"] {
            let words = ["Topic:", &topic, "Partition:", partition, "Leader:", "1", "Replicas:", "1", "Isr:", "1"];
            assert!(has_line(&described, &words), "{described}");
        }
        done(&["--alter", "--topic", &topic, "--partitions", "5"]).await;
        let described = done(&["--describe", "--topic", &topic]).await;
        assert!(described.contains("PartitionCount: 5"), "{described}");
        let (success, ..) = topics(&["--alter", "--topic", &topic, "--partitions", "2"]).await;
        assert!(!success, "partitions are never taken away");

        let configs = async |more: &[&str]| tool(CONFIGS, &[&at[..], more].concat(), b"").await;
        let entity = ["--entity-type", "topics", "--entity-name", topic.as_str()];
        configs(&[&entity[..], &["--alter", "--add-config", "max.message.bytes=123456"]].concat()).await;
        let described = configs(&[&entity[..], &["--describe"]].concat()).await;
        assert!(described.contains("max.message.bytes=123456") && described.contains("retention.ms=3600000"), "{described}");
        configs(&[&entity[..], &["--alter", "--delete-config", "retention.ms"]].concat()).await;
        let described = configs(&[&entity[..], &["--describe"]].concat()).await;
        assert!(!described.contains("retention.ms=3600000"), "{described}");
        let described = configs(&[&entity[..], &["--describe", "--all"]].concat()).await;
        assert!(described.contains("segment.bytes=1073741824") && described.contains("cleanup.policy=delete"), "{described}");
        let described = configs(&["--entity-type", "brokers", "--entity-name", "1", "--describe", "--all"]).await;
        assert!(described.contains("log.segment.bytes="), "{described}");

        done(&["--delete", "--topic", &topic]).await;
        assert!(!done(&["--list"]).await.lines().any(|line| line == topic));
        let (success, stdout, stderr) = topics(&["--describe", "--topic", &topic]).await;
        assert!(!success && format!("{stdout}{stderr}").contains("does not exist"), "{stdout}{stderr}");
    }
}

on_both! {
    async fn groups_offsets_and_versions(cluster: &Cluster) {
        if !has_java("admin_tools::groups_offsets_and_versions").await {
            return;
        }
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("tools-offsets", 2, &[]).await);
        let group = cluster.unique("tools-group");
        let at = ["--bootstrap-server", bootstrap.as_str()];
        send_values(&bootstrap, &topic, 2, (0..100).map(|number| number.to_string())).await;

        let offsets = async |time: &str| {
            let arguments = [&at[..], &["--topic", &topic, "--time", time]].concat();
            tool("org.apache.kafka.tools.GetOffsetShell", &arguments, b"").await
        };
        let mut ends: Vec<String> = offsets("latest").await.lines().map(str::to_owned).collect();
        ends.sort();
        assert_eq!(ends, [format!("{topic}:0:50"), format!("{topic}:1:50")]);
        assert!(offsets("earliest").await.lines().any(|line| line == format!("{topic}:1:0")));
        assert!(offsets("max-timestamp").await.lines().any(|line| line.starts_with(&format!("{topic}:0:"))));

        let groups = async |more: &[&str]| tool(CONSUMER_GROUPS, &[&at[..], more].concat(), b"").await;
        let of_group = ["--group", group.as_str()];
        let reset = ["--reset-offsets", "--topic", &topic, "--execute"];
        let printed = groups(&[&of_group[..], &reset, &["--to-offset", "20"]].concat()).await;
        assert!(has_line(&printed, &[&group, &topic, "0", "20"]), "{printed}");
        assert!(groups(&["--list"]).await.lines().any(|line| line == group));
        let described = groups(&[&of_group[..], &["--describe"]].concat()).await;
        assert!(has_line(&described, &[&group, &topic, "1", "20", "50", "30"]), "{described}");
        let state = groups(&[&of_group[..], &["--describe", "--state"]].concat()).await;
        assert!(has_line(&state, &[&group, "Empty", "0"]), "{state}");
        groups(&[&of_group[..], &reset, &["--shift-by", "5"]].concat()).await;
        groups(&[&of_group[..], &["--delete-offsets", "--topic", &format!("{topic}:0")]].concat()).await;
        let described = groups(&[&of_group[..], &["--describe"]].concat()).await;
        assert!(has_line(&described, &[&group, &topic, "1", "25", "50", "25"]), "{described}");
        assert!(!has_line(&described, &[&group, &topic, "0", "25"]), "{described}");
        groups(&[&of_group[..], &["--delete"]].concat()).await;
        assert!(!groups(&["--list"]).await.lines().any(|line| line == group));

        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("delete.json");
        let json = format!(r#"{{"partitions":[{{"topic":"{topic}","partition":0,"offset":10}}],"version":1}}"#);
        std::fs::write(&file, json).expect("a file");
        let path = file.to_str().expect("a path of letters");
        let arguments = [&at[..], &["--offset-json-file", path]].concat();
        let deleted = tool("org.apache.kafka.tools.DeleteRecordsCommand", &arguments, b"").await;
        assert!(has_line(&deleted, &["low_watermark:", "10"]), "{deleted}");
        assert!(offsets("earliest").await.lines().any(|line| line == format!("{topic}:0:10")));

        let versions = tool("org.apache.kafka.tools.BrokerApiVersionsCommand", &at, b"").await;
        assert!(versions.contains("id: 1 ") && versions.contains("Produce(0): "), "{versions}");
        let dirs = [&at[..], &["--describe", "--topic-list", &topic]].concat();
        let dirs = tool("org.apache.kafka.tools.LogDirsCommand", &dirs, b"").await;
        assert!(dirs.contains(&format!("{topic}-1")), "{dirs}");
    }
}

on_both! {
    async fn the_performance_tools(cluster: &Cluster) {
        if !has_java("admin_tools::the_performance_tools").await {
            return;
        }
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("tools-performance", 2, &[]).await);
        for (codec, acks) in [("none", "acks=all"), ("lz4", "acks=1"), ("zstd", "acks=0")] {
            let codec = format!("compression.type={codec}");
            let arguments = ["--bootstrap-server", &bootstrap, "--topic", &topic, "--num-records", "20000",
                "--record-size", "200", "--throughput", "-1", "--command-property", &codec, "--command-property", acks];
            let printed = tool("org.apache.kafka.tools.ProducerPerformance", &arguments, b"").await;
            assert!(printed.contains("20000 records sent"), "{printed}");
        }
        let arguments = ["--bootstrap-server", &bootstrap, "--topic", &topic, "--num-records", "60000", "--timeout", "60000"];
        let printed = tool("org.apache.kafka.tools.ConsumerPerformance", &arguments, b"").await;
        let row = printed.lines().find(|line| line.contains("60000")).unwrap_or_default();
        assert!(row.contains(", 60000, "), "{printed}");
    }
}

on_both! {
    async fn the_cluster_as_its_tools_see_it(cluster: &Cluster) {
        if !has_java("admin_tools::the_cluster_as_its_tools_see_it").await {
            return;
        }
        let (bootstrap, topic) = (cluster.bootstrap(), cluster.topic("tools-cluster", 1, &[]).await);
        let at = ["--bootstrap-server", bootstrap.as_str()];
        let features = tool("org.apache.kafka.tools.FeatureCommand", &[&at[..], &["describe"]].concat(), b"").await;
        assert!(has_line(&features, &["Feature:", "metadata.version", "FinalizedVersionLevel:", "4.3-IV0"]), "{features}");

        let quorum = "org.apache.kafka.tools.MetadataQuorumCommand";
        let status = tool(quorum, &[&at[..], &["describe", "--status"]].concat(), b"").await;
        assert!(has_line(&status, &["LeaderId:", "1"]) && has_line(&status, &["MaxFollowerLag:", "0"]), "{status}");
        let replication = tool(quorum, &[&at[..], &["describe", "--replication"]].concat(), b"").await;
        assert!(has_line(&replication, &["1", "0", "Leader"]), "{replication}");

        let election = "org.apache.kafka.tools.LeaderElectionCommand";
        let one = ["--election-type", "preferred", "--topic", &topic, "--partition", "0"];
        let (_, stdout, stderr) = try_tool(election, &[&at[..], &one].concat(), b"").await;
        assert!(stdout.contains("Valid replica already elected"), "{stdout}{stderr}");

        let dirs = ["--describe", "--topic-list", &topic];
        let dirs = tool("org.apache.kafka.tools.LogDirsCommand", &[&at[..], &dirs].concat(), b"").await;
        assert!(dirs.contains(&format!("\"partition\":\"{topic}-0\"")), "{dirs}");

        let metrics = "org.apache.kafka.tools.ClientMetricsCommand";
        let name = cluster.unique("metrics");
        let add = ["--alter", "--name", &name, "--metrics", "org.apache.kafka.producer.", "--interval", "1000"];
        tool(metrics, &[&at[..], &add].concat(), b"").await;
        let described = tool(metrics, &[&at[..], &["--describe", "--name", &name]].concat(), b"").await;
        assert!(described.contains("interval.ms=1000"), "{described}");
        tool(metrics, &[&at[..], &["--delete", "--name", &name]].concat(), b"").await;
    }
}
