//! `rkafka consume`.

mod account;
mod group;
mod output;
mod plan;
mod printer;
mod range;
mod session;

use rkafka::admin::{Admin, AdminConfig};
use rkafka::client::ClientSettings;
use rkafka::consumer::{Consumer, ConsumerConfig, OffsetReset};

use self::account::Account;
use self::group::Written;
use self::output::{Output, Pipe};
use self::printer::Printer;
use self::range::{From, Range, Until};
use self::session::Session;
use crate::args::Consume;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::final_report::{self, FinalReport};
use crate::settings;
use crate::signals::Signals;

/// Runs the command.
pub async fn run(args: Consume) -> Result<Exit, Failure> {
    let report = FinalReport::open(args.report.as_deref())?;
    let account = Account::default();
    let result = read(args, account.clone()).await;
    final_report::conclude(report, account.counted(), result)
}

async fn read(args: Consume, account: Account) -> Result<Exit, Failure> {
    let mut printer = Printer::from_args(&args)?;
    let range = Range::from_args(&args, super::now_ms())?;
    let (config, commits) = config(&args, range)?;
    let mut signals = Signals::listen()?;
    let limit = config.client.default_api_timeout;
    let commit_interval = config.auto_commit_interval;
    let is_kcat = args.connection.is_kcat;
    let begin = async {
        let mut admin_config = AdminConfig::new();
        *admin_config.embedded_mut() = config.client.clone();
        let (admin, mut consumer) = connect::in_time(limit, async {
            Ok((Admin::connect(admin_config).await?, Consumer::connect(config).await?))
        })
        .await?;
        // Topics are looked up before they are read, so that one that is not there is an answer and never a wait.
        let partitions = if args.regex { Vec::new() } else { plan::partitions(&admin, &args).await? };
        if let (true, Printer::Json(leaders)) = (is_kcat, &mut printer) {
            *leaders = plan::leaders(&admin, &args).await?;
        }
        let written = Written::to(Pipe::of_stdout());
        let places = if args.regex {
            consumer.subscribe_pattern_with(one_pattern(&args.topics), written.clone())?;
            Vec::new()
        } else if args.group.is_some() {
            consumer.subscribe_with(args.topics.iter().map(String::as_str), written.clone())?;
            Vec::new()
        } else {
            let places = plan::places(&consumer.handle(), partitions, range, args.connection.quiet).await?;
            consumer.assign(
                places.iter().map(|place| (place.partition.topic.clone(), place.partition.partition, place.start)),
            )?;
            places
        };
        Ok::<_, Failure>((consumer, places, written))
    };
    let (consumer, places, written) = tokio::select! {
        begun = begin => begun?,
        exit = signals.next() => return Ok(exit),
    };
    if places.is_empty() && args.group.is_none() {
        return Ok(Exit::Ok);
    }
    let (output, reader) = Output::start()?;
    let session = Session {
        handle: consumer.handle(),
        consumer,
        printer,
        output,
        reader,
        signals,
        bounds: places
            .into_iter()
            .filter(|place| place.until != i64::MAX)
            .map(|place| (place.partition, place.until))
            .collect(),
        left: args.count,
        exit_at_end: args.exit_at_end,
        written: args.group.is_some().then_some(written),
        printed: None,
        commit_every: commits.then_some(commit_interval),
        quiet: args.connection.quiet,
        verbose: args.connection.verbose > 0 || (is_kcat && !args.connection.quiet),
        is_kcat,
        account,
    };
    session.run(limit).await
}

/// What matches where one of these does.
fn one_pattern(patterns: &[String]) -> String {
    match patterns {
        [one] => one.clone(),
        several => several.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join("|"),
    }
}

/// The settings, and whether offsets are committed.
fn config(args: &Consume, range: Range) -> Result<(ConsumerConfig, bool), Failure> {
    let given = settings::gather(&args.connection)?;
    let mut config: ConsumerConfig = connect::from_given(&given)?;
    let commits = args.group.is_some() && config.enable_auto_commit;
    // What was handed out is not yet written: this program knows when it is, and commits then.
    config.enable_auto_commit = false;
    config.group_id = args.group.clone();
    if args.group.is_none() {
        config.group_instance_id = None;
        // Only what retention takes away while it is being read leads there.
        if !given.iter().any(|one| one.name == "auto.offset.reset") {
            config.auto_offset_reset = OffsetReset::Earliest;
        }
    } else {
        match (range.from, range.until) {
            (None, Until::Never) => {}
            (Some(From::Beginning), Until::Never) => config.auto_offset_reset = OffsetReset::Earliest,
            (Some(From::End), Until::Never) => config.auto_offset_reset = OffsetReset::Latest,
            _ => {
                return Err(Failure::usage(
                    "with -G, -o takes beginning or end: where to start what the group has not committed",
                ));
            }
        }
    }
    rkafka::config::Settings::validate(&config).map_err(Failure::usage)?;
    Ok((config, commits))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn where_to_go_on_is_kept_from_wherever_it_was_given() {
        use clap::Parser;

        use crate::args::{Cli, Command};
        let of = |words: &[&str]| {
            let cli = Cli::try_parse_from([&["rkafka", "consume", "t"], words].concat()).unwrap();
            let Command::Consume(args) = cli.command else { panic!("{words:?}") };
            config(&args, Range { from: None, until: Until::Never }).unwrap().0.auto_offset_reset
        };
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "auto.offset.reset=none").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(of(&[]), OffsetReset::Earliest);
        assert_eq!(of(&["-X", "auto.offset.reset=latest"]), OffsetReset::Latest);
        assert_eq!(of(&["-F", path]), OffsetReset::None);
        assert_eq!(of(&["-F", path, "-G", "g"]), OffsetReset::None);
    }
}
