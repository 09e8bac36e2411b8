//! Kafka's DumpLogSegments reads the log and the snapshots that a node of the metadata quorum writes.

use std::path::PathBuf;
use std::sync::Arc;

use rkafka::broker::log::{LogConfig, OpenState};
use rkafka::broker::raft::{DiskLog, Now, RaftConfig, RaftNode, Voter};
use rkafka::broker::storage::FsStorage;
use rkafka::protocol::messages::{FeatureLevelRecord, TopicRecord};
use rkafka::protocol::records::{BatchOptions, encode_batch};
use rkafka::protocol::wire::{Message, encode_to_vec};

use crate::dump_log::{dump, files_in};
use crate::support::has_java;

/// A metadata record in KRaft's frame: frame version 1, the record's key, its version.
fn framed(key: u8, message: &impl Message) -> Vec<u8> {
    let encoded = encode_to_vec(message, 0).expect("a record");
    [&[1, key, 0], &encoded[..]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_reads_the_quorums_log_and_snapshots() {
    if !has_java("metadata_quorum::kafka_reads_the_quorums_log_and_snapshots").await {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("__cluster_metadata-0");
    let now = Now { monotonic_ms: 0, date_ms: 1_700_000_000_000 };
    let log =
        DiskLog::open(Arc::new(FsStorage::new()), dir.clone(), LogConfig::default(), OpenState::clean(), now.date_ms);
    let voter = Voter { id: 1, host: "localhost".to_owned(), port: 9093 };
    let mut node = RaftNode::open(RaftConfig::new(1, vec![voter]), log.expect("a log"), now).expect("a node");
    let level =
        FeatureLevelRecord { name: "metadata.version".to_owned(), feature_level: 25, ..FeatureLevelRecord::default() };
    let topic = TopicRecord { name: "a-topic-of-the-quorum".to_owned(), ..TopicRecord::default() };
    let records = [framed(12, &level), framed(2, &topic)];
    let values = || records.iter().map(|record| (None, Some(&record[..])));
    let epoch = node.leader_and_epoch().epoch;
    let batch = encode_batch(Vec::new(), BatchOptions::at(0, 0), now.date_ms, values()).expect("a batch");
    node.append(now, epoch, &mut batch.into_bytes()).expect("appended");
    let end = node.high_watermark();
    assert_eq!(end, 3, "the leader's own record and two more");
    let mut snapshot = node.create_snapshot(end, now.date_ms).expect("a snapshot");
    snapshot.append(records.iter().map(Vec::as_slice)).expect("written");
    node.complete_snapshot(now, snapshot.finish().expect("finished")).expect("in the log");
    node.into_log().close(true).expect("closed");

    let mut all = Vec::new();
    files_in(&dir, &mut all);
    let of = |extension: &str| -> Vec<&PathBuf> {
        all.iter().filter(|path| path.extension().is_some_and(|other| other == extension)).collect()
    };
    let printed = dump(&of("log"), &["--cluster-metadata-decoder"]).await;
    for found in ["LeaderChange", "FEATURE_LEVEL_RECORD", "a-topic-of-the-quorum"] {
        assert!(printed.contains(found), "{found}: {printed}");
    }
    let snapshots = of("checkpoint");
    assert!(snapshots.iter().all(|path| path.ends_with("00000000000000000003-0000000001.checkpoint")), "{all:?}");
    let printed = dump(&snapshots, &["--cluster-metadata-decoder"]).await;
    for found in
        ["SnapshotHeader", "\"lastContainedLogTimestamp\":1700000000000", "a-topic-of-the-quorum", "SnapshotFooter"]
    {
        assert!(printed.contains(found), "{found}: {printed}");
    }
}
