//! `rkafka topics`.

mod create;
mod delete;
mod describe;
mod list;
mod table;

use rkafka::admin::{Admin, Error, ErrorCode};

use crate::args::{Connection, Topics, TopicsCommand};
use crate::connect;
use crate::exit::{self, Exit, Failure};
use crate::report;

/// Runs the command.
pub async fn run(args: Topics) -> Result<Exit, Failure> {
    match args.command {
        TopicsCommand::List(args) => list::run(&connect::admin(&args.connection).await?, &args).await,
        TopicsCommand::Create(args) => create::run(&args).await,
        TopicsCommand::Describe(args) => describe::run(&connect::admin(&args.connection).await?, &args).await,
        TopicsCommand::Delete(args) => delete::run(&connect::admin(&args.connection).await?, &args).await,
    }
}

/// The connection's options, whichever the command is.
pub fn connection(args: &Topics) -> &Connection {
    match &args.command {
        TopicsCommand::List(args) => &args.connection,
        TopicsCommand::Create(args) => &args.connection,
        TopicsCommand::Describe(args) => &args.connection,
        TopicsCommand::Delete(args) => &args.connection,
    }
}

/// What became of the items of one command: each failure is said at once, and the whole has one exit code.
#[derive(Default)]
struct Outcome {
    done: usize,
    exits: Vec<Exit>,
}

impl Outcome {
    fn succeeded(&mut self) {
        self.done += 1;
    }

    fn failed(&mut self, failure: &Failure) {
        report::error(&failure.message);
        self.exits.push(failure.exit);
    }

    /// The failures' own code where nothing was done and they agree; 1 where some was done or they differ.
    fn exit(&self) -> Exit {
        match self.exits.first() {
            None => Exit::Ok,
            Some(first) if self.done == 0 && self.exits.iter().all(|exit| exit == first) => *first,
            Some(_) => Exit::Failed,
        }
    }
}

/// The names without repetition, in their order.
fn distinct(names: &[String]) -> Vec<&str> {
    let mut distinct: Vec<&str> = Vec::with_capacity(names.len());
    for name in names {
        if !distinct.contains(&name.as_str()) {
            distinct.push(name);
        }
    }
    distinct
}

/// The failure of one topic; where it is not there, with what is and sounds alike.
pub async fn failure(admin: &Admin, topic: &str, error: Error) -> Failure {
    match error.code() {
        Some(ErrorCode::UnknownTopicOrPartition) => not_found(admin, topic).await,
        Some(code) => {
            let text = error.to_string();
            let text = text.strip_prefix(&format!("topic {topic}: ")).unwrap_or(&text);
            Failure::new(exit::of_code(code), format!("topic `{topic}`: {text}"))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_agree_keep_their_code() {
        let outcome = |done, exits: &[Exit]| Outcome { done, exits: exits.to_vec() }.exit();
        assert_eq!(outcome(2, &[]), Exit::Ok);
        assert_eq!(outcome(0, &[Exit::NotFound, Exit::NotFound]), Exit::NotFound);
        assert_eq!(outcome(1, &[Exit::NotFound]), Exit::Failed);
        assert_eq!(outcome(0, &[Exit::NotFound, Exit::Denied]), Exit::Failed);
    }

    #[test]
    fn repeated_names_count_once() {
        assert_eq!(distinct(&["b".into(), "a".into(), "b".into()]), ["b", "a"]);
    }
}
