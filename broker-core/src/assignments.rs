//! Replicas that lie in another directory than the controller knows: this broker tells it (KIP-858). So do those of a
//! broker that came back with an empty disk, which may not lead before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::AssignReplicasToDirsRequest;
use rkafka_protocol::messages::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::BrokerState;
use crate::controller::{MetadataImage, PartitionImage, TopicImage};
use crate::forwarding::{ask_controller, pause};
use crate::locks::lock;
use crate::peer::Purpose;
use crate::replication::PartitionKey;

/// The version in which brokers of this cluster tell.
const VERSION: i16 = 0;
/// How long the controller may take for an answer, looked for included.
const WITHIN: Duration = Duration::from_secs(10);
/// The wait before what could not be told is told again.
const BACKOFF: Duration = Duration::from_millis(200);
/// How many replicas go into one request.
const TOLD_MAX: usize = 2000;

/// What is to be told.
#[derive(Debug, Default)]
pub(crate) struct Assignments {
    wanted: Mutex<BTreeSet<PartitionKey>>,
    more: Notify,
}

impl Assignments {
    fn want(&self, keys: impl IntoIterator<Item = PartitionKey>) {
        let mut wanted = lock(&self.wanted);
        let before = wanted.len();
        wanted.extend(keys);
        if wanted.len() > before {
            self.more.notify_one();
        }
    }

    fn take(&self) -> Vec<PartitionKey> {
        let mut wanted = lock(&self.wanted);
        (0..TOLD_MAX).map_while(|_| wanted.pop_first()).collect()
    }
}

impl BrokerState {
    /// Has the controller told where this broker's replica of a partition is, unless it knows.
    pub(crate) fn check_directory(&self, topic: &TopicImage, index: i32, partition: &PartitionImage) {
        if self.is_elsewhere(topic, index, partition) {
            self.assignments.want([(topic.id, index)]);
        }
    }

    fn is_elsewhere(&self, topic: &TopicImage, index: i32, partition: &PartitionImage) -> bool {
        let Some(told) = partition.directory_of(self.config.node_id) else { return false };
        match self.dirs.directory_of(&topic.name, index) {
            Some(actual) => actual != told,
            // It will go where the controller has it, where there is only one directory.
            None => self.dirs.dirs().iter().all(|dir| dir.id != told),
        }
    }
}

/// Tells the controller of directories, until the broker stops.
pub(crate) async fn run_assignments(broker: Arc<BrokerState>, mut stop: watch::Receiver<bool>) {
    let image = broker.image();
    for topic in image.topics() {
        for (index, partition) in (0..).zip(&topic.partitions) {
            broker.check_directory(topic, index, partition);
        }
    }
    let telling = async {
        loop {
            let wanted = broker.assignments.take();
            if wanted.is_empty() {
                broker.assignments.more.notified().await;
                continue;
            }
            let left = tell(&broker, wanted).await;
            if !left.is_empty() {
                pause(BACKOFF).await;
                broker.assignments.want(left);
            }
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = telling => {}
    }
}

/// Tells the controller where these replicas are; answers those of which it has not taken note.
async fn tell(broker: &BrokerState, wanted: Vec<PartitionKey>) -> Vec<PartitionKey> {
    let image = broker.image();
    let mut directories: BTreeMap<Uuid, BTreeMap<Uuid, Vec<i32>>> = BTreeMap::new();
    for (topic_id, index) in wanted {
        if let Some(directory) = place(broker, &image, topic_id, index) {
            directories.entry(directory).or_default().entry(topic_id).or_default().push(index);
        }
    }
    if directories.is_empty() {
        return Vec::new();
    }
    let told = directories.values().flatten().flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)));
    let told: Vec<PartitionKey> = told.collect();
    let partitions = |indexes: Vec<i32>| {
        indexes.into_iter().map(|partition_index| PartitionData { partition_index, ..Default::default() }).collect()
    };
    let topics = |topics: BTreeMap<Uuid, Vec<i32>>| {
        let data = topics.into_iter().map(|(topic_id, indexes)| TopicData {
            topic_id,
            partitions: partitions(indexes),
            ..Default::default()
        });
        data.collect()
    };
    let request = AssignReplicasToDirsRequest {
        broker_id: broker.config.node_id,
        broker_epoch: broker.broker_epoch(),
        directories: directories
            .into_iter()
            .map(|(id, by_topic)| DirectoryData { id, topics: topics(by_topic), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    let deadline = broker.clock.now() + WITHIN;
    let answer = match ask_controller(broker, Purpose::Controller, VERSION, &request, deadline).await {
        Ok(answer) if answer.error_code == 0 => answer,
        Ok(answer) => {
            let error = ErrorCode::from_code(answer.error_code);
            tracing::debug!(error = error.name(), "the controller takes no note of directories");
            return told;
        }
        Err(_) => return told,
    };
    tracing::info!(replicas = told.len(), "the controller knows in which directories replicas are");
    let mut left = Vec::new();
    for topic in answer.directories.iter().flat_map(|directory| &directory.topics) {
        for partition in &topic.partitions {
            match ErrorCode::from_code(partition.error_code) {
                ErrorCode::None
                | ErrorCode::UnknownTopicId
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::NotLeaderOrFollower => {}
                _ => left.push((topic.topic_id, partition.partition_index)),
            }
        }
    }
    left
}

/// Sees to it that the replica has its log, and answers in which directory; `None` where there is nothing to tell.
fn place(broker: &BrokerState, image: &MetadataImage, topic_id: Uuid, index: i32) -> Option<Uuid> {
    let topic = image.topic_by_id(topic_id)?;
    let partition = topic.partition(index)?;
    if !broker.is_elsewhere(topic, index, partition) {
        return None;
    }
    let log = broker.partition_of(topic, index)?;
    // Only what is there can be told of.
    log.with_log(broker.clock.now_ms(), |_| ()).ok()?;
    broker.dirs.directory_of(&topic.name, index)
}
