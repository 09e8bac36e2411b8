//! How the command ends: one plain line on stderr, and an exit code that scripts can rely on.

use std::fmt;

/// The exit codes, as `rkafka --help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done. Also where the reader closed the pipe.
    Ok = 0,
    /// Something failed, in whole or in part.
    Failed = 1,
    /// The command line or a setting is wrong; nothing was tried.
    Usage = 2,
    /// No broker could be reached, or none answered in time.
    Unreachable = 3,
    /// A topic, partition or group is not there.
    NotFound = 4,
    /// The broker did not take the identity, or refused what it asks.
    Denied = 5,
    /// Ended by Ctrl-C, after what was under way was finished.
    Interrupted = 130,
    /// Ended by SIGTERM, after what was under way was finished.
    Terminated = 143,
}

/// Why a command ends otherwise than well.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One line: the cause and the remedy.
    pub message: String,
}

impl Failure {
    /// A failure with this code and line.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// A failure of the command line or of a setting.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure of the work itself.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }
}

/// An error with the errors that caused it, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        // Many errors already say what caused them.
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = next.source();
    }
    line
}
