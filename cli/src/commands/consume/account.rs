//! What the report of `--report` says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rkafka::consumer::{Batch, TopicPartition};
use serde_json::{Map, Value, json};

/// Counts what is printed, once for each batch.
#[derive(Debug, Clone, Default)]
pub struct Account {
    printed: Arc<Mutex<Printed>>,
}

#[derive(Debug, Default)]
struct Printed {
    records: u64,
    next_offsets: BTreeMap<TopicPartition, i64>,
}

impl Account {
    /// So many records of the batch are printed, all below `next_offset`.
    pub fn note(&self, batch: &Batch, records: u64, next_offset: i64) {
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        printed.records += records;
        printed.next_offsets.insert(batch.topic_partition(), next_offset);
    }

    /// What the report says.
    pub fn counted(&self) -> Map<String, Value> {
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut topics: Map<String, Value> = Map::new();
        for (place, offset) in &printed.next_offsets {
            let topic = topics.entry(place.topic.to_string()).or_insert_with(|| json!({}));
            topic[place.partition.to_string()] = (*offset).into();
        }
        let counted = [("records", printed.records.into()), ("offsets", Value::Object(topics))];
        counted.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}
