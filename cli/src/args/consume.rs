//! `rkafka consume`.

use clap::Args;

use super::Connection;

/// Print the records of topics.
///
/// Without -G, each named topic is read from the beginning and nothing is committed. Topics are never created.
#[derive(Debug, Args)]
pub struct Consume {
    /// The topics
    #[arg(required = true)]
    pub topics: Vec<String>,

    /// Take the topics as regular expressions of whole names; topics that come later are found
    #[arg(short = 'r', long, requires = "group")]
    pub regex: bool,

    /// Only these partitions, as 0,2 (may be repeated)
    #[arg(short = 'p', long = "partition", value_name = "PARTITIONS", value_delimiter = ',', conflicts_with = "group",
          value_parser = clap::value_parser!(i32).range(0..))]
    pub partitions: Vec<i32>,

    /// Where to start, and where to stop
    ///
    /// beginning, end, an offset N, -N (N before the end of each partition), s@TIME (start at a time), e@TIME (stop
    /// before a time, or at the end as it is now), N:M (from N, stop before M), :end (stop at the end as it is now).
    /// TIME is a number of milliseconds since 1970, a date such as 2026-01-31T12:00:00Z, or a time before now such as
    /// -1h. One -o may say where to start and another where to stop.
    /// Without -G the default is beginning; with -G it is what the group has committed, else auto.offset.reset.
    #[arg(short = 'o', long = "offset", value_name = "WHERE", allow_hyphen_values = true)]
    pub offsets: Vec<String>,

    /// Exit at the end of every partition, as it is when it is reached
    #[arg(short = 'e', long)]
    pub exit_at_end: bool,

    /// Exit after this many records
    #[arg(short = 'c', long, value_name = "N")]
    pub count: Option<u64>,

    /// How to print a record, as '%t [%p] %o: %k = %s\n'
    ///
    /// %s value, %k key, %S and %K their lengths (-1 for null), %t topic, %p partition, %o offset, %T timestamp,
    /// %h headers, %R length of the value as 4 bytes, %% a percent sign; %s{hex}, %s{base64}, %s{json};
    /// \n \t \xHH (hexadecimal) \NNN (decimal).
    #[arg(short = 'f', long, value_name = "FORMAT", allow_hyphen_values = true, conflicts_with = "json")]
    pub format: Option<String>,

    /// Print each record as a line of JSON; bytes that are not UTF-8 are {"base64": ".."}
    #[arg(short = 'J', long)]
    pub json: bool,

    /// Print the key before the value, with this between them
    #[arg(short = 'K', long, value_name = "DELIMITER", allow_hyphen_values = true, conflicts_with_all = ["format", "json"])]
    pub key_delimiter: Option<String>,

    /// What to print after each record, in place of a line feed
    #[arg(short = 'D', long, value_name = "DELIMITER", allow_hyphen_values = true, conflicts_with_all = ["format", "json"])]
    pub delimiter: Option<String>,

    /// Print null keys and values as NULL, to tell them from empty ones
    #[arg(short = 'Z', long)]
    pub null: bool,

    /// Read as a member of this group: share the partitions, commit what was printed
    ///
    /// Committed is what was written to stdout and, where that is a pipe, has been read from it: at
    /// auto.commit.interval.ms and at the end, before which it waits for the reader. Where the reader closes the pipe,
    /// nothing more is committed: what it has not read comes again, and so may what it has. Whether a reader is done with
    /// what it has read cannot be seen from here. enable.auto.commit=false commits nothing.
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Write at the end a line of JSON to this file, or to this number of an open file (as 3 with 3>report.json)
    ///
    /// records, offsets (behind the last that was printed of each partition), exit, error.
    #[arg(long, value_name = "FD|FILE")]
    pub report: Option<String>,

    #[command(flatten)]
    pub connection: Connection,
}
