//! Reading from the replica of one's own rack (KIP-392), on three brokers of Apache Kafka: the embedded broker has no
//! followers.

use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::client::{Client, ClientConfig, ClientSettings as _, Topics};
use rkafka::consumer::{Consumer, Start};
use rkafka::producer::Record;
use rkafka_testkit::{RealKafka, eventually, skipped};

use crate::support::{consumer_config, in_time, next_values, producer};

const FETCH: &str = "consumer-fetch-manager-metrics";

/// The replica that the partition is read from in the leader's place, or -1.
fn preferred(consumer: &Consumer) -> i32 {
    let value = consumer.metrics().value_of("preferred-read-replica", FETCH, "partition", "0");
    value.map_or(-1, |value| value as i32)
}

/// The bytes that came from a broker.
fn received(consumer: &Consumer, node: i32) -> f64 {
    let node = format!("node-{node}");
    consumer.metrics().value_of("incoming-byte-total", "consumer-node-metrics", "node-id", &node).unwrap_or(0.0)
}

// Shows: client.rack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_of_ones_own_rack_is_read_and_the_leader_where_it_dies() {
    let racks = |id: usize| {
        format!(
            "broker.rack=rack-{id}\n\
             replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector\n"
        )
    };
    let started = tokio::task::spawn_blocking(move || RealKafka::start_with(3, racks)).await.expect("no panic");
    let mut kafka = match started {
        Ok(kafka) => kafka,
        Err(why) => return skipped("the_replica_of_ones_own_rack_is_read_and_the_leader_where_it_dies", &why),
    };
    let bootstrap = kafka.bootstrap();
    let admin = Admin::connect(AdminConfig::new().bootstrap_servers(bootstrap.clone())).await.expect("an admin client");
    eventually("a topic on three brokers", || async {
        let topic = NewTopic::new("near").partitions(1).replication_factor(3);
        let created = admin.create_topics(&[topic]).await;
        let created = created.map_err(|error| error.to_string())?.into_values().collect::<Result<Vec<_>, _>>();
        created.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let client = ClientConfig::new().bootstrap_servers(bootstrap.clone());
    let client = in_time("a client", Client::connect(client)).await.expect("a client");
    let leader = eventually("a leader of a partition that all three have", || async {
        let cluster = client.refresh(Topics::named(["near".to_owned()])).await.map_err(|error| error.to_string())?;
        let replicas = cluster.topic("near").and_then(|topic| topic.partitions.first()).map(|one| one.isr.len());
        match cluster.leader("near", 0) {
            Some((leader, _)) if replicas == Some(3) => Ok(leader.node_id),
            other => Err(format!("{other:?} {replicas:?}")),
        }
    })
    .await;
    let follower = leader % 3 + 1;
    let producer = producer(&bootstrap).await;
    let send = async |numbers: std::ops::Range<i32>| {
        for number in numbers {
            let value = number.to_string();
            let record = Record::to("near").value(&value);
            let delivery = in_time("room", producer.send(record)).await.expect("accepted");
            in_time("the acknowledgement", delivery).await.expect("written");
        }
    };
    let texts = |numbers: std::ops::Range<i32>| numbers.map(|number| number.to_string()).collect::<Vec<_>>();

    let config = consumer_config(&bootstrap).client_rack(format!("rack-{follower}"));
    let mut consumer = in_time("a consumer", Consumer::connect(config)).await.expect("a consumer");
    consumer.assign([("near", 0, Start::Beginning)]).expect("assigned");
    send(0..20).await;
    assert_eq!(next_values(&mut consumer, 20).await, texts(0..20));
    eventually("the follower is read", || async {
        let replica = preferred(&consumer);
        if replica == follower { Ok(()) } else { Err(format!("{replica} in place of {follower}")) }
    })
    .await;
    // What is written now can only come from there.
    let before = [leader, follower].map(|node| received(&consumer, node));
    let value = "x".repeat(50_000);
    for _ in 0..4 {
        let delivery = in_time("room", producer.send(Record::to("near").value(&value))).await.expect("accepted");
        in_time("the acknowledgement", delivery).await.expect("written");
    }
    for _ in 0..4 {
        assert_eq!(
            in_time("a record", consumer.recv()).await.expect("a record").value().map(<[u8]>::len),
            Some(50_000)
        );
    }
    let after = [leader, follower].map(|node| received(&consumer, node));
    assert!(after[0] - before[0] < 50_000.0, "from the leader: {before:?} {after:?}");
    assert!(after[1] - before[1] >= 200_000.0, "from the follower: {before:?} {after:?}");

    kafka.kill(usize::try_from(follower).expect("an id") - 1).expect("killed");
    send(20..40).await;
    assert_eq!(next_values(&mut consumer, 20).await, texts(20..40), "from the leader again");
    // The leader does not name the dead one for ever.
    eventually("the leader is read", || async {
        let replica = preferred(&consumer);
        if replica < 0 { Ok(()) } else { Err(format!("{replica} in place of {leader}")) }
    })
    .await;
    in_time("the close", consumer.close()).await.expect("closed");
}
