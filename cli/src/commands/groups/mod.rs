//! `rkafka groups`.

mod delete;
mod describe;
mod list;
mod members;
mod offsets;
mod reset;
mod target;

use std::collections::BTreeMap;

use rkafka::admin::{Admin, GroupListing};

use super::items::Outcome;
use crate::args::{Connection, Groups, GroupsCommand};
use crate::connect;
use crate::exit::{self, Exit, Failure};

/// Runs the command.
pub async fn run(args: Groups) -> Result<Exit, Failure> {
    let admin = connect::admin(connection(&args)).await?;
    match args.command {
        GroupsCommand::List(args) => list::run(&admin, &args).await,
        GroupsCommand::Describe(args) => describe::run(&admin, &args).await,
        GroupsCommand::Lag(args) => offsets::run(&admin, &args).await,
        GroupsCommand::Reset(args) => reset::run(&admin, &args).await,
        GroupsCommand::Delete(args) => delete::groups(&admin, &args).await,
        GroupsCommand::DeleteOffsets(args) => delete::offsets(&admin, &args).await,
        GroupsCommand::RemoveMembers(args) => members::remove(&admin, &args).await,
    }
}

/// The connection's options, whichever the command is.
pub fn connection(args: &Groups) -> &Connection {
    match &args.command {
        GroupsCommand::List(args) => &args.connection,
        GroupsCommand::Describe(args) => &args.connection,
        GroupsCommand::Lag(args) => &args.connection,
        GroupsCommand::Reset(args) => &args.connection,
        GroupsCommand::Delete(args) => &args.connection,
        GroupsCommand::DeleteOffsets(args) => &args.connection,
        GroupsCommand::RemoveMembers(args) => &args.connection,
    }
}

/// All groups, by id. Of what brokers could not tell, each is a failure.
async fn all(admin: &Admin, outcome: &mut Outcome) -> Result<BTreeMap<String, GroupListing>, Failure> {
    let listings = admin.list_groups().await?;
    for (broker, error) in listings.errors {
        outcome.failed(&super::items::failure(&format!("the groups of broker {broker}"), error));
    }
    Ok(listings.groups.into_iter().map(|group| (group.group_id.clone(), group)).collect())
}

/// The groups of these names, in their order; all where none is named. Each that is not there is a failure.
async fn named(admin: &Admin, names: &[String], outcome: &mut Outcome) -> Result<Vec<GroupListing>, Failure> {
    let mut known = all(admin, outcome).await?;
    if names.is_empty() {
        return Ok(known.into_values().collect());
    }
    let mut groups = Vec::new();
    for name in super::items::distinct(names) {
        match known.remove(name) {
            Some(group) => groups.push(group),
            None => {
                let others = known.keys().map(String::as_str).chain(groups.iter().map(|group| &*group.group_id));
                outcome.failed(&not_found(name, others));
            }
        }
    }
    Ok(groups)
}

/// The failure of a group that is not there, with what sounds alike.
fn not_found<'a>(group: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let meant = match rkafka::config::nearest(group, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`rkafka groups list` shows what there is".to_owned(),
    };
    Failure::new(exit::Exit::NotFound, format!("group `{group}` is not there; {meant}"))
}

/// How messages name a group.
fn title(group: &str) -> String {
    format!("group `{group}`")
}
