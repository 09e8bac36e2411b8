//! `rkafka groups list`.

use rkafka::admin::{Admin, GroupState, GroupType};
use serde_json::json;

use super::super::items::{Outcome, failure};
use crate::args::ListGroups;
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always};

const COLUMNS: &[Column] = &[always("group"), always("type"), always("state"), always("protocol")];

/// Prints the groups, by id.
pub async fn run(admin: &Admin, args: &ListGroups) -> Result<Exit, Failure> {
    let states: std::collections::BTreeSet<GroupState> = args.state.iter().copied().collect();
    let kinds: std::collections::BTreeSet<GroupType> = args.kind.iter().copied().collect();
    let listings = admin.list_groups().in_states(states).with_types(kinds).await?;
    let mut outcome = Outcome::default();
    for (broker, error) in listings.errors {
        outcome.failed(&failure(&format!("the groups of broker {broker}"), error));
    }
    let mut listing = Listing::new(COLUMNS);
    for group in listings.groups {
        outcome.succeeded();
        let kind = group.kind.map(|kind| kind.to_string());
        let state = group.state.map(|state| state.to_string());
        listing.row(&group.group_id, [json!(group.group_id), json!(kind), json!(state), json!(group.protocol_type)]);
    }
    outcome.end(&listing, &args.form)
}
