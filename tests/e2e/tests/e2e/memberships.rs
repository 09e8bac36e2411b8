//! The ways to be a member: cooperative rebalances, the protocol of KIP-848, patterns, and how one leaves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::consumer::assignor::{AssignError, Assignment, Assignor, Member, RebalanceProtocol, TopicPartitions};
use rkafka::consumer::{
    Consumer, ConsumerConfig, ConsumerError, ConsumerHandle, ConsumerOptions, GroupMembershipOperation, GroupProtocol,
    HookFuture, RebalanceListener, TopicPartition,
};
use rkafka::producer::Record;
use rkafka_testkit::{TestCluster, on_both};

use crate::support::{consumer_config, in_time, producer};

fn config(bootstrap: &str, group: &str, protocol: &str) -> ConsumerConfig {
    let config = consumer_config(bootstrap).group_id(group.to_owned());
    match protocol {
        "consumer" => config.group_protocol(GroupProtocol::Consumer),
        strategy => config
            .session_timeout(Duration::from_secs(30))
            .heartbeat_interval(Duration::from_millis(200))
            .partition_assignment_strategy(vec![strategy.to_owned()]),
    }
}

/// Which hook, and of which partitions.
type Call = (&'static str, Vec<i32>);

/// What the hooks were told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Call>>>);

impl Told {
    fn note(&self, what: &'static str, places: &[TopicPartition]) {
        self.0.lock().unwrap().push((what, places.iter().map(|place| place.partition).collect()));
    }

    /// Everything since the last look.
    fn take(&self) -> Vec<(&'static str, Vec<i32>)> {
        let mut told = std::mem::take(&mut *self.0.lock().unwrap());
        told.retain(|(_, places)| !places.is_empty());
        told
    }
}

impl RebalanceListener for Told {
    fn on_assigned<'a>(&'a self, _: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async { self.note("assigned", places) })
    }

    fn on_revoked<'a>(&'a self, _: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async { self.note("revoked", places) })
    }

    fn on_lost<'a>(&'a self, _: &'a ConsumerHandle, places: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async { self.note("lost", places) })
    }
}

/// Reads with every member until together they have these partitions, each in one place only. Gives what was read.
async fn settle(members: &mut [&mut Consumer], shares: &[usize]) -> Vec<String> {
    let (mut settled, mut read) = (0, Vec::new());
    for _ in 0..6_000 {
        for member in members.iter_mut() {
            match tokio::time::timeout(Duration::from_millis(10), member.recv()).await {
                Ok(Ok(record)) => read.push(crate::support::value_text(&record)),
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => {}
            }
        }
        let assigned: Vec<Vec<TopicPartition>> = members.iter().map(|member| member.assignment()).collect();
        let distinct: BTreeSet<_> = assigned.iter().flatten().collect();
        let counts: Vec<usize> = assigned.iter().map(Vec::len).collect();
        let as_expected = counts == shares && distinct.len() == shares.iter().sum::<usize>();
        settled = if as_expected { settled + 1 } else { 0 };
        if settled == 3 {
            return read;
        }
    }
    panic!("the group did not settle on {shares:?}: {:?}", members.iter().map(|m| m.assignment()).collect::<Vec<_>>());
}

async fn send(bootstrap: &str, topic: &str, partitions: i32, numbers: std::ops::Range<i32>) {
    let producer = producer(bootstrap).await;
    let mut deliveries = Vec::new();
    for number in numbers {
        let record = Record::to(topic).partition(number % partitions);
        deliveries.push(producer.send(record.value(&number.to_string())).await.expect("accepted"));
    }
    for delivery in deliveries {
        in_time("an acknowledgement", delivery).await.expect("written");
    }
}

