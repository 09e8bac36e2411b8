//! `rkafka topics create`.

use rkafka::admin::{CreatedTopic, ErrorCode, NewTopic};

use crate::args::CreateTopic;
use crate::exit::{Exit, Failure};
use crate::{connect, report};

/// Creates the topic, or lets the broker say whether it would.
pub async fn run(args: &CreateTopic) -> Result<Exit, Failure> {
    let mut topic = NewTopic::new(&args.topic);
    topic.partitions = args.partitions;
    topic.replication_factor = args.replication_factor;
    if let Some(assignment) = &args.assignment {
        topic.assignments = assignment.to_vec();
    }
    for setting in &args.topic_configs {
        let (name, value) = connect::name_and_value("-c", setting)?;
        topic = topic.config(name, value);
    }
    let admin = connect::admin(&args.connection).await?;
    let mut outcomes = admin.create_topics([topic]).validate_only(args.dry_run).await?;
    let outcome = outcomes
        .remove(&args.topic)
        .ok_or_else(|| Failure::failed(format!("the broker did not say whether it created `{}`", args.topic)))?;
    match outcome {
        Ok(created) => {
            if !args.connection.quiet {
                report::note(&said(args, &created));
            }
            Ok(Exit::Ok)
        }
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {
            if args.if_not_exists {
                return Ok(Exit::Ok);
            }
            let message = format!("topic `{}` is there already; --if-not-exists makes that no failure", args.topic);
            Err(Failure::failed(message))
        }
        Err(error) => Err(super::failure(&admin, &args.topic, error).await),
    }
}

fn said(args: &CreateTopic, created: &CreatedTopic) -> String {
    let verb = if args.dry_run { "would create" } else { "created" };
    let count = |count: Option<i64>, what: &str| match count {
        Some(1) => format!(", 1 {what}"),
        Some(count) => format!(", {count} {what}s"),
        None => String::new(),
    };
    let partitions = count(created.partitions.map(i64::from), "partition");
    let replicas = count(created.replication_factor.map(i64::from), "replica");
    format!("{verb} topic `{}`{partitions}{replicas}", args.topic)
}
