//! From a batch to bytes for stdout.

use std::collections::HashMap;

use rkafka::consumer::{Batch, TopicPartition};
use rkafka::protocol::records::{RecordError, TimestampType};

use crate::args::Consume;
use crate::exit::Failure;
use crate::format::{Printed, Template, json, template};

/// How records are printed.
pub enum Printer {
    /// By a format string.
    Template(Template),
    /// As lines of JSON; with the leaders of partitions, where these are shown as kcat does.
    Json(HashMap<TopicPartition, i32>),
}

/// How much of a batch was printed.
pub struct Progress {
    /// How many records.
    pub records: u64,
    /// The offset of the next record.
    pub next_offset: i64,
    /// The record that is damaged, where one is.
    pub damage: Option<RecordError>,
}

impl Printer {
    /// What the command line says of it.
    pub fn from_args(args: &Consume) -> Result<Self, Failure> {
        let null = if args.null { "NULL" } else { "" };
        let delimiter = |flag: &str, text: &str| {
            template::delimiter(text).map_err(|error| Failure::usage(format!("{flag}: {error}")))
        };
        if args.json {
            return Ok(Self::Json(HashMap::new()));
        }
        if let Some(format) = &args.format {
            let template = Template::parse(format, null).map_err(|error| Failure::usage(format!("-f: {error}")))?;
            return Ok(Self::Template(template));
        }
        let key = args.key_delimiter.as_deref().map(|text| delimiter("-K", text)).transpose()?;
        let end = args.delimiter.as_deref().map_or(Ok(b"\n".to_vec()), |text| delimiter("-D", text))?;
        Ok(Self::Template(Template::lines(key, end, null)))
    }

    /// Appends the records of a batch that lie below `until`, `most` at most.
    pub fn print(&self, batch: &Batch, until: i64, most: u64, out: &mut Vec<u8>) -> Progress {
        let mut progress = Progress { records: 0, next_offset: batch.first_offset(), damage: None };
        let needs_headers = match self {
            Self::Template(template) => template.needs_headers(),
            Self::Json(_) => true,
        };
        let log_append_time = batch.timestamp_type() == TimestampType::LogAppendTime;
        let broker = match self {
            Self::Json(leaders) if !leaders.is_empty() => leaders.get(&batch.topic_partition()).copied(),
            _ => None,
        };
        let mut headers = Vec::new();
        for record in batch.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    progress.damage = Some(error);
                    return progress;
                }
            };
            if record.offset >= until || progress.records == most {
                return progress;
            }
            headers.clear();
            if needs_headers && !record.headers.is_empty() {
                for header in record.headers {
                    match header {
                        Ok(header) => headers.push((header.key, header.value)),
                        Err(error) => {
                            progress.damage = Some(error);
                            return progress;
                        }
                    }
                }
            }
            let printed = Printed {
                topic: batch.topic(),
                partition: batch.partition(),
                broker,
                offset: record.offset,
                timestamp_ms: record.timestamp,
                log_append_time,
                key: record.key,
                value: record.value,
                headers: &headers,
            };
            match self {
                Self::Template(template) => template.write(&printed, out),
                Self::Json(_) => json::line(&printed, out),
            }
            progress.records += 1;
            progress.next_offset = record.offset.saturating_add(1);
        }
        progress.next_offset = batch.next_offset().min(until.max(progress.next_offset));
        progress
    }
}
