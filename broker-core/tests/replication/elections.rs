//! Who leads: the preferred one, somebody else when it stops or dies, and one that lacks records only where that is asked for.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_protocol::ErrorCode;

use crate::support::{Three, values};

/// The warnings of all brokers of this process.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// To be called once.
    fn collect() -> Arc<Mutex<Vec<String>>> {
        let lines = Self::default();
        tracing::subscriber::set_global_default(lines.clone()).expect("nobody else listens");
        lines.0
    }
}

struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _span: &tracing::span::Id) {}

    fn exit(&self, _span: &tracing::span::Id) {}
}

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;
const TOPIC: i8 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preferred_leader_leads_again_when_it_is_asked_for() {
    let mut three = Three::start(|config| config).await;
    three.create("t", &[&[2, 3, 1]], &[]).await;
    three.produce(2, "t", 0, values(0..3)).await;
    assert_eq!(three.elect("t", 0, PREFERRED).await, ErrorCode::ElectionNotNeeded.code());
    three.stop(2).await;
    three.until_leader("t", 0, 3).await;
    assert_eq!(three.elect("t", 0, PREFERRED).await, ErrorCode::PreferredLeaderNotAvailable.code());
    three.start_again(2).await;
    three.until_isr("t", 0, &[1, 2, 3]).await;
    assert_eq!(three.partition(1, "t", 0).await.unwrap().leader_id, 3, "nobody has asked");
    assert_eq!(three.elect("t", 0, PREFERRED).await, 0);
    three.until_leader("t", 0, 2).await;
    assert_eq!(three.produce(2, "t", 0, values(3..5)).await, 3);
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preferred_leader_leads_again_by_itself() {
    let rebalance = |config: rkafka_broker_core::BrokerConfig| {
        config.auto_leader_rebalance_enable(true).leader_imbalance_check_interval_seconds(1)
    };
    let mut three = Three::start(rebalance).await;
    three.create("t", &[&[2, 3, 1], &[1, 2, 3]], &[]).await;
    three.kill(2);
    three.until_leader("t", 0, 3).await;
    three.start_again(2).await;
    three.until_leader("t", 0, 2).await;
    three.produce(2, "t", 0, values(0..2)).await;
    three.shutdown().await;
}

/// A partition whose last leader is dead and had a record that nobody else has.
async fn without_a_leader(configs: &[(&str, &str)]) -> Three {
    let quick = |config: rkafka_broker_core::BrokerConfig| {
        let config = config.unclean_leader_election_interval(Duration::from_millis(300));
        config.replica_lag_time_max(Duration::from_secs(2))
    };
    let mut three = Three::on_disk(quick).await;
    let mut all = vec![("min.insync.replicas", "1")];
    all.extend_from_slice(configs);
    three.create("t", &[&[1, 2]], &all).await;
    three.produce(1, "t", 0, values(0..3)).await;
    three.isolate_follower(2);
    three.produce(1, "t", 0, ["acknowledged".to_owned()]).await;
    three.until_isr("t", 0, &[1]).await;
    three.kill(1);
    three.heal();
    three
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_leads_who_lacks_records_unless_somebody_asks_for_it() {
    let mut three = without_a_leader(&[]).await;
    let found = three.until_leader("t", 0, -1).await;
    let image = three.cluster.node(2).expect("it runs").state().image();
    let eligible = image.topic("t").and_then(|topic| topic.partition(0)).expect("it is there").elr.clone();
    assert_eq!((found.isr_nodes, eligible), (vec![], vec![1]), "the dead one is the only one that has everything");
    assert_eq!(three.elect("t", 0, PREFERRED).await, ErrorCode::PreferredLeaderNotAvailable.code());
    let refused = three.send(2, "t", 0, "no", -1).await;
    assert_eq!(refused.error_code, ErrorCode::NotLeaderOrFollower.code());
    // It waits for who has it.
    three.start_again(1).await;
    three.until_leader("t", 0, 1).await;
    let mut expected = values(0..3);
    expected.push("acknowledged".to_owned());
    three.until_isr("t", 0, &[1, 2]).await;
    for node in 1..=2 {
        three.until_values(node, "t", 0, &expected).await;
    }
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_leader_is_elected_where_an_administrator_asks_for_it() {
    let lines = Lines::collect();
    let mut three = without_a_leader(&[]).await;
    three.until_leader("t", 0, -1).await;
    let reported = |three: &Three| {
        let nodes = three.cluster.ids().into_iter().filter_map(|id| three.cluster.node(id));
        nodes.map(|node| node.state().unclean_leader_elections()).sum::<u64>()
    };
    assert_eq!(reported(&three), 0);
    assert_eq!(three.elect("t", 0, UNCLEAN).await, 0);
    three.until_leader("t", 0, 2).await;
    assert_eq!(reported(&three), 1, "the active controller tells of it");
    let told = lines.lock().unwrap().clone();
    assert!(told.iter().any(|line| line.contains("unclean leader election") && line.contains("leader=2")), "{told:?}");
    assert_eq!(three.elect("t", 0, UNCLEAN).await, ErrorCode::ElectionNotNeeded.code());
    assert_eq!(three.produce(2, "t", 0, values(3..5)).await, 3, "what only the other had is lost");
    three.start_again(1).await;
    three.until_isr("t", 0, &[1, 2]).await;
    for node in 1..=2 {
        three.until_values(node, "t", 0, &values(0..5)).await;
    }
    three.until_log_end(1, "t", 0, 5).await;
    assert!(three.log_bytes(1, "t", 0) == three.log_bytes(2, "t", 0), "the two logs part");
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_leader_is_elected_at_once_where_the_topic_allows_it() {
    let three = without_a_leader(&[("unclean.leader.election.enable", "true")]).await;
    three.until_leader("t", 0, 2).await;
    assert_eq!(three.produce(2, "t", 0, values(3..5)).await, 3);
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_leader_is_elected_when_the_topic_comes_to_allow_it() {
    let three = without_a_leader(&[]).await;
    three.until_leader("t", 0, -1).await;
    three.set(TOPIC, "t", "unclean.leader.election.enable", "true").await;
    three.until_leader("t", 0, 2).await;
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_gives_away_what_it_leads_before_it_goes() {
    let mut three = Three::start(|config| config).await;
    three.create("t", &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]], &[]).await;
    for (index, leader) in (0..).zip([1, 2, 3]) {
        three.produce(leader, "t", index, values(0..3)).await;
    }
    let stopped = three.cluster.take(2).unwrap();
    tokio::time::timeout(crate::common::PATIENCE, stopped.shutdown()).await.expect("in time").expect("in good order");
    // Who asks now is told of the new leader at once, for it was elected before.
    let found = three.partition(1, "t", 1).await.unwrap();
    assert_eq!((found.leader_id, found.isr_nodes.len()), (3, 2), "{found:?}");
    assert_eq!(three.produce(3, "t", 1, values(3..6)).await, 3);
    three.start_again(2).await;
    for index in 0..3 {
        three.until_isr("t", index, &[1, 2, 3]).await;
    }
    three.shutdown().await;
}
