//! `rkafka groups describe`.

use rkafka::admin::{Admin, GroupListing, TopicPartition};
use serde_json::{Value, json};

use super::super::items::{Outcome, count};
use super::members::{self, Group, Member};
use super::offsets::{self, Position};
use crate::args::{DescribeGroups, Output};
use crate::exit::{Exit, Failure};
use crate::format::listing::{self, Column, Listing, always, wide};
use crate::report;

struct Described {
    listing: GroupListing,
    group: Group,
    positions: Vec<Position>,
}

/// Prints what is known of the groups.
pub async fn run(admin: &Admin, args: &DescribeGroups) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let mut described = Vec::new();
    for listing in super::named(admin, &args.groups, &mut outcome).await? {
        match members::describe(admin, &listing).await {
            Ok(group) => {
                let positions = offsets::positions(admin, &listing, &group, &mut outcome).await?;
                outcome.succeeded();
                described.push(Described { listing, group, positions });
            }
            Err(failure) => outcome.failed(&failure),
        }
    }
    let colored = listing::colored(&args.form);
    let text = match args.form.output {
        Output::Table | Output::Wide => {
            let tables = described.iter().map(|one| listing::emphasized(one.table(args.form.output), colored));
            tables.collect::<Vec<_>>().join("\n")
        }
        other => listing::documents(described.iter().map(|one| (&*one.listing.group_id, one.json())), other),
    };
    report::answer(&text)?;
    Ok(outcome.exit())
}

const MEMBERS: &[Column] = &[
    always("member"),
    wide("instance"),
    always("client_id"),
    always("host"),
    wide("epoch"),
    wide("topics"),
    always("assignment"),
];

const OFFSETS: &[Column] = &[
    always("topic"),
    always("partition"),
    always("offset"),
    always("end"),
    always("lag"),
    always("client_id"),
    wide("member"),
    wide("host"),
];

impl Described {
    fn kind(&self) -> Option<String> {
        self.listing.kind.map(|kind| kind.to_string())
    }

    fn table(&self, output: Output) -> String {
        let mut head = format!("group {}", self.listing.group_id);
        if let Some(kind) = self.kind() {
            head.push_str(&format!(", type {kind}"));
        }
        head.push_str(&format!(", state {}", self.group.state));
        if let Some(assignor) = self.group.assignor.as_ref().filter(|assignor| !assignor.is_empty()) {
            head.push_str(&format!(", assignor {assignor}"));
        }
        if let Some(coordinator) = self.group.coordinator {
            head.push_str(&format!(", coordinator {coordinator}"));
        }
        head.push_str(&format!(", {}", count(self.group.members.len(), "member")));
        if let Some(lag) = offsets::total(&self.positions) {
            head.push_str(&format!(", lag {lag}"));
        }
        head.push('\n');
        if !self.group.members.is_empty() {
            let mut members = Listing::new(MEMBERS);
            for member in &self.group.members {
                members.row(
                    &member.id,
                    [
                        json!(member.id),
                        json!(member.instance),
                        json!(member.client_id),
                        json!(member.host.trim_start_matches('/')),
                        json!(member.epoch),
                        json!(member.topics),
                        json!(assignment(member)),
                    ],
                );
            }
            head.push_str(&indented(&members.text(output, false)));
        }
        if !self.positions.is_empty() {
            let mut offsets = Listing::new(OFFSETS);
            for position in &self.positions {
                let name = position.partition.to_string();
                offsets.row(name, offsets::values(position, &self.group.members));
            }
            head.push_str(&indented(&offsets.text(output, false)));
        }
        head
    }

    fn json(&self) -> Value {
        let members = self.group.members.iter().map(|member| {
            let partition = |one: &TopicPartition| json!({"topic": &*one.topic, "partition": one.partition});
            json!({
                "member": member.id,
                "instance": member.instance,
                "client_id": member.client_id,
                "host": member.host.trim_start_matches('/'),
                "epoch": member.epoch,
                "topics": member.topics,
                "assignment": member.assignment.iter().map(partition).collect::<Value>(),
                "tasks": member.tasks,
            })
        });
        let offsets = self.positions.iter().map(|position| {
            let [topic, partition, offset, end, lag, client_id, member, host] =
                offsets::values(position, &self.group.members);
            json!({
                "topic": topic, "partition": partition, "offset": offset, "end": end, "lag": lag,
                "client_id": client_id, "member": member, "host": host,
            })
        });
        json!({
            "group": self.listing.group_id,
            "type": self.kind(),
            "protocol": self.listing.protocol_type,
            "state": self.group.state,
            "assignor": self.group.assignor,
            "coordinator": self.group.coordinator,
            "epoch": self.group.epoch,
            "lag": offsets::total(&self.positions),
            "members": members.collect::<Value>(),
            "offsets": offsets.collect::<Value>(),
        })
    }
}

/// `orders:0,1` for each topic.
fn assignment(member: &Member) -> Vec<String> {
    let mut topics: Vec<(&str, Vec<String>)> = Vec::new();
    for one in &member.assignment {
        match topics.last_mut() {
            Some((topic, numbers)) if **topic == *one.topic => numbers.push(one.partition.to_string()),
            _ => topics.push((&one.topic, vec![one.partition.to_string()])),
        }
    }
    let topics = topics.into_iter().map(|(topic, numbers)| format!("{topic}:{}", numbers.join(",")));
    topics.chain(member.tasks.iter().cloned()).collect()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
