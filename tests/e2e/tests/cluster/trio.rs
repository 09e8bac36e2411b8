//! Three brokers in one process, whose files outlive a kill.

use std::time::Duration;

use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::broker::{BrokerConfig, Cluster};
use rkafka::client::ClientSettings as _;
use rkafka::consumer::{ConsumerConfig, OffsetReset};
use rkafka::producer::{Producer, ProducerConfig};
use rkafka::protocol::messages::find_coordinator_response::Coordinator;
use rkafka::protocol::messages::{FindCoordinatorRequest, MetadataRequest};
use rkafka_testkit::{RawClient, eventually};

/// How long anything may take before it counts as not happening; far beyond what a busy machine needs.
pub const LIMIT: Duration = Duration::from_secs(240);

/// The kinds of keys that FindCoordinator knows.
pub const GROUP: i8 = 0;
pub const TRANSACTION: i8 = 1;

/// Three brokers, each a controller too.
pub struct Trio {
    cluster: Cluster,
    _folder: tempfile::TempDir,
}

impl Trio {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().to_owned();
        let change = move |config: BrokerConfig| {
            let id = config.node_id;
            config
                .in_memory(false)
                .log_dirs(vec![root.join(id.to_string()).display().to_string()])
                .broker_session_timeout(Duration::from_secs(3))
                .broker_heartbeat_interval(Duration::from_millis(300))
                .default_replication_factor(3)
                .min_insync_replicas(2)
                .offsets_topic_num_partitions(4)
                .transaction_state_log_num_partitions(4)
                .share_coordinator_state_topic_num_partitions(4)
                .group_min_session_timeout(Duration::from_secs(1))
                .group_consumer_min_session_timeout(Duration::from_secs(1))
                .group_consumer_min_heartbeat_interval(Duration::from_millis(100))
                .group_consumer_heartbeat_interval(Duration::from_millis(300))
        };
        let cluster = in_time("a cluster", Cluster::brokers(3).with(change).start()).await.expect("it starts");
        Self { cluster, _folder: folder }
    }

    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap()
    }

    /// Stops a broker from one moment to the next, as `kill -9` does.
    pub fn kill(&mut self, id: i32) {
        drop(self.cluster.take(id).expect("it runs"));
    }

    /// Starts a killed broker, and waits until it has caught up with the others.
    pub async fn revive(&mut self, id: i32) {
        in_time("a start", self.cluster.start_again(id)).await.expect("it starts again");
        let bootstrap = self.bootstrap();
        eventually("all replicas are in sync", || async {
            let mut client = RawClient::connect(&bootstrap).await.map_err(|error| error.to_string())?;
            let request = MetadataRequest { topics: None, ..Default::default() };
            let found = client.call(&request, 12).await.map_err(|error| error.to_string())?;
            for topic in &found.topics {
                for partition in &topic.partitions {
                    if partition.isr_nodes.len() < partition.replica_nodes.len() {
                        let (topic, index, isr) = (&topic.name, partition.partition_index, &partition.isr_nodes);
                        return Err(format!("{topic:?}-{index}: {isr:?}"));
                    }
                }
            }
            Ok(())
        })
        .await;
    }

    /// The broker that coordinates a group or a transactional id.
    pub async fn coordinator(&self, key_type: i8, key: &str) -> i32 {
        let bootstrap = self.bootstrap();
        eventually("a coordinator", || async {
            let mut client = RawClient::connect(&bootstrap).await.map_err(|error| error.to_string())?;
            let coordinator_keys = vec![key.to_owned()];
            let request = FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() };
            let mut found = client.call(&request, 4).await.map_err(|error| error.to_string())?;
            match found.coordinators.pop() {
                Some(Coordinator { error_code: 0, node_id, .. }) => Ok(node_id),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// The broker that leads a partition.
    pub async fn leader(&self, topic: &str, partition: i32) -> i32 {
        let bootstrap = self.bootstrap();
        eventually("a leader", || async {
            let mut client = RawClient::connect(&bootstrap).await.map_err(|error| error.to_string())?;
            let request = MetadataRequest { topics: None, ..Default::default() };
            let found = client.call(&request, 12).await.map_err(|error| error.to_string())?;
            let topic = found.topics.iter().find(|found| found.name.as_deref() == Some(topic));
            let found =
                topic.and_then(|topic| topic.partitions.iter().find(|found| found.partition_index == partition));
            found.map(|found| found.leader_id).filter(|leader| *leader >= 0).ok_or_else(|| format!("{found:?}"))
        })
        .await
    }

    /// Creates a topic of three replicas.
    pub async fn topic(&self, name: &str, partitions: i32) {
        let admin = Admin::connect(AdminConfig::new().bootstrap_servers(self.bootstrap())).await.expect("an admin");
        let topic = NewTopic::new(name).partitions(partitions).replication_factor(3);
        let created = in_time("a topic", admin.create_topics(&[topic])).await.expect("an answer");
        created.into_values().collect::<Result<Vec<_>, _>>().expect("created");
    }

    pub async fn shutdown(self) {
        in_time("the end", self.cluster.shutdown()).await.expect("it stops in good order");
    }
}

pub fn consumer_config(bootstrap: &str) -> ConsumerConfig {
    ConsumerConfig::new().bootstrap_servers(bootstrap).auto_offset_reset(OffsetReset::Earliest)
}

pub fn producer_config(bootstrap: &str) -> ProducerConfig {
    ProducerConfig::new().bootstrap_servers(bootstrap).delivery_timeout(LIMIT)
}

pub async fn producer(bootstrap: &str) -> Producer {
    Producer::new(producer_config(bootstrap)).await.expect("a producer")
}

/// What must happen within [`LIMIT`].
pub async fn in_time<T>(what: &str, future: impl IntoFuture<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {LIMIT:?}"),
    }
}

/// Runs beside the test.
#[expect(clippy::disallowed_methods, reason = "a test has more than one thing under way")]
pub fn in_background<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}