on_both! {
    // Shows: group.protocol, partition.assignment.strategy.
    /// A member that comes takes its share; what stays is neither revoked nor begun anew, and stays paused.
    async fn only_what_must_move_moves(cluster: &Cluster) {
        for protocol in ["cooperative-sticky", "consumer"] {
            let (topic, group) = (cluster.topic("moves", 4, &[]).await, cluster.unique("moves"));
            let bootstrap = cluster.bootstrap();
            let (of_first, of_second) = (Told::default(), Told::default());
            let mut first = Consumer::connect(config(&bootstrap, &group, protocol)).await.expect("a consumer");
            first.subscribe_with([topic.as_str()], of_first.clone()).expect("subscribed");
            settle(&mut [&mut first], &[4]).await;
            assert_eq!(of_first.take(), [("assigned", vec![0, 1, 2, 3])]);
            let paused: Vec<TopicPartition> = first.assignment();
            first.pause(&paused).expect("paused");

            let mut second = Consumer::connect(config(&bootstrap, &group, protocol)).await.expect("a consumer");
            second.subscribe_with([topic.as_str()], of_second.clone()).expect("subscribed");
            settle(&mut [&mut first, &mut second], &[2, 2]).await;
            let revoked = of_first.take();
            assert!(matches!(&revoked[..], [("revoked", gone)] if gone.len() == 2), "{protocol}: {revoked:?}");
            let assigned = of_second.take();
            assert!(matches!(&assigned[..], [("assigned", come)] if *come == revoked[0].1), "{protocol}: {assigned:?}");
            assert_eq!(first.paused(), first.assignment(), "{protocol}: what stays stays paused");
            let kept = first.assignment();
            first.resume(&kept).expect("goes on");

            // It leaves, and its share comes back; nothing else is moved, and nothing is read twice.
            send(&bootstrap, &topic, 4, 0..80).await;
            let mut read = Vec::new();
            while read.len() < 80 {
                read.extend(settle(&mut [&mut first, &mut second], &[2, 2]).await);
            }
            in_time("the close", second.close()).await.expect("closed");
            send(&bootstrap, &topic, 4, 80..120).await;
            read.extend(settle(&mut [&mut first], &[4]).await);
            while read.len() < 120 {
                read.extend(settle(&mut [&mut first], &[4]).await);
            }
            assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), 120, "{protocol}: each record once");
            let back = of_first.take();
            assert!(matches!(&back[..], [("assigned", come)] if *come == revoked[0].1), "{protocol}: {back:?}");
            assert!(matches!(&of_second.take()[..], [("revoked", gone)] if *gone == revoked[0].1));
        }
    }
}

on_both! {
    /// Commits go on while the group rebalances, of what a member keeps.
    async fn what_is_kept_can_be_committed_during_rebalances(cluster: &Cluster) {
        for protocol in ["cooperative-sticky", "consumer"] {
            let (topic, group) = (cluster.topic("commits", 4, &[]).await, cluster.unique("commits"));
            let bootstrap = cluster.bootstrap();
            send(&bootstrap, &topic, 4, 0..400).await;
            let config = config(&bootstrap, &group, protocol).enable_auto_commit(false);
            let mut first = Consumer::connect(config.clone()).await.expect("a consumer");
            first.subscribe([topic.as_str()]).expect("subscribed");
            let mut read = BTreeSet::new();
            for _ in 0..40 {
                let record = in_time("a record", first.recv()).await.expect("a record");
                assert!(read.insert((record.partition(), record.offset())));
                in_time("the commit", first.commit()).await.expect("committed");
            }
            let mut second = Consumer::connect(config).await.expect("a consumer");
            second.subscribe([topic.as_str()]).expect("subscribed");
            // Both commit after each record while partitions move, and no record is read twice for it.
            while read.len() < 400 {
                for member in [&mut first, &mut second] {
                    if let Ok(record) = tokio::time::timeout(Duration::from_millis(20), member.recv()).await {
                        let record = record.expect("a record");
                        assert!(read.insert((record.partition(), record.offset())), "{protocol}: {record:?} again");
                        in_time("the commit", member.commit()).await.expect("committed");
                    }
                }
            }
        }
    }
}

on_both! {
    /// Topics are found by a pattern, also those that come later, by either side's matching.
    async fn patterns_find_topics(cluster: &Cluster) {
        for protocol in ["range", "consumer"] {
            let bootstrap = cluster.bootstrap();
            let (word, group) = (cluster.unique("pattern"), cluster.unique("pattern"));
            let (first, other) = (cluster.topic(&format!("{word}.a"), 2, &[]).await, cluster.unique(&format!("{word}!")));
            cluster.topic(&format!("x{word}.a"), 1, &[]).await;
            let config = config(&bootstrap, &group, protocol).metadata_max_age(Duration::from_millis(500));
            let mut consumer = Consumer::connect(config).await.expect("a consumer");
            consumer.subscribe_pattern(format!("{word}\\..*")).expect("a pattern");
            settle(&mut [&mut consumer], &[2]).await;
            assert!(consumer.assignment().iter().all(|place| *place.topic == *first), "{:?} {other}", consumer.assignment());
            // One more topic comes.
            let later = cluster.topic(&format!("{word}.later"), 1, &[]).await;
            if cluster.is_real() && protocol == "consumer" {
                // Kafka's coordinator looks at new topics every ten minutes, or when a member says something else.
                consumer.subscribe_pattern(format!("{word}\\.(a|later).*")).expect("a pattern");
            }
            settle(&mut [&mut consumer], &[3]).await;
            assert!(consumer.assignment().iter().any(|place| *place.topic == *later));
            // And a subscription by names ends the pattern.
            consumer.subscribe([first.as_str()]).expect("subscribed");
            settle(&mut [&mut consumer], &[2]).await;
            in_time("the close", consumer.close()).await.expect("closed");
        }
    }
}

