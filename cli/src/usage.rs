//! What clap says about a command line, in one plain line.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::Exit;
use crate::report;

/// Prints help where it was asked for, else the line that says what is wrong.
pub fn answer(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match report::answer(&error.render().to_string()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                report::error(&failure.message);
                ExitCode::from(failure.exit as u8)
            }
        };
    }
    report::error(&line(error));
    ExitCode::from(Exit::Usage as u8)
}

fn line(error: &clap::Error) -> String {
    format!("{}; see `{} --help`", cause(error), command(error))
}

fn cause(error: &clap::Error) -> String {
    let text = |kind| error.get(kind).map(plain).filter(|text| !text.is_empty());
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    let meant = |kind| text(kind).map(|other| format!("; did you mean `{other}`?")).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument => {
            format!("unexpected argument `{argument}`{}", meant(ContextKind::SuggestedArg))
        }
        ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("there is no command `{name}`{}", meant(ContextKind::SuggestedSubcommand))
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "a command is missing".to_owned()
        }
        ErrorKind::MissingRequiredArgument => format!("missing: {argument}"),
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            Some(prior) if prior != argument => format!("`{argument}` and `{prior}` do not go together"),
            _ => format!("`{argument}` is given twice"),
        },
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let mut line = if value.is_empty() {
                format!("`{argument}` needs a value")
            } else {
                format!("`{argument}` cannot be `{value}`")
            };
            if let Some(reason) = std::error::Error::source(error) {
                line.push_str(&format!(": {reason}"));
            }
            if let Some(values) = text(ContextKind::ValidValue) {
                line.push_str(&format!("; expected one of: {values}"));
            }
            line
        }
        _ => first_line(error),
    }
}

fn plain(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        ContextValue::StyledStr(text) => text.to_string(),
        ContextValue::Number(number) => number.to_string(),
        ContextValue::Bool(value) => value.to_string(),
        _ => String::new(),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The command whose help tells more: the plain words that its usage begins with.
fn command(error: &clap::Error) -> String {
    let text = error.get(ContextKind::Usage).map_or_else(|| error.render().to_string(), plain);
    let usage = text.lines().find(|line| line.starts_with("Usage:")).unwrap_or_default();
    let words: Vec<&str> = usage
        .split_whitespace()
        .skip_while(|word| *word != "rkafka")
        .take_while(|word| word.starts_with(|letter: char| letter.is_ascii_lowercase()))
        .collect();
    if words.is_empty() { "rkafka".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    fn said(words: &str) -> String {
        line(&Cli::try_parse_from(words.split(' ')).unwrap_err())
    }

    #[test]
    fn every_mistake_is_one_line_that_names_it() {
        for (words, parts) in [
            (
                "rkafka produce t --compresion zstd",
                &["`--compresion`", "`--compression`", "`rkafka produce --help`"][..],
            ),
            ("rkafka prduce t", &["`prduce`", "`produce`", "`rkafka --help`"]),
            ("rkafka", &["a command is missing", "`rkafka --help`"]),
            ("rkafka topics", &["a command is missing", "`rkafka topics --help`"]),
            ("rkafka produce", &["missing: <TOPIC>", "`rkafka produce --help`"]),
            ("rkafka produce t --on-error later", &["`later`", "stop, continue"]),
            ("rkafka consume t -p x", &["`x`", "--partition"]),
            ("rkafka consume t --timeout soon", &["`soon`", "write 10s"]),
            ("rkafka consume t -J -f %s", &["--json", "--format", "do not go together"]),
            ("rkafka consume t -c", &["--count", "needs a value"]),
            ("rkafka topics list extra", &["`extra`", "`rkafka topics list --help`"]),
            ("rkafka broker run", &["missing: --data-dir"]),
            ("rkafka partitions elect-leaders", &["<TOPIC|--all>", "`rkafka partitions elect-leaders --help`"]),
            ("rk topics list extra", &["`rkafka topics list --help`"]),
        ] {
            let line = said(words);
            for part in parts {
                assert!(line.contains(part), "{words}: {line}");
            }
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn the_arguments_agree_with_themselves() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
