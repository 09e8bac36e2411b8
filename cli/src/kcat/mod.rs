//! kcat's own way of being called: its letters, its lines, its exit codes (0 or 1), its partitioner.

mod args;
mod list;
mod query;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use self::args::{Kcat, Mode};
use crate::args::{
    Color, Command, Config, ConfigCommand, Connection, Consume, Explain, Form, KcatProduce, OnError, Output, Paint,
    Produce,
};
use crate::exit::{Exit, Failure};
use crate::{commands, report, settings};

const HELP: &str = "\
kcat's command line, as rkafka reads it: -b BROKERS -t TOPIC and one of
  -P [FILES]         produce; each line of stdin is a record, or each file whole (-l FILE: each line of the file)
  -C                 consume
  -G GROUP TOPICS    consume as a member of a group; ^EXPRESSION is all topics whose names begin so
  -L                 list brokers and topics (-J as JSON)
  -Q                 offsets by time, of each -t TOPIC:PARTITION:TIME (-1 the end, -2 the beginning)
General: -p PARTITION  -X NAME=VALUE  -X list  -X dump  -F FILE (else KCAT_CONFIG, ~/.config/kcat.conf)  -m SECONDS  -q  -v  -V  -h
Produce: -K DELIMITER  -D DELIMITER  -k KEY  -H NAME=VALUE  -z CODEC  -Z empty is null  -c COUNT  -T also to stdout
         -l  -E go on after a record that fails
Consume: -o beginning|end|N|-N|s@MS|e@MS  -e exit at the end  -c COUNT  -f FORMAT  -J  -K  -D  -Z
";

/// The words behind the program's name, where it was called as kcat: by that name, by `rkafka kcat`, or by a first flag
/// that is one of kcat's modes.
pub fn words() -> Option<Vec<OsString>> {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    if matches!(name, "kcat" | "kafkacat") {
        return Some(words);
    }
    let first = words.first()?.to_str()?;
    if first == "kcat" {
        return Some(words.into_iter().skip(1).collect());
    }
    ["-P", "-C", "-L", "-Q", "-G"].iter().any(|mode| first.starts_with(mode)).then_some(words)
}

/// Does what they say. The exit code is kcat's.
pub fn run(words: Vec<OsString>) -> u8 {
    report::speak_as_kcat();
    match read(words).and_then(start) {
        Ok((Exit::Ok, _)) => 0,
        // Who reads as long as it is let has done well when it is stopped.
        Ok((Exit::Interrupted | Exit::Terminated, reads)) => u8::from(!reads),
        Ok(_) => 1,
        Err(failure) => {
            report::error(&failure.message);
            1
        }
    }
}

fn read(words: Vec<OsString>) -> Result<Kcat, Failure> {
    let words: Result<Vec<String>, _> = words.into_iter().map(OsString::into_string).collect();
    let words = words.map_err(|word| Failure::usage(format!("{}: this is not UTF-8", word.display())))?;
    let mut kcat = args::parse(&words).map_err(Failure::usage)?;
    if kcat.mode.is_none() && !kcat.dumps && !kcat.lists_settings {
        let produces = !std::io::stdin().is_terminal();
        if !kcat.quiet {
            let mode = if produces { "Producer" } else { "Consumer" };
            report::note(&format!("% Auto-selecting {mode} mode (use -P or -C to override)"));
        }
        kcat.mode = Some(if produces { Mode::Produce } else { Mode::Consume });
    }
    Ok(kcat)
}

