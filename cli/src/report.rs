//! Everything that is said on stderr, and short answers on stdout.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::{Exit, Failure};

/// Whether errors begin as those of kcat do.
static AS_KCAT: AtomicBool = AtomicBool::new(false);

/// From here on, errors begin as those of kcat do.
pub fn speak_as_kcat() {
    AS_KCAT.store(true, Ordering::Relaxed);
}

/// Says what went wrong, as one plain line.
pub fn error(message: &str) {
    let before = if AS_KCAT.load(Ordering::Relaxed) { "% ERROR: " } else { "rkafka: " };
    line(&format!("{before}{message}"));
}

/// Says something that is no error.
pub fn note(message: &str) {
    line(message);
}

fn line(text: &str) {
    // Brokers' own messages may have several lines; whoever reads stderr by the line gets one.
    let text = if text.contains(['\n', '\r']) {
        text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    } else {
        text.to_owned()
    };
    // Nobody is left to be told that stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes a whole answer to stdout. A reader that has gone away wanted no more, which is no error.
pub fn answer(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(cannot_write(&error)),
        _ => Ok(()),
    }
}

/// The failure of a write to stdout.
pub fn cannot_write(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write to stdout: {error}"))
}

/// Shows the log of client or broker on stderr, from the level that `-v` asks for; `RUST_LOG` has the last word.
pub fn start_log(default: &str) {
    let asked = std::env::var("RUST_LOG").ok();
    if default == "off" && asked.is_none() {
        return;
    }
    let filter = tracing_subscriber::EnvFilter::new(asked.as_deref().unwrap_or(default));
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(colors).with_target(false).init();
}
