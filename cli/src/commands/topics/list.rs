//! `rkafka topics list`.

use rkafka::admin::Admin;
use serde_json::json;

use crate::args::{Form, ListTopics};
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always, wide};

const COLUMNS: &[Column] = &[always("topic"), always("partitions"), always("internal"), wide("id")];

/// Prints the topics, by name.
pub async fn run(admin: &Admin, args: &ListTopics) -> Result<Exit, Failure> {
    let mut listing = Listing::new(COLUMNS);
    for topic in admin.list_topics().await?.into_iter().filter(|topic| args.internal || !topic.internal) {
        let id = topic.id.map(|id| id.to_string());
        listing.row(&topic.name, [json!(topic.name), json!(topic.partitions), json!(topic.internal), json!(id)]);
    }
    listing.print(&Form { output: args.output, paint: args.paint.clone() })?;
    Ok(Exit::Ok)
}
