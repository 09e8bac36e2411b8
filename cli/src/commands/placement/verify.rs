//! `rkafka partitions reassign verify`.

use std::time::Duration;

use rkafka::admin::Admin;
use serde_json::json;

use super::super::items::{Outcome, count};
use super::{Replicas, file, here};
use crate::args::VerifyMoves;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always, wide};

const COLUMNS: &[Column] = &[
    always("topic"),
    always("partition"),
    always("state"),
    always("replicas"),
    always("target"),
    wide("adding"),
    wide("removing"),
];

/// How often it is looked again.
const AGAIN: Duration = Duration::from_millis(250);

/// Prints how far a plan is, or all that is under way.
pub async fn run(args: &VerifyMoves) -> Result<Exit, Failure> {
    let plan = args.plan.as_deref().map(file::read).transpose()?;
    let admin = connect::admin(&args.connection).await?;
    match plan {
        Some(plan) => of_plan(&admin, args, &plan).await,
        None => under_way(&admin, args).await,
    }
}

async fn under_way(admin: &Admin, args: &VerifyMoves) -> Result<Exit, Failure> {
    let mut listing = Listing::new(COLUMNS);
    for (partition, state) in admin.list_partition_reassignments(None).await? {
        let target: Vec<i32> = state.replicas.iter().copied().filter(|id| !state.removing.contains(id)).collect();
        let (topic, number) = (&*partition.topic, partition.partition);
        listing.row(
            format!("{topic}:{number}"),
            [
                json!(topic),
                json!(number),
                json!("moving"),
                json!(state.replicas),
                json!(target),
                json!(state.adding),
                json!(state.removing),
            ],
        );
    }
    listing.print(&args.form)?;
    Ok(Exit::Ok)
}

#[expect(clippy::disallowed_methods, reason = "--wait waits")]
async fn of_plan(admin: &Admin, args: &VerifyMoves, plan: &Replicas) -> Result<Exit, Failure> {
    let until = args.wait.map(|wait| tokio::time::Instant::now() + wait);
    let mut looked = false;
    loop {
        let mut outcome = Outcome::default();
        let (listing, open) = look(admin, plan, &mut outcome).await?;
        let failed = outcome.exit() != Exit::Ok;
        let waits = until.is_some_and(|until| tokio::time::Instant::now() < until);
        // A move that has just ended may be known to the controller, and not yet to the broker that tells the replicas.
        let is_first = !std::mem::replace(&mut looked, true);
        if !failed && ((open.moving + open.elsewhere > 0 && waits) || (open.elsewhere > 0 && is_first)) {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        listing.print(&args.form)?;
        for (number, what) in [(open.moving, "still being moved"), (open.elsewhere, "neither there nor being moved")] {
            if number > 0 {
                let are = if number == 1 { "is" } else { "are" };
                outcome.failed(&Failure::failed(format!("{} {are} {what}", count(number, "partition"))));
            }
        }
        return Ok(outcome.exit());
    }
}

/// How many are not yet where they are to be.
#[derive(Default)]
struct Open {
    moving: usize,
    elsewhere: usize,
}

async fn look(admin: &Admin, plan: &Replicas, outcome: &mut Outcome) -> Result<(Listing, Open), Failure> {
    // In this order: what ends between the two is found to be done.
    let moving = admin.list_partition_reassignments(None).await?;
    let now = here(admin, plan.keys(), outcome).await?;
    let mut listing = Listing::new(COLUMNS);
    let mut open = Open::default();
    for (partition, target) in plan {
        let Some(replicas) = now.get(partition) else { continue };
        let under_way = moving.get(partition);
        let state = if under_way.is_none() && replicas == target {
            outcome.succeeded();
            "done"
        } else if under_way.is_some() {
            open.moving += 1;
            "moving"
        } else {
            open.elsewhere += 1;
            "elsewhere"
        };
        let (topic, number) = (&*partition.topic, partition.partition);
        listing.row(
            format!("{topic}:{number}"),
            [
                json!(topic),
                json!(number),
                json!(state),
                json!(replicas),
                json!(target),
                json!(under_way.map(|state| &state.adding)),
                json!(under_way.map(|state| &state.removing)),
            ],
        );
    }
    Ok((listing, open))
}
