//! `--report`: how it ended, as one line of JSON for programs.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};

use serde_json::{Map, Value};

use crate::exit::{Exit, Failure};

/// Where the report goes.
pub struct FinalReport {
    file: File,
    name: String,
}

impl FinalReport {
    /// Opens a file, or what is open already under a number, before anything is done.
    ///
    /// # Errors
    /// It cannot be opened; nothing was tried then.
    pub fn open(target: Option<&str>) -> Result<Option<Self>, Failure> {
        let Some(target) = target else { return Ok(None) };
        let is_number = !target.is_empty() && target.bytes().all(|letter| letter.is_ascii_digit());
        let opened = if is_number {
            OpenOptions::new().append(true).open(format!("/dev/fd/{target}"))
        } else {
            File::create(target)
        };
        let file = opened.map_err(|error| Failure::usage(format!("--report {target}: {error}")))?;
        Ok(Some(Self { file, name: target.to_owned() }))
    }

    /// Writes it: what was counted, the exit code, and why.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(mut self, mut counted: Map<String, Value>, result: &Result<Exit, Failure>) -> Result<(), Failure> {
        let (exit, error) = match result {
            Ok(exit) => (*exit, Value::Null),
            Err(failure) => (failure.exit, failure.message.as_str().into()),
        };
        counted.insert("exit".to_owned(), (exit as u8).into());
        counted.insert("error".to_owned(), error);
        match writeln!(self.file, "{}", Value::Object(counted)) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::failed(format!("cannot write the report to {}: {error}", self.name)))
            }
            _ => Ok(()),
        }
    }
}

/// Writes the report, where one is wished for, and ends as the command did; where it ended well, a report that cannot be
/// written is a failure.
pub fn conclude(
    report: Option<FinalReport>,
    counted: Map<String, Value>,
    result: Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let Some(report) = report else { return result };
    match (report.write(counted, &result), result) {
        (Err(failure), Ok(_)) => Err(failure),
        (_, result) => result,
    }
}
