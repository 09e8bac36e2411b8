//! A cluster of three brokers whose links can be cut, whose disks can be looked into, and that can be asked and waited for.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use rkafka_broker_core::{BrokerConfig, Cluster};
use rkafka_net::{Dial, DialError, DialFuture, DialOptions, HostPort, Stream, TcpDial};
use rkafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use rkafka_protocol::messages::elect_leaders_request::TopicPartitions;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use rkafka_protocol::messages::metadata_request::MetadataRequestTopic;
use rkafka_protocol::messages::metadata_response::MetadataResponsePartition;
use rkafka_protocol::messages::produce_response::PartitionProduceResponse;
use rkafka_protocol::messages::{
    ElectLeadersRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest, MetadataRequest,
};
use rkafka_protocol::wire::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::common::{Client, PATIENCE, batch, create_topics, produce_request};

/// Which node cannot reach which port.
type Links = Arc<Mutex<BTreeSet<(i32, u16)>>>;

/// The way of one node to the others.
#[derive(Debug)]
struct Dialer {
    node: i32,
    cuts: Links,
}

impl Dial for Dialer {
    fn dial<'a>(&'a self, address: &'a HostPort, options: &'a DialOptions) -> DialFuture<'a> {
        Box::pin(async move {
            let link = (self.node, address.port);
            if self.cuts.lock().unwrap().contains(&link) {
                let source = io::Error::from(io::ErrorKind::HostUnreachable);
                return Err(DialError::Resolve { host: address.host.clone(), source });
            }
            let stream = TcpDial.dial(address, options).await?;
            Ok(Stream::boxed(Gate { stream, link, cuts: Arc::clone(&self.cuts) }))
        })
    }
}

/// A connection that breaks when somebody wants to use it whose link is cut.
struct Gate {
    stream: Stream,
    link: (i32, u16),
    cuts: Links,
}

