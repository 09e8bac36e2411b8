//! One record, one line of JSON, with kcat's keys in kcat's order.
//!
//! Bytes that are UTF-8 are a string. Other bytes are `{"base64": ".."}`, so that every line is valid JSON and no byte
//! is lost; kcat writes them raw.

use super::Printed;
use super::template::number;

/// Appends the record as one line, with its line feed.
pub fn line(record: &Printed<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"topic\":");
    string(record.topic, out);
    out.extend_from_slice(b",\"partition\":");
    number(i64::from(record.partition), out);
    out.extend_from_slice(b",\"offset\":");
    number(record.offset, out);
    out.extend_from_slice(if record.timestamp_ms < 0 {
        b",\"tstype\":\"unknown\",\"ts\":"
    } else if record.log_append_time {
        b",\"tstype\":\"logappend\",\"ts\":"
    } else {
        b",\"tstype\":\"create\",\"ts\":"
    });
    number(record.timestamp_ms, out);
    if let Some(broker) = record.broker {
        out.extend_from_slice(b",\"broker\":");
        number(i64::from(broker), out);
    }
    if !record.headers.is_empty() {
        out.extend_from_slice(b",\"headers\":[");
        for (index, (key, header)) in record.headers.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            value(Some(key), out);
            out.push(b',');
            value(*header, out);
        }
        out.push(b']');
    }
    out.extend_from_slice(b",\"key\":");
    value(record.key, out);
    out.extend_from_slice(b",\"payload\":");
    value(record.value, out);
    out.extend_from_slice(b"}\n");
}

/// Appends bytes as a JSON value: null, a string, or `{"base64": ".."}` where they are not UTF-8.
pub fn value(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => string(text, out),
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"{\"base64\":\"");
            base64(bytes, out);
            out.extend_from_slice(b"\"}");
        }
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends bytes in base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place)) as usize & 0x3f];
            out.push(if place <= chunk.len() { letter } else { b'=' });
        }
    }
}

/// Reads base64 with padding.
///
/// # Errors
/// The text is not base64.
pub fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    let bad = || format!("`{text}` is not base64");
    let letters = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - letters.len() > 2 {
        return Err(bad());
    }
    let mut out = Vec::with_capacity(letters.len() / 4 * 3 + 2);
    for chunk in letters.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for place in 0..4 {
            let digit = match chunk.get(place) {
                Some(letter) => ALPHABET.iter().position(|known| known == letter).ok_or_else(bad)?,
                None => 0,
            };
            bits = bits << 6 | digit as u32;
        }
        if chunk.len() == 1 {
            return Err(bad());
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_kcats_order() {
        let mut out = Vec::new();
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"1")), (b"h", None)];
        let record = Printed {
            topic: "t",
            partition: 0,
            broker: None,
            offset: 5,
            timestamp_ms: 7,
            log_append_time: false,
            key: None,
            value: Some("a\"\\\n\u{1}ü".as_bytes()),
            headers,
        };
        line(&record, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"topic\":\"t\",\"partition\":0,\"offset\":5,\"tstype\":\"create\",\"ts\":7,\"headers\":[\"h\",\"1\",\"h\",null],\
             \"key\":null,\"payload\":\"a\\\"\\\\\\n\\u0001ü\"}\n"
        );
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["payload"], "a\"\\\n\u{1}ü");
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        for bytes in [&b"\xff"[..], b"\xff\xfe", b"\xff\xfe\xfd", b"", b"\x00\xff\x00\x80"] {
            let mut out = Vec::new();
            base64(bytes, &mut out);
            assert_eq!(from_base64(std::str::from_utf8(&out).unwrap()).unwrap(), bytes);
        }
        let mut out = Vec::new();
        value(Some(b"\xff"), &mut out);
        assert_eq!(out, b"{\"base64\":\"/w==\"}");
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["a", "ab", "abc", "a===", "ab!=", "====", "=abc"] {
            assert!(from_base64(text).is_err(), "{text}");
        }
    }
}