on_both! {
    /// A pattern that cannot be read is an error: at once where this side matches, else by the coordinator.
    async fn bad_patterns_are_told(cluster: &Cluster) {
        let bootstrap = cluster.bootstrap();
        let group = cluster.unique("bad-pattern");
        let mut consumer = Consumer::connect(config(&bootstrap, &group, "range")).await.expect("a consumer");
        let error = consumer.subscribe_pattern("(").expect_err("no pattern");
        assert!(matches!(error, ConsumerError::BadPattern { .. }), "{error}");
        let mut consumer = Consumer::connect(config(&bootstrap, &group, "consumer")).await.expect("a consumer");
        consumer.subscribe_pattern("(").expect("the coordinator will say");
        let error = in_time("the error", consumer.recv()).await.expect_err("no pattern");
        assert!(error.is_fatal() && error.to_string().contains("INVALID_REGULAR_EXPRESSION"), "{error}");
    }
}

on_both! {
    // Shows: group.instance.id.
    /// A static member stays when it closes, or leaves where it is told to.
    async fn static_members_leave_as_they_are_told(cluster: &Cluster) {
        for protocol in ["range", "consumer"] {
            let (topic, group) = (cluster.topic("static", 4, &[]).await, cluster.unique("static"));
            let bootstrap = cluster.bootstrap();
            let told = Told::default();
            let of = |name: &str| config(&bootstrap, &group, protocol).group_instance_id(name.to_owned());
            let mut first = Consumer::connect(of("first")).await.expect("a consumer");
            first.subscribe_with([topic.as_str()], told.clone()).expect("subscribed");
            let mut second = Consumer::connect(of("second")).await.expect("a consumer");
            second.subscribe([topic.as_str()]).expect("subscribed");
            settle(&mut [&mut first, &mut second], &[2, 2]).await;
            told.take();
            let share = second.assignment();
            // It comes back, and nobody else notices.
            in_time("the close", second.close()).await.expect("closed");
            let mut second = Consumer::connect(of("second")).await.expect("a consumer");
            second.subscribe([topic.as_str()]).expect("subscribed");
            settle(&mut [&mut first, &mut second], &[2, 2]).await;
            assert_eq!((second.assignment(), told.take()), (share, Vec::new()), "{protocol}");
            // It leaves for good, and its share goes to the other.
            in_time("the close", second.close_with(GroupMembershipOperation::LeaveGroup)).await.expect("closed");
            settle(&mut [&mut first], &[4]).await;
        }
    }
}

on_both! {
    /// No topics at all unsubscribe, as in Java: the member leaves, and is another where topics come again.
    async fn an_empty_subscription_leaves_the_group(cluster: &Cluster) {
        for protocol in ["range", "cooperative-sticky", "consumer"] {
            let (topic, group) = (cluster.topic("empty", 4, &[]).await, cluster.unique("empty"));
            let bootstrap = cluster.bootstrap();
            let told = Told::default();
            let mut first = Consumer::connect(config(&bootstrap, &group, protocol)).await.expect("a consumer");
            first.subscribe([] as [&str; 0]).expect("nothing to do");
            first.subscribe_with([topic.as_str()], told.clone()).expect("subscribed");
            let mut second = Consumer::connect(config(&bootstrap, &group, protocol)).await.expect("a consumer");
            second.subscribe([topic.as_str()]).expect("subscribed");
            settle(&mut [&mut first, &mut second], &[2, 2]).await;
            told.take();
            let member_id = first.group_metadata().expect("a group").member_id.clone();
            first.subscribe([] as [&str; 0]).expect("unsubscribed");
            // It leaves without being asked for records, and the other has all.
            settle(&mut [&mut second], &[4]).await;
            assert!(first.assignment().is_empty(), "{protocol}: {:?}", first.assignment());
            assert!(matches!(&told.take()[..], [("revoked", gone)] if gone.len() == 2), "{protocol}");
            first.subscribe([topic.as_str()]).expect("subscribed");
            settle(&mut [&mut first, &mut second], &[2, 2]).await;
            assert_ne!(first.group_metadata().expect("a group").member_id, member_id, "{protocol}");
            // A subscription that comes while the member leaves is the next one's.
            first.subscribe([] as [&str; 0]).expect("unsubscribed");
            first.subscribe([topic.as_str()]).expect("subscribed");
            settle(&mut [&mut first, &mut second], &[2, 2]).await;
            in_time("the end", first.unsubscribe()).await.expect("unsubscribed");
            settle(&mut [&mut second], &[4]).await;
        }
    }
}

