//! `rkafka groups`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Connection, Consent, Form, Partitions, duration};

/// List, describe, reset and delete groups.
#[derive(Debug, Args)]
pub struct Groups {
    #[command(subcommand)]
    pub command: GroupsCommand,
}

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum GroupsCommand {
    /// List the groups with type and state
    List(ListGroups),
    /// Print state, members, assignment, offsets and lag
    Describe(DescribeGroups),
    /// Print how far groups are behind, by partition
    Lag(GroupsLag),
    /// Move the offsets of a group; without --execute, show where to
    #[command(alias = "reset-offsets")]
    Reset(ResetGroup),
    /// Delete groups with all they have committed
    Delete(DeleteGroups),
    /// Delete what a group has committed for topics
    DeleteOffsets(DeleteGroupOffsets),
    /// Remove members from a group
    RemoveMembers(RemoveMembers),
}

/// List the groups with type and state.
#[derive(Debug, Args)]
pub struct ListGroups {
    /// Only groups in this state, such as Empty or Stable (may be repeated)
    #[arg(long, value_name = "STATE", value_parser = parsed::<rkafka::admin::GroupState>)]
    pub state: Vec<rkafka::admin::GroupState>,

    /// Only groups of this type: classic, consumer, share or streams (may be repeated)
    #[arg(long = "type", value_name = "TYPE", value_parser = parsed::<rkafka::admin::GroupType>)]
    pub kind: Vec<rkafka::admin::GroupType>,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Reads one of Kafka's names.
pub fn parsed<T: std::str::FromStr<Err = rkafka::admin::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: rkafka::admin::Error| error.to_string())
}

/// Print state, members, assignment, offsets and lag.
#[derive(Debug, Args)]
pub struct DescribeGroups {
    /// The groups; all where none is named
    pub groups: Vec<String>,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Print how far groups are behind, by partition.
#[derive(Debug, Args)]
pub struct GroupsLag {
    /// The groups; all where none is named
    pub groups: Vec<String>,

    /// One line for each group
    #[arg(long)]
    pub total: bool,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Move the offsets of a group.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).multiple(false))]
#[command(
    after_help = "A group with members is not touched: they would overwrite it. Offsets outside of what the partition \
has become its first or its end."
)]
pub struct ResetGroup {
    /// The group
    pub group: String,

    /// A topic, or partitions of it as TOPIC:0,4-7 (may be repeated)
    #[arg(short = 't', long = "topic", value_name = "TOPIC", conflicts_with = "all_topics")]
    pub topics: Vec<Partitions>,

    /// All partitions that the group has committed for
    #[arg(long)]
    pub all_topics: bool,

    /// Where to: earliest, latest, current, an offset, +N or -N records, a date, -2h, file:FILE or group:GROUP
    ///
    /// A number of 12 digits and more is a time in milliseconds since 1970; --to-offset takes any number.
    #[arg(long, value_name = "WHERE", group = "target", allow_hyphen_values = true)]
    pub to: Option<String>,

    /// To the first record there is
    #[arg(long, group = "target")]
    pub to_earliest: bool,

    /// To the end
    #[arg(long, group = "target")]
    pub to_latest: bool,

    /// To where it is; to the end where it has committed nothing
    #[arg(long, group = "target")]
    pub to_current: bool,

    /// To this offset
    #[arg(long, value_name = "N", group = "target", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,

    /// To the first record of this time or later, as 2026-01-31T12:00:00Z, 2026-01-31 or milliseconds since 1970
    #[arg(long, value_name = "TIME", group = "target")]
    pub to_datetime: Option<String>,

    /// To the first record that is no older, as 2h or 30m
    #[arg(long, value_name = "TIME", group = "target", value_parser = iso_or_plain)]
    pub by_duration: Option<Duration>,

    /// So many records on, or back where it is negative
    #[arg(long, value_name = "N", group = "target", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,

    /// To the offsets of a file with lines TOPIC,PARTITION,OFFSET or GROUP,TOPIC,PARTITION,OFFSET
    #[arg(long, value_name = "FILE", group = "target")]
    pub from_file: Option<PathBuf>,

    /// Do it
    #[arg(long, visible_alias = "yes", short_alias = 'y')]
    pub execute: bool,

    /// Show where the offsets would go, which is the default
    #[arg(long, conflicts_with = "execute")]
    pub dry_run: bool,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// `2h`, or `PT2H` as Kafka's tool takes it.
fn iso_or_plain(text: &str) -> Result<Duration, String> {
    if text.starts_with(['P', 'p']) {
        let span: jiff::SignedDuration = text.parse().map_err(|error| format!("`{text}` is no time: {error}"))?;
        return Duration::try_from(span).map_err(|_| format!("`{text}` is a time to come"));
    }
    duration(text)
}

/// Delete groups with all they have committed.
#[derive(Debug, Args)]
pub struct DeleteGroups {
    /// The groups
    #[arg(required = true)]
    pub groups: Vec<String>,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}

/// Delete what a group has committed for topics.
#[derive(Debug, Args)]
pub struct DeleteGroupOffsets {
    /// The group
    pub group: String,

    /// The topics, or partitions of them as TOPIC:0,4-7
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<Partitions>,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}

/// Remove members from a group.
#[derive(Debug, Args)]
#[command(after_help = "A member that still runs joins anew.")]
pub struct RemoveMembers {
    /// The group
    pub group: String,

    /// Ids of members
    #[arg(required_unless_present_any = ["instances", "all"])]
    pub members: Vec<String>,

    /// A member by its group.instance.id (may be repeated)
    #[arg(long = "instance", value_name = "ID")]
    pub instances: Vec<String>,

    /// All members
    #[arg(long, conflicts_with_all = ["members", "instances"])]
    pub all: bool,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}
