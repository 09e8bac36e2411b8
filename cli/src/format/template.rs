//! kcat's format strings: `%t [%p] %o: key %k, value %s\n`.
//!
//! kcat's letters keep kcat's meaning. `%v` and `%V` say `%s` and `%S` in another word, and a modifier in braces, as in
//! `%s{hex}`, changes how bytes are shown.

use super::Printed;

/// A format string, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    null: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Value(Shown),
    ValueLength,
    Key(Shown),
    KeyLength,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
    FramedValueLength,
}

/// How bytes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Raw,
    Hex,
    Base64,
    Json,
}

impl Template {
    /// Reads a format string. `null` is what stands for a null key or value.
    ///
    /// # Errors
    /// A letter or an escape that does not exist, in a sentence.
    pub fn parse(text: &str, null: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['%', '\\']) {
            literal.extend_from_slice(&rest.as_bytes()[..at]);
            let is_escape = rest.as_bytes()[at] == b'\\';
            rest = &rest[at + 1..];
            if is_escape {
                let (byte, left) = escape(rest)?;
                literal.push(byte);
                rest = left;
                continue;
            }
            let letter =
                rest.chars().next().ok_or("the format string ends with a lone `%`; write `%%` for a percent sign")?;
            rest = &rest[letter.len_utf8()..];
            if letter == '%' {
                literal.push(b'%');
                continue;
            }
            let part = match letter {
                's' | 'v' => Part::Value(modifier(&mut rest)?),
                'k' => Part::Key(modifier(&mut rest)?),
                'S' | 'V' => Part::ValueLength,
                'K' => Part::KeyLength,
                't' => Part::Topic,
                'p' => Part::Partition,
                'o' => Part::Offset,
                'T' => Part::Timestamp,
                'h' => Part::Headers,
                'R' => Part::FramedValueLength,
                other => {
                    return Err(format!(
                        "`%{other}` is no part of a format string; there are %s %S %k %K %t %p %o %T %h %R %v %V and %%"
                    ));
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts, null: null.as_bytes().to_vec() })
    }

    /// The value and what ends it; before it the key with its delimiter, where one is given.
    pub fn lines(key_delimiter: Option<Vec<u8>>, end: Vec<u8>, null: &str) -> Self {
        let mut parts = Vec::new();
        if let Some(delimiter) = key_delimiter {
            parts.extend([Part::Key(Shown::Raw), Part::Text(delimiter)]);
        }
        parts.extend([Part::Value(Shown::Raw), Part::Text(end)]);
        Self { parts, null: null.as_bytes().to_vec() }
    }

    /// Whether the headers are printed at all: they need not be read where they are not.
    pub fn needs_headers(&self) -> bool {
        self.parts.contains(&Part::Headers)
    }

    /// Appends the record to `out`.
    pub fn write(&self, record: &Printed<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Value(shown) => self.bytes(record.value, *shown, out),
                Part::Key(shown) => self.bytes(record.key, *shown, out),
                Part::ValueLength => number(length(record.value), out),
                Part::KeyLength => number(length(record.key), out),
                Part::Topic => out.extend_from_slice(record.topic.as_bytes()),
                Part::Partition => number(i64::from(record.partition), out),
                Part::Offset => number(record.offset, out),
                Part::Timestamp => number(record.timestamp_ms, out),
                Part::Headers => headers(record.headers, out),
                Part::FramedValueLength => {
                    let length = record.value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
                    out.extend_from_slice(&length.to_be_bytes());
                }
            }
        }
    }

    fn bytes(&self, bytes: Option<&[u8]>, shown: Shown, out: &mut Vec<u8>) {
        let Some(bytes) = bytes else {
            let null: &[u8] = if shown == Shown::Json { b"null" } else { &self.null };
            out.extend_from_slice(null);
            return;
        };
        match shown {
            Shown::Raw => out.extend_from_slice(bytes),
            Shown::Hex => {
                let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
                bytes.iter().for_each(|byte| out.extend([digit(byte >> 4), digit(byte & 0xf)]));
            }
            Shown::Base64 => super::json::base64(bytes, out),
            Shown::Json => super::json::value(Some(bytes), out),
        }
    }
}

fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

/// Appends a decimal number without a detour over a `String`.
pub fn number(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// `a=1,b=,c=NULL`, as kcat has it.
fn headers(headers: &[(&[u8], Option<&[u8]>)], out: &mut Vec<u8>) {
    for (index, (key, value)) in headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        out.push(b'=');
        out.extend_from_slice(value.unwrap_or(b"NULL"));
    }
}

fn modifier(rest: &mut &str) -> Result<Shown, String> {
    let Some(inner) = rest.strip_prefix('{') else { return Ok(Shown::Raw) };
    let (name, left) = inner.split_once('}').ok_or("a `{` in the format string has no `}`")?;
    *rest = left;
    match name {
        "hex" => Ok(Shown::Hex),
        "base64" => Ok(Shown::Base64),
        "json" => Ok(Shown::Json),
        other => Err(format!("`{{{other}}}` is no way to show bytes; there are {{hex}}, {{base64}} and {{json}}")),
    }
}