on_both! {
    /// Two lives of one static member: in a classic group the second ends the first, in one of KIP-848 it is refused.
    async fn a_static_member_has_one_life(cluster: &Cluster) {
        for protocol in ["range", "consumer"] {
            let (topic, group) = (cluster.topic("lives", 2, &[]).await, cluster.unique("lives"));
            let bootstrap = cluster.bootstrap();
            let told = Told::default();
            let of = || config(&bootstrap, &group, protocol).group_instance_id("one".to_owned());
            let mut first = Consumer::connect(of()).await.expect("a consumer");
            first.subscribe_with([topic.as_str()], told.clone()).expect("subscribed");
            settle(&mut [&mut first], &[2]).await;
            told.take();
            let mut second = Consumer::connect(of()).await.expect("a consumer");
            second.subscribe([topic.as_str()]).expect("subscribed");
            let (ended, code, mut going) = if protocol == "range" {
                (first, "FENCED_INSTANCE_ID", second)
            } else {
                (second, "UNRELEASED_INSTANCE_ID", first)
            };
            let mut ended = ended;
            let error = in_time("the error", ended.recv()).await.expect_err("another life");
            assert!(error.is_fatal() && error.to_string().contains(code), "{protocol}: {error}");
            assert!(ended.assignment().is_empty(), "{protocol}: {:?}", ended.assignment());
            settle(&mut [&mut going], &[2]).await;
            let lost = told.take();
            assert_eq!(lost, if protocol == "range" { vec![("lost", vec![0, 1])] } else { Vec::new() }, "{protocol}");
        }
    }
}

/// All partitions to the member whose id comes first.
#[derive(Debug)]
struct Greedy;

impl Assignor for Greedy {
    fn name(&self) -> &str {
        "greedy"
    }

    fn protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Cooperative]
    }

    fn assign(&self, members: &[Member], topics: &TopicPartitions) -> Result<Assignment, AssignError> {
        let mut assignment = Assignment::empty_for(members);
        if let Some(first) = members.iter().min_by_key(|member| &member.id) {
            for topic in &first.topics {
                (0..topics.count(topic)).for_each(|partition| assignment.give(&first.id, topic, partition));
            }
        }
        Ok(assignment)
    }
}

// Shows: partition.assignment.strategy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignor_of_the_applications_own_shares_out() {
    let cluster = TestCluster::builder().topic("orders", 3).start().await;
    let connect = async || {
        let options = ConsumerOptions::new().assignor(Greedy);
        let mut consumer = Consumer::connect_with(config(&cluster.bootstrap(), "clerks", "greedy"), options)
            .await
            .expect("a consumer");
        consumer.subscribe(["orders"]).expect("subscribed");
        consumer
    };
    let mut first = connect().await;
    settle(&mut [&mut first], &[3]).await;
    let mut second = connect().await;
    let mut settled = false;
    for _ in 0..600 {
        for member in [&mut first, &mut second] {
            drop(tokio::time::timeout(Duration::from_millis(10), member.recv()).await);
        }
        let ids = [&first, &second].map(|member| member.group_metadata().expect("a group").member_id.clone());
        let counts = [first.assignment().len(), second.assignment().len()];
        settled = ids.iter().all(|id| !id.is_empty()) && counts == if ids[0] < ids[1] { [3, 0] } else { [0, 3] };
        if settled {
            break;
        }
    }
    assert!(settled, "{:?} {:?}", first.assignment(), second.assignment());
    let unknown = Consumer::connect(config(&cluster.bootstrap(), "clerks", "greedy")).await.expect_err("not given");
    assert!(unknown.to_string().contains("partition.assignment.strategy"), "{unknown}");
}

// Shows: max.poll.interval.ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_poll_loses_its_partitions_and_comes_back() {
    for protocol in ["cooperative-sticky", "consumer"] {
        let cluster = TestCluster::builder().topic("orders", 2).start().await;
        let told = Told::default();
        let slow = config(&cluster.bootstrap(), "clerks", protocol).max_poll_interval(Duration::from_secs(2));
        let mut slow = Consumer::connect(slow).await.expect("a consumer");
        slow.subscribe_with(["orders"], told.clone()).expect("subscribed");
        settle(&mut [&mut slow], &[2]).await;
        told.take();
        // It works on something, and another one reads in its place.
        let mut other = Consumer::connect(config(&cluster.bootstrap(), "clerks", protocol)).await.expect("a consumer");
        other.subscribe(["orders"]).expect("subscribed");
        settle(&mut [&mut other], &[2]).await;
        assert_eq!(told.take().last().map(|(what, _)| *what), Some("lost"), "{protocol}");
        settle(&mut [&mut slow, &mut other], &[1, 1]).await;
    }
}
