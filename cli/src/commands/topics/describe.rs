//! `rkafka topics describe`.

use rkafka::admin::{Admin, ConfigEntry, ConfigResource, ConfigSource, PartitionDescription, TopicDescription};
use serde_json::{Map, Value, json};

use super::{Outcome, distinct, failure};
use crate::args::{DescribeTopics, Output};
use crate::exit::{Exit, Failure};
use crate::format::listing;
use crate::format::table::columns;
use crate::report;

/// A topic with those of its settings that are not the default.
struct Described {
    topic: TopicDescription,
    configs: Vec<(String, String)>,
    /// `min.insync.replicas`, where it is known.
    min_in_sync: Option<usize>,
}

/// Prints what is known of the topics, in the order they were named, or by name where all are meant.
pub async fn run(admin: &Admin, args: &DescribeTopics) -> Result<Exit, Failure> {
    let all: Vec<String>;
    let names = if args.topics.is_empty() {
        all = admin.list_topics().await?.into_iter().filter(|topic| !topic.internal).map(|topic| topic.name).collect();
        distinct(&all)
    } else {
        distinct(&args.topics)
    };
    let mut outcome = Outcome::default();
    let mut described = Vec::new();
    let mut results = if names.is_empty() { Default::default() } else { admin.describe_topics(&names).await? };
    for name in names {
        match results.remove(name) {
            Some(Ok(topic)) => {
                outcome.succeeded();
                described.push(Described { topic, configs: Vec::new(), min_in_sync: None });
            }
            Some(Err(error)) => outcome.failed(&failure(admin, name, error).await),
            None => outcome.failed(&Failure::failed(format!("the broker said nothing about topic `{name}`"))),
        }
    }
    let by_min = args.under_min_isr || args.at_min_isr;
    if (by_min || args.form.output != Output::Name) && !described.is_empty() {
        add_configs(admin, &mut described, &mut outcome).await?;
    }
    if by_min || args.under_replicated || args.offline {
        for Described { topic, min_in_sync, .. } in &mut described {
            topic.partitions.retain(|partition| is_wanted(args, partition, *min_in_sync));
        }
        described.retain(|described| !described.topic.partitions.is_empty());
    }
    report::answer(&text(&described, args.form.output, listing::colored(&args.form)))?;
    Ok(outcome.exit())
}

/// Adds the settings. Who may see a topic may not see its settings; the rest is printed all the same.
async fn add_configs(admin: &Admin, described: &mut [Described], outcome: &mut Outcome) -> Result<(), Failure> {
    let resources = described.iter().map(|described| ConfigResource::topic(&described.topic.name));
    let mut results = admin.describe_configs(resources).await?;
    for described in described {
        match results.remove(&ConfigResource::topic(&described.topic.name)) {
            Some(Ok(configs)) => {
                let minimum = configs.iter().find(|config| config.name == "min.insync.replicas");
                described.min_in_sync = minimum.and_then(|config| config.value.as_ref()?.parse().ok());
                described.configs = not_default(configs);
            }
            Some(Err(error)) => outcome.failed(&failure(admin, &described.topic.name, error).await),
            None => {}
        }
    }
    Ok(())
}

/// Whether a partition is in a state that was asked for. `min_in_sync` counts for no more than there are replicas, as the
/// broker has it.
fn is_wanted(args: &DescribeTopics, partition: &PartitionDescription, min_in_sync: Option<usize>) -> bool {
    let (replicas, in_sync) = (partition.replicas.len(), partition.in_sync_replicas.len());
    let minimum = min_in_sync.map(|minimum| minimum.min(replicas));
    (args.under_replicated && in_sync < replicas)
        || (args.under_min_isr && minimum.is_some_and(|minimum| in_sync < minimum))
        || (args.at_min_isr && minimum == Some(in_sync))
        || (args.offline && partition.leader.is_none())
}

fn not_default(configs: Vec<ConfigEntry>) -> Vec<(String, String)> {
    let mut configs: Vec<(String, String)> = configs
        .into_iter()
        .filter(|config| !matches!(config.source, ConfigSource::Default | ConfigSource::Other(_)))
        .map(|config| {
            let hidden = if config.sensitive { "[hidden]" } else { "" };
            (config.name, config.value.unwrap_or_else(|| hidden.to_owned()))
        })
        .collect();
    configs.sort();
    configs
}

fn text(topics: &[Described], output: Output, colored: bool) -> String {
    match output {
        Output::Table | Output::Wide => {
            let tables = topics.iter().map(|described| listing::emphasized(table(described), colored));
            tables.collect::<Vec<_>>().join("\n")
        }
        other => listing::documents(topics.iter().map(|described| (&*described.topic.name, json(described))), other),
    }
}

fn table(described: &Described) -> String {
    let topic = &described.topic;
    let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or_default();
    let mut out = format!("topic {}, partitions {}, replicas {replicas}", topic.name, topic.partitions.len());
    if topic.internal {
        out.push_str(", internal");
    }
    if let Some(id) = topic.id {
        out.push_str(&format!(", id {id}"));
    }
    out.push('\n');
    for (name, value) in &described.configs {
        out.push_str(&format!("  {name}={value}\n"));
    }
    let mut rows = vec![["  PARTITION", "LEADER", "REPLICAS", "IN SYNC", "OFFLINE"].map(str::to_owned).to_vec()];
    rows.extend(topic.partitions.iter().map(|partition| {
        vec![
            format!("  {}", partition.partition),
            partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            numbers(&partition.replicas),
            numbers(&partition.in_sync_replicas),
            numbers(&partition.offline_replicas),
        ]
    }));
    out + &columns(&rows)
}

fn numbers(brokers: &[i32]) -> String {
    brokers.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

fn json(described: &Described) -> Value {
    let topic = &described.topic;
    let partitions = topic.partitions.iter().map(|partition| {
        json!({
            "partition": partition.partition,
            "leader": partition.leader,
            "leader_epoch": partition.leader_epoch,
            "replicas": partition.replicas,
            "in_sync_replicas": partition.in_sync_replicas,
            "offline_replicas": partition.offline_replicas,
        })
    });
    let configs = described.configs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    json!({
        "topic": topic.name,
        "id": topic.id.map(|id| id.to_string()),
        "internal": topic.internal,
        "partitions": Value::from_iter(partitions),
        "configs": Map::from_iter(configs),
    })
}
