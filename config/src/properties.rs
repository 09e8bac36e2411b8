//! Java's properties files, which are also the syntax of the files that librdkafka's tools read.
//!
//! Source of the syntax: the documentation of `java.util.Properties.load(Reader)`.

use crate::PropertiesError;

/// One entry of a properties file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Property {
    /// The key, unescaped.
    pub key: String,
    /// The value, unescaped; trailing spaces are part of it, as in Java.
    pub value: String,
    /// The line where the entry begins, counted from 1.
    pub line: usize,
}

/// Reads the text of a properties file: comments by `#` and `!`, `=`, `:` or spaces between key and value, lines
/// continued by a backslash, `\t`, `\n`, `\r`, `\f` and `\uXXXX`. A byte order mark at the start is passed over.
/// Entries come in the order of the file; a key that comes twice is there twice, and the last is meant.
///
/// # Errors
/// A `\u` without four hexadecimal digits, or one that is half of a character.
pub fn parse_properties(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Lines { rest: text, next: 1 };
    let mut properties = Vec::new();
    while let Some((line, first)) = lines.next_line() {
        let first = first.trim_start_matches(is_space);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = String::new();
        let mut natural = first;
        // An odd number of backslashes at the end goes on in the next line, whose leading spaces do not count.
        while natural.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
            logical.push_str(natural.strip_suffix('\\').unwrap_or(natural));
            natural = lines.next_line().map_or("", |(_, next)| next.trim_start_matches(is_space));
        }
        logical.push_str(natural);
        let (key, value) = split(&logical);
        let unescape = |text| unescape(text).map_err(|reason| PropertiesError::Syntax { line, reason });
        properties.push(Property { key: unescape(key)?, value: unescape(value)?, line });
    }
    Ok(properties)
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{c}')
}

struct Lines<'a> {
    rest: &'a str,
    next: usize,
}

impl<'a> Lines<'a> {
    /// The next natural line, without its end (`\n`, `\r` or `\r\n`), and its number.
    fn next_line(&mut self) -> Option<(usize, &'a str)> {
        if self.rest.is_empty() {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\n', '\r'])).unwrap_or(rest);
        Some((number, line))
    }
}

/// Splits a logical line at the first `=`, `:` or space that no backslash stands before.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|(_, character)| {
            let found = !escaped && (matches!(character, '=' | ':') || is_space(*character));
            escaped = !escaped && *character == '\\';
            found
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_space);
    let value = rest.strip_prefix(['=', ':']).map_or(rest, |rest| rest.trim_start_matches(is_space));
    (key, value)
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    let mut high_half: Option<u16> = None;
    const HALF: &str = "a \\u escape is half of a character; characters beyond \\uFFFF need two, one after the other";
    while let Some(character) = characters.next() {
        let escape = if character == '\\' { characters.next() } else { None };
        if escape == Some('u') {
            let mut unit = 0u16;
            for _ in 0..4 {
                let digit = characters.next().and_then(|digit| digit.to_digit(16));
                unit = unit << 4 | digit.ok_or("\\u needs four hexadecimal digits; write \\\\ for a backslash")? as u16;
            }
            let units = match high_half.take() {
                None if (0xd800..0xdc00).contains(&unit) => {
                    high_half = Some(unit);
                    continue;
                }
                None => vec![unit],
                Some(high) => vec![high, unit],
            };
            plain.push_str(&String::from_utf16(&units).map_err(|_| HALF)?);
            continue;
        }
        if high_half.is_some() {
            return Err(HALF);
        }
        match (character, escape) {
            ('\\', Some('t')) => plain.push('\t'),
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('r')) => plain.push('\r'),
            ('\\', Some('f')) => plain.push('\u{c}'),
            ('\\', Some(other)) => plain.push(other),
            ('\\', None) => {}
            (plain_character, _) => plain.push(plain_character),
        }
    }
    if high_half.is_some() { Err(HALF) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse_properties(text).unwrap().into_iter().map(|property| (property.key, property.value)).collect()
    }

    #[test]
    fn the_examples_of_javas_documentation_hold() {
        let truth = ("Truth".to_owned(), "Beauty".to_owned());
        for text in ["Truth = Beauty", " Truth:Beauty", "Truth                    :Beauty", "Truth Beauty"] {
            assert_eq!(pairs(text), std::slice::from_ref(&truth), "{text}");
        }
        let fruits =
            "fruits                           apple, banana, pear, \\\n  cantaloupe, watermelon, \\\r\n  kiwi, mango";
        assert_eq!(
            pairs(fruits),
            [("fruits".into(), "apple, banana, pear, cantaloupe, watermelon, kiwi, mango".into())]
        );
        assert_eq!(pairs("cheeses"), [("cheeses".into(), String::new())]);
        assert_eq!(pairs("\\:\\= x"), [(":=".into(), "x".into())]);
    }

    #[test]
    fn comments_escapes_and_lines() {
        let text =
            "# comment \\\n! other\n\n  a=1 \r\nb\\ c = \\u00e9\\uD83D\\uDE00\\t\\\\\n d : =\rpath=C:\\\\x\\y\nend=\\";
        let read = parse_properties(text).unwrap();
        let read: Vec<_> = read.iter().map(|p| (p.line, p.key.as_str(), p.value.as_str())).collect();
        assert_eq!(read, [(4, "a", "1 "), (5, "b c", "é😀\t\\"), (6, "d", "="), (7, "path", "C:\\xy"), (8, "end", "")]);
    }

    #[test]
    fn bad_escapes_name_their_line() {
        for text in ["\na=\\u12", "\na=\\uzzzz", "\n\\uD83D=x", "\na=\\uDE00", "\na=\\uD83Dx"] {
            assert!(matches!(parse_properties(text), Err(PropertiesError::Syntax { line: 2, .. })), "{text}");
        }
    }

    fn escape(text: &str) -> String {
        text.chars()
            .flat_map(|character| match character {
                '\n' => vec!['\\', 'n'],
                '\r' => vec!['\\', 'r'],
                '=' | ':' | ' ' | '\t' | '\u{c}' | '\\' | '#' | '!' => vec!['\\', character],
                other => vec![other],
            })
            // An escaped t or f is a tabulator or a form feed; the characters themselves are escaped as they are.
            .collect()
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse_properties(&text);
        }

        #[test]
        fn any_text_of_the_syntax_is_read_or_refused(text in "[a-c=:#! \\\\\\n\\r\\tu0-9]{0,60}") {
            let _ = parse_properties(&text);
        }

        #[test]
        fn what_is_escaped_comes_back(entries in proptest::collection::vec((".+", ".*"), 0..5)) {
            // The first line is a comment, for a byte order mark at the very start is passed over.
            let mut text = "#\n".to_owned();
            text.extend(entries.iter().map(|(key, value)| format!("{}={}\n", escape(key), escape(value))));
            prop_assert_eq!(pairs(&text), entries);
        }
    }
}
