//! What is read: files, or stdin.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::Failure;

/// One stream of records.
pub struct Source {
    /// How messages call it.
    pub name: String,
    stream: Stream,
    /// Its size in bytes, where it has one.
    size: Option<u64>,
}

enum Stream {
    File(File),
    Stdin,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.stream {
            Stream::File(file) => file.read(buffer),
            // The library's own buffer has nothing that this one lacks; what is read goes past it where it is large.
            Stream::Stdin => std::io::stdin().lock().read(buffer),
        }
    }
}

/// Opens all of them; `-` or none is stdin.
pub fn open(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let stdin = || Source { name: "stdin".to_owned(), stream: Stream::Stdin, size: None };
    if paths.is_empty() {
        return Ok(vec![stdin()]);
    }
    paths
        .iter()
        .map(|path| {
            if path.as_os_str() == "-" {
                return Ok(stdin());
            }
            let name = path.display().to_string();
            let failed =
                |error: std::io::Error| Failure::usage(format!("cannot read {name}: {error}; nothing was sent"));
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(Failure::usage(format!("cannot read {name}: it is a directory; nothing was sent")));
            }
            let size = metadata.is_file().then_some(metadata.len());
            Ok(Source { name, stream: Stream::File(file), size })
        })
        .collect()
}

/// Whether somebody types the records.
pub fn is_terminal(sources: &[Source]) -> bool {
    sources.iter().any(|source| matches!(source.stream, Stream::Stdin)) && std::io::stdin().is_terminal()
}

/// A bar on stderr, where that is a terminal and the end is known.
pub fn progress(sources: &[Source], quiet: bool) -> ProgressBar {
    let size: Option<u64> = sources.iter().map(|source| source.size).sum();
    match size {
        Some(size) if !quiet && std::io::stderr().is_terminal() => {
            let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr_with_hz(10));
            let form = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
            match ProgressStyle::with_template(form) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        }
        _ => ProgressBar::hidden(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named_before_anything_is_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = |second: &str| open(&[file.path().to_owned(), second.into()]);
        assert!(open("/nowhere/x").err().unwrap().message.contains("/nowhere/x"));
        assert!(open("/").err().unwrap().message.contains("directory"));
        assert_eq!(open("-").unwrap()[1].name, "stdin");
    }
}
