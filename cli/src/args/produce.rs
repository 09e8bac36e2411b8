//! `rkafka produce`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Connection;

/// Send lines, files or stdin to a topic.
///
/// Each line is a record. Exits with 0 only when every record was acknowledged; otherwise one line on stderr says how
/// many were, and which line failed first.
#[derive(Debug, Args)]
pub struct Produce {
    /// The topic
    pub topic: String,

    /// Files to send, one record a line; `-` or none is stdin
    pub files: Vec<PathBuf>,

    /// Split each line at the first DELIMITER into key and value; a line without it has no key
    #[arg(short = 'K', long, value_name = "DELIMITER", allow_hyphen_values = true)]
    pub key_delimiter: Option<String>,

    /// What ends a record, in place of a line feed (escapes: \n \t \xHH)
    #[arg(short = 'D', long, value_name = "DELIMITER", allow_hyphen_values = true, default_value = "\\n")]
    pub delimiter: String,

    /// The key of every record
    #[arg(short = 'k', long, value_name = "KEY", allow_hyphen_values = true, conflicts_with = "key_delimiter")]
    pub key: Option<String>,

    /// The partition; without it the key decides, as in Java
    #[arg(short = 'p', long, value_name = "PARTITION", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,

    /// A header of every record, as NAME=VALUE; NAME alone is a null value (may be repeated)
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,

    /// Compress batches: none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC")]
    pub compression: Option<String>,

    /// Send empty values as null, and empty keys too
    #[arg(short = 'Z', long)]
    pub null: bool,

    /// Read each line as JSON, as `consume -J` writes it: key, payload, headers, ts, partition
    #[arg(short = 'J', long, conflicts_with_all = ["key_delimiter", "key", "headers", "null"])]
    pub json: bool,

    /// Who must have a record before it counts: 0 nobody, 1 the leader, all the in-sync replicas
    #[arg(long, value_name = "0|1|all")]
    pub acks: Option<String>,

    /// What to do when a record fails
    #[arg(long, value_enum, value_name = "WHAT", default_value = "stop")]
    pub on_error: OnError,

    /// Create the topic where it is missing, as the broker's defaults have it
    #[arg(long)]
    pub create: bool,

    /// Write at the end a line of JSON to this file, or to this number of an open file (as 3 with 3>report.json)
    ///
    /// sent, acked, failed, first_failed_source, first_failed_line, offsets (the first and last of each partition), exit,
    /// error. Counts are null where a second Ctrl-C ended it at once.
    #[arg(long, value_name = "FD|FILE")]
    pub report: Option<String>,

    /// What only kcat's command line can ask for.
    #[arg(skip)]
    pub kcat: Option<KcatProduce>,

    #[command(flatten)]
    pub connection: Connection,
}

/// What only kcat's command line can ask for. Empty lines are passed over there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KcatProduce {
    /// End after so many records.
    pub count: Option<u64>,
    /// Write what is sent to stdout too.
    pub tee: bool,
    /// A file is one record.
    pub whole_files: bool,
}

/// What to do when a record fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Send nothing more; what was sent before is still waited for
    Stop,
    /// Report the record and go on
    Continue,
}
