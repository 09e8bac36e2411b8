//! `rkafka topics delete`.

use std::io::{IsTerminal, Write};

use rkafka::admin::Admin;

use super::{Outcome, distinct, failure};
use crate::args::DeleteTopics;
use crate::exit::{Exit, Failure};
use crate::report;

/// Deletes what is there of the topics, once that is agreed to.
pub async fn run(admin: &Admin, args: &DeleteTopics) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let names = distinct(&args.topics);
    let mut described = admin.describe_topics(&names).await?;
    let mut found = Vec::new();
    for name in names {
        match described.remove(name) {
            Some(Ok(topic)) => found.push((name, topic.partitions.len())),
            Some(Err(error)) => outcome.failed(&failure(admin, name, error).await),
            None => outcome.failed(&Failure::failed(format!("the broker said nothing about topic `{name}`"))),
        }
    }
    if found.is_empty() {
        return Ok(outcome.exit());
    }
    if !args.yes && !agreed(&found)? {
        // What is there is no failure: it would be deleted.
        outcome.done = found.len();
        return Ok(outcome.exit());
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let mut results = admin.delete_topics(&names).await?;
    for name in names {
        match results.remove(name) {
            Some(Ok(())) => {
                outcome.succeeded();
                if !args.connection.quiet {
                    report::note(&format!("deleted topic `{name}`"));
                }
            }
            Some(Err(error)) => outcome.failed(&failure(admin, name, error).await),
            None => outcome.failed(&Failure::failed(format!("the broker did not say whether it deleted `{name}`"))),
        }
    }
    Ok(outcome.exit())
}

/// Shows the plan; on a terminal, asks. Without one, nothing is agreed to.
fn agreed(found: &[(&str, usize)]) -> Result<bool, Failure> {
    for (name, partitions) in found {
        report::note(&format!("would delete topic `{name}` (partitions: {partitions}) and all its records"));
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        report::note("nothing was deleted; --yes deletes");
        return Ok(false);
    }
    let cannot_ask = |error| Failure::failed(format!("cannot ask: {error}; --yes deletes without asking"));
    let mut screen = std::io::stderr().lock();
    write!(screen, "Delete? [y/N] ").and_then(|()| screen.flush()).map_err(cannot_ask)?;
    let mut reply = String::new();
    std::io::stdin().read_line(&mut reply).map_err(cannot_ask)?;
    let agreed = matches!(reply.trim(), "y" | "Y" | "yes");
    if !agreed {
        drop(screen);
        report::note("nothing was deleted");
    }
    Ok(agreed)
}