/// Reads what stands after a backslash. As in kcat, `\x41` is hexadecimal and `\065` is decimal.
fn escape(rest: &str) -> Result<(u8, &str), String> {
    let first = rest.chars().next().ok_or("the format string ends with a lone backslash; write `\\\\` for one")?;
    let simple = match first {
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        '0' if !rest[1..].starts_with(|next: char| next.is_ascii_digit()) => Some(0),
        '\\' | '"' | '\'' => Some(first as u8),
        _ => None,
    };
    if let Some(byte) = simple {
        return Ok((byte, &rest[1..]));
    }
    let (digits, radix, from) = match first {
        'x' => (rest[1..].chars().take_while(char::is_ascii_hexdigit).take(2).count(), 16, 1),
        '0'..='9' => (rest.chars().take_while(char::is_ascii_digit).take(3).count(), 10, 0),
        other => {
            return Err(format!(
                "`\\{other}` is no escape; there are \\n \\r \\t \\\\ \\xHH (hex) and \\NNN (decimal)"
            ));
        }
    };
    let text = &rest[from..from + digits];
    let byte = u8::from_str_radix(text, radix).map_err(|_| format!("`\\{}{text}` is no byte", &rest[..from]))?;
    Ok((byte, &rest[from + digits..]))
}

/// Reads a delimiter from the command line: one or more characters, with the escapes of a format string.
///
/// # Errors
/// It is empty, or an escape does not exist.
pub fn delimiter(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let (byte, left) = escape(&rest[at + 1..])?;
        out.push(byte);
        rest = left;
    }
    out.extend_from_slice(rest.as_bytes());
    if out.is_empty() { Err("a delimiter must not be empty".into()) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &[(&[u8], Option<&[u8]>)] =
        &[(b"a", Some(b"1")), (b"b", Some(b"")), (b"c", None), (b"a", Some(b"2"))];

    fn record() -> Printed<'static> {
        Printed {
            topic: "orders",
            partition: 3,
            broker: None,
            offset: 42,
            timestamp_ms: 1_700_000_000_000,
            log_append_time: false,
            key: Some(b"k"),
            value: Some(b"v\xff"),
            headers: HEADERS,
        }
    }

    fn print(format: &str, record: &Printed<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Template::parse(format, "NULL").unwrap().write(record, &mut out);
        out
    }

    #[test]
    fn letters_mean_what_they_mean_to_kcat() {
        assert_eq!(print("%t [%p] at %o: %T\\n", &record()), b"orders [3] at 42: 1700000000000\n");
        assert_eq!(print("%K:%S|%k=%s", &record()), b"1:2|k=v\xff");
        assert_eq!(print("%h", &record()), b"a=1,b=,c=NULL,a=2");
        assert_eq!(print("%R", &record()), [0, 0, 0, 2]);
        assert_eq!(print("100%%", &record()), b"100%");
        assert_eq!(print("%v{hex} %V", &record()), b"76ff 2");
        assert_eq!(print("%s{base64}", &record()), b"dv8=");
        assert_eq!(print("%k{json}", &record()), b"\"k\"");
    }

    #[test]
    fn null_is_not_empty() {
        let null = Printed { key: None, value: None, ..record() };
        assert_eq!(print("%k %K %s %S %s{json}", &null), b"NULL -1 NULL -1 null");
        assert_eq!(print("%R", &null), [0xff; 4]);
        let empty = Printed { key: Some(b""), value: Some(b""), ..record() };
        assert_eq!(print("%k%K%s%S", &empty), b"00");
    }

    #[test]
    fn escapes_are_hexadecimal_or_decimal() {
        assert_eq!(print("\\x41\\065\\t\\\\\\x0a\\0", &record()), b"AA\t\\\n\0");
    }

    #[test]
    fn what_does_not_exist_is_named() {
        assert!(Template::parse("%z", "").unwrap_err().contains("`%z`"));
        assert!(Template::parse("%s{rot13}", "").unwrap_err().contains("rot13"));
        assert!(Template::parse("50%", "").unwrap_err().contains("%%"));
        assert!(Template::parse("\\q", "").unwrap_err().contains("\\q"));
        assert!(Template::parse("\\999", "").unwrap_err().contains("999"));
        assert!(Template::parse("\\x", "").is_err());
        assert!(Template::parse("%s{hex", "").is_err());
    }

    #[test]
    fn numbers_at_their_bounds() {
        for value in [0, 1, -1, i64::MIN, i64::MAX, 1_000_000] {
            let mut out = Vec::new();
            number(value, &mut out);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn delimiters_have_escapes_and_are_not_empty() {
        assert_eq!(delimiter("\\t").unwrap(), b"\t");
        assert_eq!(delimiter("::").unwrap(), b"::");
        assert_eq!(delimiter("a\\x00b").unwrap(), b"a\0b");
        assert!(delimiter("").is_err());
    }
}
