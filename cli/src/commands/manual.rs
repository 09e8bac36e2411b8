//! `rkafka completion` and `rkafka man`, both made of the definitions that the command line is read by.

use std::path::Path;

use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::{Exit, Failure};
use crate::report;

/// Prints the script of a shell.
pub fn completion(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rkafka", &mut script);
    report::answer(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// Writes one page for each command.
pub fn pages(directory: &Path) -> Result<Exit, Failure> {
    clap_mangen::generate_to(Cli::command(), directory)
        .map_err(|error| Failure::failed(format!("cannot write pages to {}: {error}", directory.display())))?;
    Ok(Exit::Ok)
}
