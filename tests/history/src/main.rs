//! `rkafka-history FILE...`: judges files of JSON lines as one history. Ends with 1 where something is wrong that Kafka
//! forbids, and with 2 where the files are no history.

use std::io::Write as _;
use std::process::ExitCode;

use rkafka_history::History;

fn main() -> ExitCode {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    let (code, text) = match judge(&files) {
        Ok((is_valid, text)) => (u8::from(!is_valid), text),
        Err(why) => (2, why),
    };
    let line = format!("{text}\n");
    let said = match code {
        2 => std::io::stderr().write_all(line.as_bytes()),
        _ => std::io::stdout().write_all(line.as_bytes()),
    };
    if said.is_ok() { ExitCode::from(code) } else { ExitCode::from(2) }
}

fn judge(files: &[std::ffi::OsString]) -> Result<(bool, String), String> {
    if files.is_empty() {
        return Err("rkafka-history FILE...: name the files of the history, each of JSON lines".to_owned());
    }
    let mut texts = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        texts.push(String::from_utf8(bytes).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    let history = History::from_files(texts.iter().map(String::as_str)).map_err(|error| error.to_string())?;
    let report = history.judge();
    Ok((report.is_valid(), report.to_string()))
}
