//! `kcat -L`: brokers, topics, partitions.

use std::fmt::Write;

use rkafka::admin::{ClusterDescription, TopicDescription};
use serde_json::{Value, json};

use super::args::Kcat;
use crate::args::Connection;
use crate::commands::topics;
use crate::exit::{Exit, Failure};
use crate::{connect, report};

/// Prints them. A topic that is not there is an error, and is not created by being asked for.
pub async fn run(kcat: &Kcat, connection: &Connection) -> Result<Exit, Failure> {
    let admin = connect::admin(connection).await?;
    let cluster = admin.describe_cluster().await?;
    let topic = kcat.topics.last();
    let mut names = match topic {
        Some(name) => vec![name.clone()],
        None => admin.list_topics().await?.into_iter().map(|topic| topic.name).collect(),
    };
    names.sort();
    let mut described = if names.is_empty() { Default::default() } else { admin.describe_topics(&names).await? };
    let mut found = Vec::with_capacity(names.len());
    for name in &names {
        match described.remove(name) {
            Some(Ok(topic)) => found.push(topic),
            Some(Err(error)) => return Err(topics::failure(&admin, name, error).await),
            None => return Err(topics::not_found(&admin, name).await),
        }
    }
    let out = if kcat.json { json(&cluster, topic, &found) } else { text(&cluster, topic, &found) };
    report::answer(&out)?;
    Ok(Exit::Ok)
}

/// Which broker was asked: any of them knows it all.
fn origin(cluster: &ClusterDescription) -> (i32, String) {
    cluster
        .brokers
        .first()
        .map_or((-1, String::new()), |broker| (broker.id, format!("{}:{}/{}", broker.host, broker.port, broker.id)))
}

fn text(cluster: &ClusterDescription, topic: Option<&String>, topics: &[TopicDescription]) -> String {
    let (id, name) = origin(cluster);
    let mut out = format!("Metadata for {} (from broker {id}: {name}):\n", topic.map_or("all topics", String::as_str));
    let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    // A String takes whatever is written to it.
    let _ = writeln!(out, " {} brokers:", cluster.brokers.len());
    for broker in &cluster.brokers {
        let controller = if cluster.controller == Some(broker.id) { " (controller)" } else { "" };
        let _ = writeln!(out, "  broker {} at {}:{}{controller}", broker.id, broker.host, broker.port);
    }
    let _ = writeln!(out, " {} topics:", topics.len());
    for topic in topics {
        let _ = writeln!(out, "  topic \"{}\" with {} partitions:", topic.name, topic.partitions.len());
        for partition in &topic.partitions {
            let leader = partition.leader.unwrap_or(-1);
            let lost = if partition.leader.is_none() { ", Broker: Leader not available" } else { "" };
            let (replicas, isrs) = (ids(&partition.replicas), ids(&partition.in_sync_replicas));
            let _ = writeln!(
                out,
                "    partition {}, leader {leader}, replicas: {replicas}, isrs: {isrs}{lost}",
                partition.partition
            );
        }
    }
    out
}

fn json(cluster: &ClusterDescription, topic: Option<&String>, topics: &[TopicDescription]) -> String {
    let (id, name) = origin(cluster);
    let ids = |ids: &[i32]| Value::from_iter(ids.iter().map(|id| json!({ "id": id })));
    let brokers = cluster
        .brokers
        .iter()
        .map(|broker| json!({ "id": broker.id, "name": format!("{}:{}", broker.host, broker.port) }));
    let topics = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            json!({
                "partition": partition.partition,
                "leader": partition.leader.unwrap_or(-1),
                "replicas": ids(&partition.replicas),
                "isrs": ids(&partition.in_sync_replicas),
            })
        });
        json!({ "topic": topic.name, "partitions": Value::from_iter(partitions) })
    });
    json!({
        "originating_broker": { "id": id, "name": name },
        "query": { "topic": topic.map_or("*", String::as_str) },
        "controllerid": cluster.controller.unwrap_or(-1),
        "brokers": Value::from_iter(brokers),
        "topics": Value::from_iter(topics),
    })
    .to_string()
}