/// Runs it; and whether it is one that reads until it is stopped.
fn start(kcat: Kcat) -> Result<(Exit, bool), Failure> {
    let connection = connection(&kcat);
    let topic = || kcat.topics.last().cloned().ok_or_else(|| Failure::usage("-t <topic> missing"));
    if kcat.dumps {
        let form = Form { output: Output::Table, paint: Paint { color: Color::Never } };
        let explain = Explain { names: Vec::new(), given: false, form, connection };
        return Ok((commands::run(Command::Config(Config { command: ConfigCommand::Explain(explain) }))?, false));
    }
    if kcat.lists_settings {
        let lines = settings::known().map(|one| format!("{:<45} {} [{}]\n", one.name, one.expected, one.default));
        // One that several kinds of clients have is one.
        let lines: std::collections::BTreeSet<String> = lines.collect();
        return report::answer(&lines.into_iter().collect::<String>()).map(|()| (Exit::Ok, false));
    }
    let exit = match kcat.mode.clone().unwrap_or(Mode::Help) {
        Mode::Help => report::answer(HELP).map(|()| Exit::Ok),
        Mode::Version => {
            let version = concat!("kcat's command line by rkafka ", env!("CARGO_PKG_VERSION"), "\n");
            report::answer(version).map(|()| Exit::Ok)
        }
        Mode::Produce => commands::run(Command::Produce(produce(&kcat, topic()?, connection)?)),
        Mode::Consume => {
            let consume = consume(&kcat, vec![topic()?], None, connection)?;
            return Ok((commands::run(Command::Consume(consume))?, true));
        }
        Mode::Group(group) => {
            let topics: Vec<String> = kcat.topics.iter().chain(&kcat.rest).cloned().collect();
            if topics.is_empty() {
                return Err(Failure::usage("-G needs topics behind the group"));
            }
            let consume = consume(&kcat, topics, Some(group), connection)?;
            return Ok((commands::run(Command::Consume(consume))?, true));
        }
        Mode::List => commands::ask(&connection, list::run(&kcat, &connection)),
        Mode::Query => commands::ask(&connection, query::run(&kcat, &connection)),
    };
    exit.map(|exit| (exit, false))
}

fn connection(kcat: &Kcat) -> Connection {
    Connection {
        brokers: kcat.brokers.clone(),
        settings: kcat.settings.clone(),
        config: kcat.config.clone().or_else(default_file),
        profile: None,
        timeout: kcat.timeout,
        quiet: kcat.quiet,
        verbose: kcat.verbose,
        is_kcat: true,
    }
}

/// The file that kcat reads where no other is named.
fn default_file() -> Option<PathBuf> {
    let named = ["KCAT_CONFIG", "KAFKACAT_CONFIG"].into_iter().find_map(std::env::var_os);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let by_default = || {
        ["kcat.conf", "kafkacat.conf"]
            .into_iter()
            .find_map(|name| Some(home()?.join(name)).filter(|path| path.exists()))
    };
    named.map(PathBuf::from).or_else(by_default)
}

fn produce(kcat: &Kcat, topic: String, connection: Connection) -> Result<Produce, Failure> {
    if kcat.lines && kcat.rest.len() > 1 {
        return Err(Failure::usage("Only one file allowed for line mode (-l)"));
    }
    Ok(Produce {
        topic,
        files: kcat.rest.iter().map(PathBuf::from).collect(),
        key_delimiter: kcat.key_delimiter.clone(),
        delimiter: kcat.delimiter.clone().unwrap_or_else(|| "\\n".to_owned()),
        key: kcat.key.clone(),
        partition: kcat.partition,
        headers: kcat.headers.clone(),
        compression: kcat.codec.clone(),
        null: kcat.null,
        json: false,
        acks: None,
        on_error: if kcat.keeps_on { OnError::Continue } else { OnError::Stop },
        create: false,
        report: None,
        kcat: Some(KcatProduce { count: kcat.count, tee: kcat.tee, whole_files: !kcat.lines && !kcat.rest.is_empty() }),
        connection,
    })
}

/// An expression of whole names for a topic of `-G`.
fn whole(topic: &str) -> String {
    match topic.strip_prefix('^') {
        Some(rest) if rest.ends_with('$') => topic.to_owned(),
        Some(_) => format!("{topic}.*"),
        None => topic.replace('.', "\\."),
    }
}

fn consume(
    kcat: &Kcat,
    topics: Vec<String>,
    group: Option<String>,
    connection: Connection,
) -> Result<Consume, Failure> {
    // As librdkafka has it, what begins so is an expression, which the beginning of a name has to match.
    let regex = group.is_some() && topics.iter().any(|topic| topic.starts_with('^'));
    let topics = if regex { topics.iter().map(|topic| whole(topic)).collect() } else { topics };
    Ok(Consume {
        topics,
        regex,
        partitions: kcat.partition.into_iter().filter(|_| group.is_none()).collect(),
        offsets: kcat.offsets.clone(),
        exit_at_end: kcat.exit_at_end,
        count: kcat.count,
        format: kcat.format.clone().filter(|_| !kcat.json),
        json: kcat.json,
        key_delimiter: kcat.key_delimiter.clone(),
        delimiter: kcat.delimiter.clone(),
        null: kcat.null,
        group,
        report: None,
        connection,
    })
}