impl Gate {
    fn check(&self) -> io::Result<()> {
        let is_cut = self.cuts.lock().unwrap().contains(&self.link);
        if is_cut { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Gate {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Three brokers, 1 to 3.
pub struct Three {
    pub cluster: Cluster,
    cuts: Links,
    /// Where they keep their logs, where that is not in memory.
    dir: Option<tempfile::TempDir>,
}

fn dir_of(dir: &Path, node: i32) -> PathBuf {
    dir.join(format!("node-{node}"))
}

impl Three {
    /// Three brokers that keep everything in memory.
    pub async fn start(change: impl Fn(BrokerConfig) -> BrokerConfig + Send + Sync + 'static) -> Self {
        Self::begin(None, change).await
    }

    /// Three brokers that keep everything in a directory of the test.
    pub async fn on_disk(change: impl Fn(BrokerConfig) -> BrokerConfig + Send + Sync + 'static) -> Self {
        Self::begin(Some(tempfile::tempdir().unwrap()), change).await
    }

    async fn begin(
        dir: Option<tempfile::TempDir>,
        change: impl Fn(BrokerConfig) -> BrokerConfig + Send + Sync + 'static,
    ) -> Self {
        let cuts = Links::default();
        let path = dir.as_ref().map(|dir| dir.path().to_owned());
        let settings = move |config: BrokerConfig| {
            let node = config.node_id;
            let config = config
                .broker_session_timeout(Duration::from_secs(3))
                .broker_heartbeat_interval(Duration::from_millis(300))
                .default_replication_factor(3)
                .min_insync_replicas(2)
                .auto_leader_rebalance_enable(false)
                .replica_fetch_backoff(Duration::from_millis(50));
            let config = match &path {
                Some(path) => config.in_memory(false).log_dirs(dir_of(path, node).to_str().unwrap()),
                None => config,
            };
            change(config)
        };
        let links = Arc::clone(&cuts);
        let dialer = move |node| Arc::new(Dialer { node, cuts: Arc::clone(&links) }) as Arc<dyn Dial>;
        let starting = Cluster::brokers(3).with(settings).dialer(dialer).start();
        let cluster = tokio::time::timeout(PATIENCE, starting).await.expect("in time").expect("it starts");
        Self { cluster, cuts, dir }
    }

    /// The directory of a node.
    pub fn dir(&self, node: i32) -> PathBuf {
        dir_of(self.dir.as_ref().expect("it is on disk").path(), node)
    }

    /// The bytes of all segments of a partition's log on a node, the oldest first.
    pub fn log_bytes(&self, node: i32, topic: &str, index: i32) -> Vec<u8> {
        let dir = self.dir(node).join(format!("{topic}-{index}"));
        let mut segments: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        segments.retain(|path| path.extension().is_some_and(|it| it == "log"));
        segments.sort();
        segments.iter().flat_map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// The topic has no directory on a node.
    pub fn has_log(&self, node: i32, topic: &str, index: i32) -> bool {
        self.dir(node).join(format!("{topic}-{index}")).exists()
    }

    pub async fn client(&self, node: i32) -> Client {
        Client::connect(self.cluster.node(node).expect("the node runs")).await
    }

    /// A client of any node that runs.
    pub async fn any(&self) -> Client {
        self.client(self.cluster.ids()[0]).await
    }

    /// A node cannot reach the brokers any more at their listeners for clients, by which it fetches; it does reach the
    /// controllers.
    pub fn isolate_follower(&self, node: i32) {
        let ports = self.cluster.ids().into_iter().map(|id| {
            let bootstrap = self.cluster.node(id).unwrap().bootstrap();
            (node, bootstrap.rsplit_once(':').unwrap().1.parse().unwrap())
        });
        self.cuts.lock().unwrap().extend(ports);
    }

    /// Takes all cuts back.
    pub fn heal(&self) {
        self.cuts.lock().unwrap().clear();
    }

    /// Kills a node.
    pub fn kill(&mut self, node: i32) {
        drop(self.cluster.take(node).expect("the node runs"));
    }

    /// Stops a node in good order.
    pub async fn stop(&mut self, node: i32) {
        let node = self.cluster.take(node).expect("the node runs");
        tokio::time::timeout(PATIENCE, node.shutdown()).await.expect("in time").expect("in good order");
    }

    pub async fn start_again(&mut self, node: i32) {
        let starting = self.cluster.start_again(node);
        tokio::time::timeout(PATIENCE, starting).await.expect("in time").expect("it starts again");
    }

    /// A topic of partitions on these brokers.
    pub async fn create(&self, name: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) {
        let assignments = (0..).zip(replicas).map(|(partition_index, brokers)| CreatableReplicaAssignment {
            partition_index,
            broker_ids: brokers.to_vec(),
            ..Default::default()
        });
        let mut request = create_topics(name, -1, configs);
        request.topics[0] = CreatableTopic { assignments: assignments.collect(), ..request.topics[0].clone() };
        let created = self.any().await.call(&request, 7).await;
        assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
        for (index, brokers) in (0..).zip(replicas) {
            self.until(name, index, "led by the first", |it| it.leader_id == brokers[0] && it.error_code == 0).await;
        }
    }

    /// Asks all nodes that run for a partition until it is as wanted on all of them.
    pub async fn until(
        &self,
        topic: &str,
        index: i32,
        what: &str,
        wanted: impl Fn(&MetadataResponsePartition) -> bool,
    ) -> MetadataResponsePartition {
        let mut last = None;
        let asking = async {
            'again: loop {
                for node in self.cluster.ids() {
                    let found = self.partition(node, topic, index).await;
                    let is_wanted = found.as_ref().is_some_and(&wanted);
                    last = found;
                    if !is_wanted {
                        a_moment().await;
                        continue 'again;
                    }
                }
                return;
            }
        };
        if tokio::time::timeout(PATIENCE, asking).await.is_err() {
            panic!("{topic}-{index} is not {what}: {last:?}");
        }
        last.unwrap()
    }

    /// A partition as a node knows it.
    pub async fn partition(&self, node: i32, topic: &str, index: i32) -> Option<MetadataResponsePartition> {
        let topics = vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() }];
        let request = MetadataRequest { topics: Some(topics), ..Default::default() };
        let found = self.client(node).await.call(&request, 12).await;
        found.topics[0].partitions.iter().find(|it| it.partition_index == index).cloned()
    }

    /// Waits until these brokers, and no others, are in sync.
    pub async fn until_isr(&self, topic: &str, index: i32, isr: &[i32]) -> MetadataResponsePartition {
        let wanted: BTreeSet<i32> = isr.iter().copied().collect();
        let is_it = |it: &MetadataResponsePartition| it.isr_nodes.iter().copied().collect::<BTreeSet<_>>() == wanted;
        self.until(topic, index, &format!("in sync on {isr:?}"), is_it).await
    }

    pub async fn until_leader(&self, topic: &str, index: i32, leader: i32) -> MetadataResponsePartition {
        self.until(topic, index, &format!("led by {leader}"), |it| it.leader_id == leader).await
    }

    /// Produces one record to a node with `acks`.
    pub async fn send(&self, node: i32, topic: &str, index: i32, value: &str, acks: i16) -> PartitionProduceResponse {
        let mut request = produce_request(topic, index, batch(&[value]), acks);
        request.timeout_ms = 30_000;
        self.client(node).await.call(&request, 9).await.responses[0].partition_responses[0].clone()
    }

    /// Produces records that must be acknowledged by all replicas in sync, one by one; answers the first offset.
    pub async fn produce(&self, node: i32, topic: &str, index: i32, values: impl IntoIterator<Item = String>) -> i64 {
        let mut first = None;
        for value in values {
            let produced = self.send(node, topic, index, &value, -1).await;
            assert_eq!(produced.error_code, 0, "{value}: {produced:?}");
            first.get_or_insert(produced.base_offset);
        }
        first.expect("there is a record")
    }

    /// Where the log ends on a node, be it leader or follower.
    pub async fn log_end(&self, node: i32, topic: &str, index: i32) -> i64 {
        self.bound(node, topic, index, -1).await
    }

    /// Where the log begins on a node, be it leader or follower.
    pub async fn log_start(&self, node: i32, topic: &str, index: i32) -> i64 {
        self.bound(node, topic, index, -2).await
    }

    async fn bound(&self, node: i32, topic: &str, index: i32, timestamp: i64) -> i64 {
        // As tools do that look at any replica.
        let replica_id = -2;
        let partition =
            ListOffsetsPartition { partition_index: index, current_leader_epoch: -1, timestamp, ..Default::default() };
        let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() };
        let request = ListOffsetsRequest { replica_id, topics: vec![topic], ..Default::default() };
        let found = self.client(node).await.call(&request, 7).await.topics[0].partitions[0].clone();
        if found.error_code == 0 { found.offset } else { -i64::from(found.error_code) }
    }

    /// Waits until the log ends at `end` on a node.
    pub async fn until_log_end(&self, node: i32, topic: &str, index: i32, end: i64) {
        eventually(&format!("{topic}-{index} ends at {end} on {node}"), async || {
            let found = self.log_end(node, topic, index).await;
            if found == end { Ok(()) } else { Err(found) }
        })
        .await;
    }

    /// Waits until a node, leader or follower, gives all of these values to consumers.
    pub async fn until_values(&self, node: i32, topic: &str, index: i32, values: &[String]) {
        eventually(&format!("the values of {topic}-{index} on {node}"), async || {
            let start = self.log_start(node, topic, index).await;
            let found = self.client(node).await.values(topic, index, start).await;
            if found == values { Ok(()) } else { Err(found) }
        })
        .await;
    }

    /// Asks for leaders: the preferred ones (0) or unclean ones (1). Answers the error for the one partition.
    pub async fn elect(&self, topic: &str, index: i32, election_type: i8) -> i16 {
        let request = ElectLeadersRequest {
            election_type,
            topic_partitions: Some(vec![TopicPartitions {
                topic: topic.to_owned(),
                partitions: vec![index],
                ..Default::default()
            }]),
            timeout_ms: 30_000,
            ..Default::default()
        };
        let elected = self.any().await.call(&request, 2).await;
        assert_eq!(elected.error_code, 0, "{elected:?}");
        elected.replica_election_results[0].partition_result[0].error_code
    }

    /// Sets a setting of a topic (2) or a broker (4).
    pub async fn set(&self, resource_type: i8, resource_name: &str, name: &str, value: &str) {
        let config = AlterableConfig {
            name: name.to_owned(),
            config_operation: 0,
            value: Some(value.to_owned()),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type,
            resource_name: resource_name.to_owned(),
            configs: vec![config],
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let altered = self.any().await.call(&request, 1).await;
        assert_eq!(altered.responses[0].error_code, 0, "{altered:?}");
    }

    /// Asks any node, until the answer is as wanted.
    pub async fn call<R: Request>(&self, request: &R, version: i16) -> R::Response {
        self.any().await.call(request, version).await
    }

    pub async fn shutdown(self) {
        tokio::time::timeout(PATIENCE, self.cluster.shutdown()).await.expect("in time").expect("in good order");
    }
}

/// Texts `v0`, `v1`, ...
pub fn values(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|number| format!("v{number}")).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test that asks again")]
pub async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

/// Tries until it succeeds.
pub async fn eventually<E: std::fmt::Debug>(what: &str, mut attempt: impl AsyncFnMut() -> Result<(), E>) {
    let mut last = None;
    let trying = async {
        while let Err(error) = attempt().await {
            last = Some(error);
            a_moment().await;
        }
    };
    if tokio::time::timeout(PATIENCE, trying).await.is_err() {
        panic!("{what}: {last:?}");
    }
}
