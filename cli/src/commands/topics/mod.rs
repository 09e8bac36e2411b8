//! `rkafka topics`.

mod alter;
mod create;
mod delete;
mod describe;
mod list;
mod trim;

use rkafka::admin::{Admin, Error, ErrorCode};

use super::items::{self, Outcome, distinct};
use crate::args::{Connection, Topics, TopicsCommand};
use crate::connect;
use crate::exit::{Exit, Failure};

/// Runs the command.
pub async fn run(args: Topics) -> Result<Exit, Failure> {
    match args.command {
        TopicsCommand::List(args) => list::run(&connect::admin(&args.connection).await?, &args).await,
        TopicsCommand::Create(args) => create::run(&args).await,
        TopicsCommand::Describe(args) => describe::run(&connect::admin(&args.connection).await?, &args).await,
        TopicsCommand::Alter(args) => alter::run(&connect::admin(&args.connection).await?, &args).await,
        TopicsCommand::Config(args) => super::configs::of_topic(&args).await,
        TopicsCommand::Trim(args) => trim::run(&args).await,
        TopicsCommand::Delete(args) => delete::run(&connect::admin(&args.connection).await?, &args).await,
    }
}

/// The connection's options, whichever the command is.
pub fn connection(args: &Topics) -> &Connection {
    match &args.command {
        TopicsCommand::List(args) => &args.connection,
        TopicsCommand::Create(args) => &args.connection,
        TopicsCommand::Describe(args) => &args.connection,
        TopicsCommand::Alter(args) => &args.connection,
        TopicsCommand::Config(args) => super::configs::connection_of_topic(args),
        TopicsCommand::Trim(args) => &args.connection,
        TopicsCommand::Delete(args) => &args.connection,
    }
}

/// The failure of one topic; where it is not there, with what is and sounds alike.
pub async fn failure(admin: &Admin, topic: &str, error: Error) -> Failure {
    match error.code() {
        Some(ErrorCode::UnknownTopicOrPartition) => not_found(admin, topic).await,
        Some(_) => items::failure(&format!("topic `{topic}`"), error),
        None => Failure::from(error),
    }
}

/// The failure of a topic that is not there.
pub async fn not_found(admin: &Admin, topic: &str) -> Failure {
    let known = admin.list_topics().await.unwrap_or_default();
    let meant = match rkafka::config::nearest(topic, known.iter().map(|topic| topic.name.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("`rkafka topics create {topic}` makes it, `rkafka topics list` shows what there is"),
    };
    Failure::new(Exit::NotFound, format!("topic `{topic}` is not there; {meant}"))
}
