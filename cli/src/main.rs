//! The rkafka command line: what was typed (`args`), what is meant by it (`commands`), how it ends (`exit`).

mod args;
mod commands;
mod connect;
#[cfg(test)]
mod docs;
mod exit;
mod final_report;
mod format;
mod kcat;
mod report;
mod settings;
mod signals;
mod usage;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    if let Some(words) = kcat::words() {
        return ExitCode::from(kcat::run(words));
    }
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error),
    };
    let exit = commands::run(cli.command).unwrap_or_else(|failure| {
        report::error(&failure.message);
        failure.exit
    });
    ExitCode::from(exit as u8)
}
