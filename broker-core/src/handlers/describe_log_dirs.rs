//! API: DescribeLogDirs (35)
//! Versions: 1-5
//! Behaviour: the data directories with the sizes of the partitions in them, and the room on their disks. A directory
//! whose disk failed has the error `KAFKA_STORAGE_ERROR` and no partitions.
//! Deviations: directories in memory have no size of their own, which is answered by -1.
//! KIPs: 113, 827

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use rkafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Describes the data directories.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DescribeLogDirsRequest,
    _version: i16,
) -> Result<DescribeLogDirsResponse, HandlerError> {
    let image = broker.image();
    let now_ms = broker.clock.now_ms();
    let wanted = |topic: &str, index: i32| match &request.topics {
        None => true,
        Some(topics) => topics.iter().any(|asked| asked.topic == topic && asked.partitions.contains(&index)),
    };
    let mut by_dir: BTreeMap<usize, BTreeMap<String, Vec<DescribeLogDirsPartition>>> = BTreeMap::new();
    for topic in image.topics() {
        for index in (0..).take(topic.partitions.len()).filter(|index| wanted(&topic.name, *index)) {
            let Some(partition) = broker.partition_of(topic, index) else { continue };
            let Ok(size_bytes) = partition.with_log(now_ms, crate::log::Log::size_bytes) else { continue };
            let Some(dir) = broker.dirs.position(&topic.name, index) else { continue };
            by_dir.entry(dir).or_default().entry(topic.name.to_string()).or_default().push(DescribeLogDirsPartition {
                partition_index: index,
                partition_size: i64::try_from(size_bytes).unwrap_or(i64::MAX),
                ..Default::default()
            });
        }
    }
    let results = broker.dirs.dirs().iter().enumerate().map(|(at, dir)| {
        let (total_bytes, usable_bytes) = room(&dir.path, broker.config.in_memory);
        let topics = by_dir.remove(&at).unwrap_or_default().into_iter();
        if dir.log_dir.failure().is_some() {
            return DescribeLogDirsResult {
                error_code: ErrorCode::KafkaStorageError.code(),
                log_dir: dir.path.display().to_string(),
                total_bytes: -1,
                usable_bytes: -1,
                ..Default::default()
            };
        }
        DescribeLogDirsResult {
            log_dir: dir.path.display().to_string(),
            topics: topics
                .map(|(name, partitions)| DescribeLogDirsTopic { name, partitions, ..Default::default() })
                .collect(),
            total_bytes,
            usable_bytes,
            ..Default::default()
        }
    });
    Ok(DescribeLogDirsResponse { results: results.collect(), ..Default::default() })
}

/// The size of the disk and the room on it, in bytes; -1 where it is not known.
fn room(path: &Path, in_memory: bool) -> (i64, i64) {
    let stat = if in_memory { None } else { rustix::fs::statvfs(path).ok() };
    let bytes = |blocks: u64, size: u64| i64::try_from(blocks.saturating_mul(size)).unwrap_or(i64::MAX);
    stat.map_or((-1, -1), |stat| (bytes(stat.f_blocks, stat.f_frsize), bytes(stat.f_bavail, stat.f_frsize)))
}
