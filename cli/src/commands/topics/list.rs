//! `rkafka topics list`.

use rkafka::admin::{Admin, TopicListing};
use serde_json::{Value, json};

use super::table::columns;
use crate::args::{ListTopics, Output};
use crate::exit::{Exit, Failure};
use crate::report;

/// Prints the topics, by name.
pub async fn run(admin: &Admin, args: &ListTopics) -> Result<Exit, Failure> {
    let mut topics = admin.list_topics().await?;
    topics.retain(|topic| args.internal || !topic.internal);
    report::answer(&text(&topics, args.output))?;
    Ok(Exit::Ok)
}

fn text(topics: &[TopicListing], output: Output) -> String {
    match output {
        Output::Name => topics.iter().map(|topic| format!("{}\n", topic.name)).collect(),
        Output::Json => format!("{:#}\n", Value::from_iter(topics.iter().map(json))),
        Output::Jsonl => topics.iter().map(|topic| format!("{}\n", json(topic))).collect(),
        Output::Table => {
            let mut rows = vec![["NAME", "PARTITIONS", "INTERNAL"].map(str::to_owned).to_vec()];
            rows.extend(topics.iter().map(|topic| {
                let internal = if topic.internal { "yes" } else { "no" };
                vec![topic.name.clone(), topic.partitions.to_string(), internal.to_owned()]
            }));
            columns(&rows)
        }
    }
}

fn json(topic: &TopicListing) -> Value {
    json!({
        "topic": topic.name,
        "id": topic.id.map(|id| id.to_string()),
        "partitions": topic.partitions,
        "internal": topic.internal,
    })
}
