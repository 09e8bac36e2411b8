//! `rkafka storage`: what Kafka's `kafka-storage` does, in its words.

use std::fmt::Write as _;
use std::io::Write as _;

use rkafka::broker::format::{self, FormatError};

use super::broker::load;
use crate::args::{self, FormatStorage, StorageCommand, StorageInfo};
use crate::connect;
use crate::exit::{Exit, Failure};

/// Runs the command.
pub fn run(args: args::Storage) -> Result<Exit, Failure> {
    match args.command {
        StorageCommand::Format(args) => format_directories(&args),
        StorageCommand::RandomUuid => print(&format!("{}\n", format::random_id())).map(|()| Exit::Ok),
        StorageCommand::Info(args) => info(&args),
    }
}

fn failure(error: FormatError) -> Failure {
    match error {
        FormatError::ClusterId(_) | FormatError::Feature { .. } | FormatError::InMemory => Failure::usage(error),
        FormatError::AlreadyFormatted(path) => Failure::failed(format!(
            "{} is already formatted; -g leaves it as it is and formats the others",
            path.display()
        )),
        other => Failure::failed(other),
    }
}

fn format_directories(args: &FormatStorage) -> Result<Exit, Failure> {
    let config = load(&args.config, false)?;
    let mut features = Vec::new();
    for feature in &args.feature {
        let (name, level) = connect::name_and_value("--feature", feature)?;
        let level = level.parse().map_err(|_| Failure::usage(format!("--feature {feature}: a level is a number")))?;
        features.push((name.to_owned(), level));
    }
    let done = format::format(&config, &args.cluster_id, &features, args.ignore_formatted).map_err(failure)?;
    let mut text = String::new();
    for path in &done {
        let is_first = config.log_dirs.first().is_some_and(|first| path.as_os_str() == first.as_str());
        let kind = if is_first { "metadata" } else { "data" };
        // Writing to a String does not fail.
        let _ = writeln!(text, "Formatting {kind} directory {}.", path.display());
    }
    if done.is_empty() {
        text.push_str("All of the log directories are already formatted.\n");
    }
    print(&text).map(|()| Exit::Ok)
}

fn info(args: &StorageInfo) -> Result<Exit, Failure> {
    let config = load(&args.config, false)?;
    let found = format::find_directories(&config).map_err(failure)?;
    let (mut dirs, mut problems, mut text) = (Vec::new(), Vec::new(), String::new());
    let mut metas = found.iter().filter_map(|it| it.meta.as_ref());
    let first = metas.clone().next();
    for it in &found {
        let path = it.path.display();
        match &it.meta {
            _ if !it.exists => problems.push(format!("{path} does not exist")),
            None => {
                dirs.push(path.to_string());
                problems.push(format!("{path} is not formatted."));
            }
            Some(_) => dirs.push(path.to_string()),
        }
    }
    if metas.any(|meta| first.is_some_and(|first| meta.cluster_id != first.cluster_id || meta.node_id != first.node_id))
    {
        problems.push("the directories belong to different nodes or clusters".to_owned());
    }
    let title = if dirs.len() == 1 { "Found log directory:" } else { "Found log directories:" };
    list(&mut text, title, &dirs);
    if let Some(meta) = first {
        let (cluster, directory, node) = (&meta.cluster_id, &meta.directory_id, meta.node_id);
        let _ = writeln!(
            text,
            "Found metadata: {{cluster.id={cluster}, directory.id={directory}, node.id={node}, version=1}}\n"
        );
    }
    list(&mut text, if problems.len() == 1 { "Found problem:" } else { "Found problems:" }, &problems);
    print(&text)?;
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "{title}");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    text.push('\n');
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::failed(format!("cannot print: {error}")))
}
