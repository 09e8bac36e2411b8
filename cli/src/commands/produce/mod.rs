//! `rkafka produce`.
//!
//! A thread reads and hands each record to the producer, which writes it straight into the open batch of its partition.
//! What the producer answers goes in chunks to the task that waits here for acknowledgements.

mod gate;
mod input;
mod reader;
mod shape;
mod sources;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use rkafka::admin::{Admin, ErrorCode, NewTopic};
use rkafka::client::ClientOptions;
use rkafka::producer::{Producer, ProducerConfig, TopicHandle};
use serde_json::{Map, Value};

use self::gate::Gate;
use self::reader::Reader;
use self::shape::Shape;
use self::tally::Tally;
use super::topics;
use crate::args::Produce;
use crate::exit::{Exit, Failure};
use crate::final_report::{self, FinalReport};
use crate::signals::Signals;
use crate::{connect, format, report};

/// How many chunks of deliveries may wait for the broker, which bounds the memory that they take.
const CHUNKS: usize = 256;
/// How long connections may take to close once nothing is under way.
const CLOSING: Duration = Duration::from_secs(1);

/// Runs the command.
pub async fn run(args: Produce) -> Result<Exit, Failure> {
    let report = FinalReport::open(args.report.as_deref())?;
    let mut counted = Tally::nothing();
    let result = send(args, report.is_some(), &mut counted).await;
    final_report::conclude(report, counted, result)
}

async fn send(args: Produce, reports: bool, counted: &mut Map<String, Value>) -> Result<Exit, Failure> {
    let shape = Shape::from_args(&args)?;
    let delimiter =
        format::template::delimiter(&args.delimiter).map_err(|error| Failure::usage(format!("-D: {error}")))?;
    let delimiter = if args.kcat.is_some_and(|kcat| kcat.whole_files) { Vec::new() } else { delimiter };
    let config = config(&args)?;
    // What cannot be read is found before anything is sent.
    let sources = sources::open(&args.files)?;
    let mut signals = Signals::listen()?;
    let producer = tokio::select! {
        producer = connect(config, args.kcat.is_some()) => producer?,
        exit = signals.next() => return Ok(exit),
    };
    let topic = tokio::select! {
        topic = topic(&producer, &args) => topic?,
        exit = signals.next() => return Ok(exit),
    };
    if !args.connection.quiet && sources::is_terminal(&sources) {
        report::note("reading from the terminal: each line is a record, Ctrl-D ends");
    }
    let progress = sources::progress(&sources, args.connection.quiet);
    let (sender, events) = tokio::sync::mpsc::channel(CHUNKS);
    let gate = Arc::new(Gate::default());
    let reader = Reader {
        limit: producer.config().max_request_size.saturating_mul(2).max(16 * 1024 * 1024),
        topic,
        shape,
        delimiter,
        names: sources.iter().map(|source| source.name.clone()).collect(),
        progress: progress.clone(),
        on_error: args.on_error,
        gate: Arc::clone(&gate),
        runtime: tokio::runtime::Handle::current(),
        kcat: args.kcat,
    };
    let mut tally = Tally::new(reader.names.clone(), args.on_error, reports);
    reader.start(sources, sender)?;

    let signal = {
        let flushed = async {
            gate.ended().await;
            producer.flush().await;
        };
        let mut work = std::pin::pin!(async { tokio::join!(tally.collect(events, &gate), flushed) });
        tokio::select! {
            _ = &mut work => None,
            exit = signals.next() => {
                gate.stop();
                tokio::select! {
                    _ = &mut work => Some(exit),
                    again = signals.next() => {
                        counted.values_mut().for_each(|count| *count = Value::Null);
                        report::error("ended at once; records that were not acknowledged may or may not be written");
                        return Ok(again);
                    }
                }
            }
        }
    };
    progress.finish_and_clear();
    // Everything is acknowledged or has failed by now; only connections are left.
    let _ = producer.close(CLOSING).await;
    *counted = tally.counted();
    tally.conclude(signal, &args)
}

fn config(args: &Produce) -> Result<ProducerConfig, Failure> {
    let mut config: ProducerConfig = connect::settings(&args.connection)?;
    if let Some(codec) = &args.compression {
        connect::set(&mut config, "compression.type", codec)?;
    }
    if let Some(acks) = &args.acks {
        connect::set(&mut config, "acks", acks)?;
    }
    rkafka::config::Settings::validate(&config).map_err(Failure::usage)?;
    Ok(config)
}

async fn connect(config: ProducerConfig, creates: bool) -> Result<Producer, Failure> {
    // A topic that is not there is never created by the way: `--create` does it, and says so. kcat's users expect that
    // the broker makes it, where its settings have it so.
    let options = ClientOptions::default().allow_auto_create_topics(creates);
    connect::in_time(config.client.default_api_timeout, async { Ok(Producer::with_options(config, options).await?) })
        .await
}

/// Finds the topic, or creates it where that was asked for.
async fn topic(producer: &Producer, args: &Produce) -> Result<TopicHandle, Failure> {
    let name = args.topic.as_str();
    let admin = Admin::from_client(producer.client().clone());
    let mut described = if args.kcat.is_some() { Default::default() } else { admin.describe_topics(&[name]).await? };
    if let Some(Err(error)) = described.remove(name) {
        let missing = error.code() == Some(ErrorCode::UnknownTopicOrPartition);
        if missing && args.create {
            create(&admin, args).await?;
        } else if missing {
            let failure = topics::not_found(&admin, name).await;
            return Err(Failure::new(failure.exit, format!("{}; --create creates it", failure.message)));
        } else {
            return Err(topics::failure(&admin, name, error).await);
        }
    }
    let topic = producer.topic(name).await?;
    match args.partition {
        Some(partition) if partition as u32 >= topic.partitions() => Err(Failure::new(
            Exit::NotFound,
            format!(
                "topic `{name}` has no partition {partition}; its last is {}",
                topic.partitions().saturating_sub(1)
            ),
        )),
        _ => Ok(topic),
    }
}

async fn create(admin: &Admin, args: &Produce) -> Result<(), Failure> {
    let name = args.topic.as_str();
    let mut outcomes = admin.create_topics(&[NewTopic::new(name)]).await?;
    match outcomes.remove(name) {
        // Somebody else was faster.
        Some(Err(error)) if error.code() != Some(ErrorCode::TopicAlreadyExists) => {
            Err(topics::failure(admin, name, error).await)
        }
        _ => {
            if !args.connection.quiet {
                report::note(&format!("created topic `{name}`"));
            }
            Ok(())
        }
    }
}
