//! How what lists is printed, and how consent to a change is given.

use clap::{Args, ValueEnum};

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
    /// YAML
    Yaml,
    /// Names only, one a line
    Name,
}

/// When colors are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The options of every command that prints a list.
#[derive(Debug, Clone, Args)]
pub struct Form {
    /// How to print
    #[arg(short = 'o', long, value_enum, value_name = "FORM", default_value = "table")]
    pub output: Output,

    #[command(flatten)]
    pub paint: Paint,
}

/// Colors.
#[derive(Debug, Clone, Args)]
pub struct Paint {
    /// Whether the head of a table stands out
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// The options of every command that changes or destroys something.
#[derive(Debug, Clone, Args)]
pub struct Consent {
    /// Do it without asking; without a terminal to ask on, nothing is done unless this is given
    #[arg(short = 'y', long)]
    pub yes: bool,

    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}
