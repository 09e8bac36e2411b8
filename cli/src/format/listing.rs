//! What is listed: one set of rows, printed as columns for people, as JSON, as YAML, or as names.
//!
//! A column has one name. JSON and YAML have it as the key, with numbers, truth values, lists and null as such; a table has
//! it in capitals as the head. Keys are added in time, but neither renamed nor taken away.

use std::io::IsTerminal;

use serde_json::{Map, Value};

use super::table::columns;
use super::yaml;
use crate::args::{Color, Form, Output};
use crate::exit::Failure;
use crate::report;

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    key: &'static str,
    shown: Shown,
}

/// Which tables a column is in; JSON and YAML have all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    Wide,
    Never,
}

/// A column of every table.
pub const fn always(key: &'static str) -> Column {
    Column { key, shown: Shown::Always }
}

/// A column of wide tables.
pub const fn wide(key: &'static str) -> Column {
    Column { key, shown: Shown::Wide }
}

/// What no table shows.
pub const fn inside(key: &'static str) -> Column {
    Column { key, shown: Shown::Never }
}

/// Rows of some columns.
#[derive(Debug)]
pub struct Listing {
    columns: &'static [Column],
    rows: Vec<(String, Vec<Value>)>,
}

impl Listing {
    /// No rows yet.
    pub const fn new(columns: &'static [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row, a value for each column in order; `name` is what `-o name` prints of it.
    pub fn row<const N: usize>(&mut self, name: impl Into<String>, values: [Value; N]) {
        debug_assert_eq!(N, self.columns.len(), "a value for each column");
        self.rows.push((name.into(), values.into()));
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints all rows on stdout.
    pub fn print(&self, form: &Form) -> Result<(), Failure> {
        report::answer(&self.text(form.output, colored(form)))
    }

    /// The rows as a table, or as `output` has them.
    pub fn text(&self, output: Output, colored: bool) -> String {
        match output {
            Output::Table | Output::Wide => emphasized(self.table(output == Output::Wide), colored),
            other => documents(self.rows.iter().map(|(name, values)| (name.as_str(), self.json(values))), other),
        }
    }

    fn table(&self, wide: bool) -> String {
        let shown = |column: &Column| column.shown == Shown::Always || (wide && column.shown == Shown::Wide);
        let head = self.columns.iter().filter(|column| shown(column)).map(|column| head(column.key));
        let mut rows = vec![head.collect::<Vec<_>>()];
        rows.extend(self.rows.iter().map(|(_, values)| {
            let values = self.columns.iter().zip(values).filter(|(column, _)| shown(column));
            values.map(|(_, value)| cell(value)).collect()
        }));
        columns(&rows)
    }

    fn json(&self, values: &[Value]) -> Value {
        let pairs = self.columns.iter().zip(values).map(|(column, value)| (column.key.to_owned(), value.clone()));
        Value::Object(pairs.collect::<Map<_, _>>())
    }
}

/// Named documents in a form that is no table.
pub fn documents<'a>(items: impl Iterator<Item = (&'a str, Value)>, output: Output) -> String {
    match output {
        Output::Jsonl => items.map(|(_, json)| format!("{json}\n")).collect(),
        Output::Yaml => yaml::text(&items.map(|(_, json)| json).collect()),
        Output::Name => {
            let mut names: Vec<&str> = items.map(|(name, _)| name).collect();
            names.dedup();
            names.into_iter().map(|name| format!("{name}\n")).collect()
        }
        Output::Table | Output::Wide | Output::Json => {
            format!("{:#}\n", items.map(|(_, json)| json).collect::<Value>())
        }
    }
}

fn head(key: &str) -> String {
    key.to_ascii_uppercase().replace('_', "-")
}

/// A value as a person reads it. What is missing is `-`, so that columns can be told apart by programs too.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // What others chose as a name must not move the cursor.
        Value::String(text) if text.contains(char::is_control) => text.escape_default().to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Whether this form is to be colored.
pub fn colored(form: &Form) -> bool {
    match form.paint.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
            !set("NO_COLOR") && (forced || std::io::stdout().is_terminal())
        }
    }
}

/// The first line in bold, where colors are wanted.
pub fn emphasized(table: String, colored: bool) -> String {
    match table.split_once('\n') {
        Some((head, rest)) if colored => format!("\x1b[1m{head}\x1b[0m\n{rest}"),
        _ => table,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[always("group"), always("lag"), wide("client_id"), inside("parts")];

    fn listing() -> Listing {
        let mut listing = Listing::new(COLUMNS);
        listing.row("a", [json!("a"), json!(null), json!("c\n"), json!([1, 2])]);
        listing.row("b", [json!("b"), json!(7), json!(""), json!([])]);
        listing
    }

    #[test]
    fn one_set_of_rows_in_every_form() {
        let text = |output| listing().text(output, false);
        assert_eq!(text(Output::Table), "GROUP  LAG\na      -\nb      7\n");
        assert_eq!(text(Output::Wide), "GROUP  LAG  CLIENT-ID\na      -    c\\n\nb      7    -\n");
        assert_eq!(text(Output::Name), "a\nb\n");
        assert_eq!(
            text(Output::Jsonl),
            "{\"group\":\"a\",\"lag\":null,\"client_id\":\"c\\n\",\"parts\":[1,2]}\n\
             {\"group\":\"b\",\"lag\":7,\"client_id\":\"\",\"parts\":[]}\n"
        );
        let document: Value = serde_json::from_str(&text(Output::Json)).unwrap();
        assert_eq!(document[1]["lag"], 7);
        assert_eq!(
            text(Output::Yaml),
            "- group: a\n  lag: null\n  client_id: \"c\\n\"\n  parts:\n  - 1\n  - 2\n\
             - group: b\n  lag: 7\n  client_id: \"\"\n  parts: []\n"
        );
    }

    #[test]
    fn color_is_only_of_the_head() {
        assert_eq!(emphasized("A\nb\n".into(), true), "\x1b[1mA\x1b[0m\nb\n");
        assert_eq!(listing().text(Output::Name, true), "a\nb\n");
    }
}
