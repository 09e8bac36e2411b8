//! `kcat -Q`: offsets by time.

use std::collections::BTreeMap;

use rkafka::admin::{OffsetSpec, TopicPartition};
use serde_json::{Map, Value, json};

use super::args::Kcat;
use crate::args::Connection;
use crate::exit::{self, Exit, Failure};
use crate::{connect, report};

/// Prints the offsets, by topic and partition.
pub async fn run(kcat: &Kcat, connection: &Connection) -> Result<Exit, Failure> {
    let mut asked = BTreeMap::new();
    for text in &kcat.topics {
        let (topic, partition, spec) =
            parse(text).ok_or_else(|| Failure::usage("-t: expected \"topic:partition:offset_or_timestamp\""))?;
        asked.insert((topic, partition), spec);
    }
    if asked.is_empty() {
        return Err(Failure::usage("-t <topic>:<partition>:<timestamp> missing"));
    }
    let admin = connect::admin(connection).await?;
    let places =
        asked.iter().map(|((topic, partition), spec)| (TopicPartition::new(topic.as_str(), *partition), *spec));
    let mut listed = admin.list_offsets(places).await?;
    let mut lines = String::new();
    let mut topics: Map<String, Value> = Map::new();
    for (topic, partition) in asked.keys() {
        let found = listed.remove(&TopicPartition::new(topic.as_str(), *partition));
        let missing = || Failure::failed(format!("the broker said nothing about {topic} [{partition}]"));
        let found = found.ok_or_else(missing)?.map_err(|error| {
            let exit = error.code().map_or(Exit::Failed, exit::of_code);
            Failure::new(exit, format!("{topic} [{partition}]: {error}"))
        })?;
        // kcat's word for a time that nothing is as late as.
        let offset = found.offset.unwrap_or(-1);
        lines.push_str(&format!("{topic} [{partition}] offset {offset}\n"));
        let entry = topics.entry(topic.clone()).or_insert_with(|| json!({ "topic": topic }));
        entry[partition.to_string()] = json!({ "partition": partition, "offset": offset });
    }
    report::answer(&if kcat.json { Value::Object(topics).to_string() } else { lines })?;
    Ok(Exit::Ok)
}

fn parse(text: &str) -> Option<(String, i32, OffsetSpec)> {
    let (rest, time) = text.rsplit_once(':')?;
    let (topic, partition) = rest.rsplit_once(':')?;
    let spec = match time.parse::<i64>().ok()? {
        -1 => OffsetSpec::Latest,
        -2 => OffsetSpec::Earliest,
        time => OffsetSpec::Timestamp(time),
    };
    let partition = partition.parse().ok()?;
    (!topic.is_empty()).then(|| (topic.to_owned(), partition, spec))
}
