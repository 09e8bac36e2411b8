//! docs/commands.md, made of the definitions that the command line is read by. Only for the test that it is current.

use clap::{Arg, Command, CommandFactory};

use crate::args::Cli;

const HEAD: &str = "\
# The commands of rkafka

Made from the definitions of the command line; `UPDATE_DOCS=1 cargo test -p rkafka-cli --bin rkafka docs` makes it anew.
`rkafka man DIRECTORY` writes the same as pages for man, and `--help` prints it. Where a noun is in the plural, the singular is
taken too.

";

/// The heading under which each command has the same options.
const CONNECTION: &str = "Connection";

fn page() -> String {
    let mut root = Cli::command();
    root.build();
    let mut out = HEAD.to_owned();
    out.push_str(&paragraph(&root.get_after_help().map(ToString::to_string).unwrap_or_default()));
    out.push_str("## Options of every command that talks to a cluster\n\n");
    let of_all = leaves(&root).into_iter().find(|command| command.get_arguments().any(is_connection));
    for arg in of_all.into_iter().flat_map(Command::get_arguments).filter(|arg| is_connection(arg)) {
        out.push_str(&item(arg));
    }
    out.push('\n');
    for command in leaves(&root) {
        section(command, &mut out);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn leaves(command: &Command) -> Vec<&Command> {
    let below: Vec<&Command> = command.get_subcommands().filter(|one| !one.is_hide_set()).collect();
    if below.is_empty() { vec![command] } else { below.into_iter().flat_map(leaves).collect() }
}

fn is_connection(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(CONNECTION)
}

fn section(command: &Command, out: &mut String) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let words: Vec<&str> = usage.split_whitespace().take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
    out.push_str(&format!("## {}\n\n", words.join(" ")));
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    out.push_str(&paragraph(&about));
    out.push_str(&format!("```text\n{usage}\n```\n\n"));
    let own: Vec<&Arg> =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && !is_connection(arg) && !is_usual(arg)).collect();
    for arg in &own {
        out.push_str(&item(arg));
    }
    if !own.is_empty() {
        out.push('\n');
    }
    out.push_str(&paragraph(&command.get_after_help().map(ToString::to_string).unwrap_or_default()));
}

fn is_usual(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

fn item(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect();
    let takes = arg.get_action().takes_values();
    let value = if takes { values.join(" ") } else { String::new() };
    let mut names: Vec<String> = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    names.extend(arg.get_visible_aliases().unwrap_or_default().iter().map(|alias| format!("--{alias}")));
    let mut shown = if names.is_empty() { value.clone() } else { names.join("`, `") };
    if !names.is_empty() && !value.is_empty() {
        shown.push_str(&format!(" {value}"));
    }
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    // The paragraphs of the help become sentences of one.
    let sentences = help.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let sentences: Vec<String> = sentences.map(|text| text.trim_end_matches('.').to_owned()).collect();
    let mut text = format!("- `{shown}`: {}", escaped(&sentences.join(". ")));
    let choices: Vec<_> = arg.get_possible_values().into_iter().filter(|one| !one.is_hide_set()).collect();
    if takes && !choices.is_empty() {
        let choices: Vec<String> = choices
            .iter()
            .map(|one| match one.get_help() {
                Some(help) => format!("`{}` ({})", one.get_name(), escaped(&help.to_string())),
                None => format!("`{}`", one.get_name()),
            })
            .collect();
        text.push_str(&format!(". One of {}", choices.join(", ")));
    }
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if takes && !defaults.is_empty() {
        text.push_str(&format!(". Default: {}", defaults.join(", ")));
    }
    text.push_str(".\n");
    text
}

fn paragraph(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{}\n\n", escaped(text)) }
}

/// Signs that Markdown would take for its own.
fn escaped(text: &str) -> String {
    text.replace('*', "\\*").replace('<', "\\<")
}

#[test]
fn docs_of_the_commands_are_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/commands.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == page, "docs/commands.md is out of date; make it anew with UPDATE_DOCS=1");
    for part in ["## rkafka topics create\n", "`-b`, `--brokers <BROKERS>`", "Exit codes: 0 done"] {
        assert!(page.contains(part), "{part}");
    }
}
