//! MirrorMaker 2, unmodified: records and a group's offsets go from one of our brokers to another.

use rkafka::consumer::{Consumer, TopicPartition};
use rkafka_testkit::{TestCluster, create_topic, eventually};

use crate::support::{
    CONSOLE_CONSUMER, consumer_config, has_java, in_time, read_all, send_values, start_tool, text, tool,
};

const MIRROR_MAKER: &str = "org.apache.kafka.connect.mirror.MirrorMaker";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_and_offsets_are_mirrored() {
    if !has_java("mirror_maker::records_and_offsets_are_mirrored").await {
        return;
    }
    let (from, to) = (TestCluster::start().await, TestCluster::start().await);
    let (source, target) = (from.bootstrap(), to.bootstrap());
    let at = source.clone();
    tokio::task::spawn_blocking(move || create_topic(&at, "orders", 2, &[("retention.ms", "7200000")]))
        .await
        .expect("created");
    send_values(&source, "orders", 2, (0..100).map(|number| number.to_string())).await;
    let read = [
        "--bootstrap-server",
        &source,
        "--topic",
        "orders",
        "--group",
        "readers",
        "--from-beginning",
        "--timeout-ms",
        "60000",
        "--max-messages",
        "100",
    ];
    assert_eq!(tool(CONSOLE_CONSUMER, &read, b"").await.lines().count(), 100);

    let folder = tempfile::tempdir().expect("a folder");
    let (properties, log) = (folder.path().join("mm2.properties"), folder.path().join("log"));
    std::fs::write(
        &properties,
        format!(
            "clusters=a,b\na.bootstrap.servers={source}\nb.bootstrap.servers={target}\na->b.enabled=true\n\
         b->a.enabled=false\na->b.topics=orders\na->b.groups=.*\nreplication.factor=1\n\
         checkpoints.topic.replication.factor=1\nheartbeats.topic.replication.factor=1\n\
         offset-syncs.topic.replication.factor=1\noffset.storage.replication.factor=1\n\
         config.storage.replication.factor=1\nstatus.storage.replication.factor=1\n\
         sync.group.offsets.enabled=true\nsync.group.offsets.interval.seconds=1\n\
         emit.checkpoints.interval.seconds=1\nrefresh.topics.interval.seconds=5\nrefresh.groups.interval.seconds=1\n\
         offset.lag.max=0\nsync.topic.acls.enabled=false\na.consumer.auto.offset.reset=earliest\n",
        ),
    )
    .expect("a file");
    let _mirror = start_tool(MIRROR_MAKER, &[&properties.display().to_string()], &log).await;

    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    let records = eventually("the mirrored records", || async {
        let at = target.clone();
        let listed = tool("org.apache.kafka.tools.TopicCommand", &["--bootstrap-server", &at, "--list"], b"").await;
        if !listed.lines().any(|topic| topic == "a.orders") {
            return Err(said());
        }
        let records = read_all(&target, "a.orders", 2).await;
        if records.len() == 100 { Ok(records) } else { Err(format!("{} records\n{}", records.len(), said())) }
    })
    .await;
    let mut values: Vec<u32> =
        records.iter().map(|record| text(record.value()).expect("a value").parse().expect("a number")).collect();
    values.sort_unstable();
    assert!(values.into_iter().eq(0..100));

    let consumer = Consumer::connect(consumer_config(&target).group_id("readers")).await.expect("a consumer");
    let partitions = [TopicPartition::new("a.orders", 0), TopicPartition::new("a.orders", 1)];
    eventually("the group's offsets", || async {
        let committed = in_time("offsets", consumer.committed(&partitions)).await.expect("told");
        let offsets: Vec<_> = committed.into_iter().map(|(_, at)| at.map(|at| at.offset)).collect();
        if offsets == [Some(50), Some(50)] { Ok(()) } else { Err(format!("{offsets:?}\n{}", said())) }
    })
    .await;
}
