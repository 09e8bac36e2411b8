//! `rkafka topics create`.

use std::time::Duration;

use rkafka::admin::{Admin, CreatedTopic, ErrorCode, NewTopic};
use rkafka::protocol::messages::MetadataRequest;
use rkafka::protocol::messages::metadata_request::MetadataRequestTopic;

use crate::args::CreateTopic;
use crate::exit::{Exit, Failure};
use crate::{connect, report};

/// How long brokers are waited for that have not heard of what was created.
const HEARD: Duration = Duration::from_secs(5);
/// How often they are asked.
const AGAIN: Duration = Duration::from_millis(20);

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
            if !args.dry_run {
                drop(tokio::time::timeout(HEARD, is_known(&admin, &args.topic)).await);
            }
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

/// Waits until each broker that answers knows the topic and its leaders: the next command of a script asks any of them,
/// and they hear of it one after another.
#[expect(clippy::disallowed_methods, reason = "brokers do not say when they have heard")]
async fn is_known(admin: &Admin, topic: &str) {
    let brokers: Vec<i32> = admin.client().cluster().brokers().map(|broker| broker.node_id).collect();
    for broker in brokers {
        loop {
            let one = MetadataRequestTopic { name: Some(topic.to_owned()), ..MetadataRequestTopic::default() };
            let request = MetadataRequest {
                topics: Some(vec![one]),
                allow_auto_topic_creation: false,
                ..MetadataRequest::default()
            };
            let Ok(answer) = admin.client().request_to(broker, request).await else { break };
            let is_known = answer.topics.iter().all(|topic| {
                topic.error_code == 0 && topic.partitions.iter().all(|partition| partition.leader_id >= 0)
            });
            if is_known {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
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
