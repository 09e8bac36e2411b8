//! Plans as files, in the form of Kafka's kafka-reassign-partitions.sh:
//! `{"version":1,"partitions":[{"topic":"orders","partition":0,"replicas":[1,2],"log_dirs":["any","any"]}]}`.

use std::io::Read;
use std::path::Path;

use rkafka::admin::TopicPartition;
use serde_json::{Value, json};

use super::Replicas;
use crate::exit::Failure;

/// Reads a plan from a file, or from stdin where that is `-`.
///
/// # Errors
/// It cannot be read, or is no plan; nothing was done then.
pub fn read(path: &Path) -> Result<Replicas, Failure> {
    let (name, text) = if path.as_os_str() == "-" {
        let mut text = String::new();
        ("stdin".to_owned(), std::io::stdin().read_to_string(&mut text).map(|_| text))
    } else {
        (path.display().to_string(), std::fs::read_to_string(path))
    };
    let text = text.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    parse(&text).map_err(|error| Failure::usage(format!("{name} is no plan: {error}")))
}

fn parse(text: &str) -> Result<Replicas, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if document["version"] != 1 {
        return Err(format!("its version is {}, and 1 is known", document["version"]));
    }
    let partitions = document["partitions"].as_array().ok_or("it has no list `partitions`")?;
    let mut plan = Replicas::new();
    for entry in partitions {
        let (partition, replicas) = partition(entry).map_err(|error| format!("{entry}: {error}"))?;
        if plan.insert(partition.clone(), replicas).is_some() {
            return Err(format!("{partition} is in it twice"));
        }
    }
    Ok(plan)
}

fn partition(entry: &Value) -> Result<(TopicPartition, Vec<i32>), String> {
    let number =
        |value: &Value| value.as_i64().and_then(|number| i32::try_from(number).ok()).filter(|number| *number >= 0);
    let topic = entry["topic"].as_str().filter(|topic| !topic.is_empty()).ok_or("`topic` is missing")?;
    let index = number(&entry["partition"]).ok_or("`partition` is no number")?;
    let replicas = entry["replicas"].as_array().ok_or("`replicas` is no list")?;
    let replicas: Vec<i32> =
        replicas.iter().map(number).collect::<Option<_>>().ok_or("`replicas` has something that is no broker's id")?;
    if replicas.is_empty() {
        return Err("`replicas` is empty".to_owned());
    }
    if let Some(twice) = replicas.iter().enumerate().find(|(at, id)| replicas[..*at].contains(id)) {
        return Err(format!("broker {} is in `replicas` twice", twice.1));
    }
    match &entry["log_dirs"] {
        Value::Null => {}
        Value::Array(directories) if directories.iter().all(|directory| directory == "any") => {}
        _ => return Err("`log_dirs` asks for a directory, which is not done here; only \"any\" is taken".to_owned()),
    }
    Ok((TopicPartition::new(topic, index), replicas))
}

/// The plan as a line of JSON.
pub fn text(plan: &Replicas) -> String {
    let partitions: Vec<Value> = plan
        .iter()
        .map(|(partition, replicas)| {
            let directories = vec!["any"; replicas.len()];
            json!({
                "topic": &*partition.topic,
                "partition": partition.partition,
                "replicas": replicas,
                "log_dirs": directories,
            })
        })
        .collect();
    format!("{}\n", json!({ "version": 1, "partitions": partitions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let plan = Replicas::from([
            (TopicPartition::new("a", 0), vec![2, 1]),
            (TopicPartition::new("a", 1), vec![3]),
            (TopicPartition::new("b", 0), vec![1]),
        ]);
        assert_eq!(parse(&text(&plan)), Ok(plan));
        let kafka = r#"{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1]}]}"#;
        assert_eq!(parse(kafka), Ok(Replicas::from([(TopicPartition::new("a", 0), vec![1])])));
    }

    #[test]
    fn what_is_no_plan_says_why() {
        let entry = |entry: &str| format!(r#"{{"version":1,"partitions":[{entry}]}}"#);
        for (text, part) in [
            ("", "EOF"),
            ("{}", "version is null"),
            (r#"{"version":1}"#, "no list"),
            (&entry("{}"), "`topic`"),
            (&entry(r#"{"topic":"a","partition":-1,"replicas":[1]}"#), "`partition`"),
            (&entry(r#"{"topic":"a","partition":0,"replicas":[]}"#), "empty"),
            (&entry(r#"{"topic":"a","partition":0,"replicas":[1,1]}"#), "broker 1"),
            (&entry(r#"{"topic":"a","partition":0,"replicas":["1"]}"#), "no broker's id"),
            (&entry(r#"{"topic":"a","partition":0,"replicas":[1],"log_dirs":["/data"]}"#), "log_dirs"),
            (
                &entry(r#"{"topic":"a","partition":0,"replicas":[1]},{"topic":"a","partition":0,"replicas":[2]}"#),
                "twice",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
