//! YAML of what is JSON. Strings that any reader could take for something else are quoted as JSON quotes them, which YAML
//! 1.2 reads alike; that makes an emitter a page long, and no reader is needed here.

use serde_json::Value;

/// The document.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(values) if !values.is_empty() => list(values, 0, &mut out),
        Value::Object(map) if !map.is_empty() => pairs(map, 0, &mut out),
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
    out
}

fn list(values: &[Value], depth: usize, out: &mut String) {
    for value in values {
        indent(depth, out);
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => {
                // The first pair stands behind the dash, the others below it.
                let start = out.len();
                pairs(map, depth + 1, out);
                out.replace_range(start..start + (depth + 1) * 2, "");
            }
            Value::Array(values) if !values.is_empty() => {
                let start = out.len();
                list(values, depth + 1, out);
                out.replace_range(start..start + (depth + 1) * 2, "");
            }
            other => {
                out.push_str(&scalar(other));
                out.push('\n');
            }
        }
    }
}

fn pairs(map: &serde_json::Map<String, Value>, depth: usize, out: &mut String) {
    for (key, value) in map {
        indent(depth, out);
        out.push_str(&string(key));
        out.push(':');
        match value {
            Value::Array(values) if !values.is_empty() => {
                out.push('\n');
                list(values, depth, out);
            }
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                pairs(map, depth + 1, out);
            }
            other => {
                out.push(' ');
                out.push_str(&scalar(other));
                out.push('\n');
            }
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        other => other.to_string(),
    }
}

fn string(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// As JSON, and what YAML does not take in a line is escaped too.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for letter in Value::from(text).to_string().chars() {
        match letter {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether the text without quotes is that text to a reader of YAML 1.1 and of 1.2: a word of letters, digits and a few
/// signs that begins with a letter and is none of their words for something else.
fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"_-./".contains(&letter))
        && !words.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_lists_and_pairs() {
        let value = json!([{"a": [{"b": 1, "c": [[1, 2], []]}], "d": {"e": {}}}, "x", null]);
        let expected = "- a:\n  - b: 1\n    c:\n    - - 1\n      - 2\n    - []\n  d:\n    e: {}\n- x\n- null\n";
        assert_eq!(text(&value), expected);
        assert_eq!(text(&json!([])), "[]\n");
    }

    #[test]
    fn strings_stay_strings() {
        for (value, expected) in [
            ("orders", "orders"),
            ("retention.ms", "retention.ms"),
            ("", "\"\""),
            ("1", "\"1\""),
            ("1e3", "\"1e3\""),
            (".5", "\".5\""),
            ("No", "\"No\""),
            ("NULL", "\"NULL\""),
            ("a: b", "\"a: b\""),
            ("- a", "\"- a\""),
            ("a#", "\"a#\""),
            ("é\u{85}", "\"é\\u0085\""),
            ("a\tb\"", "\"a\\tb\\\"\""),
        ] {
            assert_eq!(string(value), expected);
        }
    }
}
