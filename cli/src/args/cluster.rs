//! `rkafka cluster`, `rkafka offsets` and `rkafka records`.

use std::str::FromStr;

use clap::{Args, Subcommand};

use super::{Connection, Consent, ElectLeaders, Form, Partitions, Reassign};

/// Print what the cluster is made of.
#[derive(Debug, Args)]
pub struct Cluster {
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// What to print of the cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Its id, controller and number of brokers
    Info(OfCluster),
    /// Its brokers
    Brokers(OfCluster),
    /// The requests that each broker answers, in which versions
    ApiVersions(OfCluster),
    /// The nodes that keep its metadata, and how far each is
    Quorum(OfCluster),
    /// Its feature levels
    Features(OfCluster),
    /// The directories of the brokers' logs, with sizes
    #[command(alias = "log-dirs")]
    Logdirs(OfCluster),
    /// Elect leaders, as `rkafka partitions elect-leaders`
    #[command(alias = "elect-leaders")]
    Elect(ElectLeaders),
    /// Move partitions to other brokers, as `rkafka partitions reassign`
    Reassign(Reassign),
}

/// Print something of the cluster.
#[derive(Debug, Args)]
pub struct OfCluster {
    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Print offsets of partitions.
#[derive(Debug, Args)]
pub struct Offsets {
    /// The topics, or partitions of them as TOPIC:0,4-7
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<Partitions>,

    /// Which: start, end, stable (the end for readers of committed records), newest (of the record with the largest
    /// timestamp), or a time as 2026-01-31T12:00:00Z, 2026-01-31, -1h or milliseconds since 1970
    #[arg(long, value_name = "WHERE", default_value = "end", allow_hyphen_values = true)]
    pub at: String,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Delete records.
#[derive(Debug, Args)]
pub struct Records {
    #[command(subcommand)]
    pub command: RecordsCommand,
}

/// What to do with records.
#[derive(Debug, Subcommand)]
pub enum RecordsCommand {
    /// Delete the records before an offset
    Delete(DeleteRecords),
}

/// Delete the records before an offset.
#[derive(Debug, Args)]
pub struct DeleteRecords {
    /// What is to go, as TOPIC:PARTITION:OFFSET; `end` as the offset deletes all there is
    #[arg(required = true, value_name = "TOPIC:PARTITION:OFFSET")]
    pub places: Vec<Place>,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// An offset of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset; `None` for the end.
    pub offset: Option<i64>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut parts = text.split(':');
            let topic = parts.next().filter(|topic| !topic.is_empty())?.to_owned();
            let partition = parts.next()?.parse().ok().filter(|number| *number >= 0)?;
            let offset = match parts.next()? {
                "end" => None,
                number => Some(number.parse().ok().filter(|number| *number >= 0)?),
            };
            parts.next().is_none().then_some(Self { topic, partition, offset })
        };
        parse().ok_or_else(|| format!("`{text}` is no place; write TOPIC:PARTITION:OFFSET"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_offsets_of_partitions() {
        let place = |text: &str| text.parse::<Place>().map(|place| (place.topic, place.partition, place.offset));
        assert_eq!(place("t:0:5"), Ok(("t".to_owned(), 0, Some(5))));
        assert_eq!(place("t:1:end"), Ok(("t".to_owned(), 1, None)));
        for bad in ["", "t", "t:0", ":0:5", "t:x:5", "t:-1:5", "t:0:-5", "t:0:5:6", "t:0:all"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
