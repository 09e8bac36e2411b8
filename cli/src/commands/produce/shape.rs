//! From a line to a record.

use std::borrow::Cow;

use memchr::memmem;
use rkafka::producer::{Headers, Record};
use serde::Deserialize;

use crate::args::Produce;
use crate::exit::Failure;
use crate::format;

/// How lines become records.
pub struct Shape {
    topic: String,
    key_delimiter: Option<memmem::Finder<'static>>,
    key: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    partition: Option<i32>,
    null: bool,
    json: bool,
}

impl Shape {
    /// What the command line says of it.
    pub fn from_args(args: &Produce) -> Result<Self, Failure> {
        let key_delimiter = args.key_delimiter.as_deref().map(format::template::delimiter).transpose();
        let key_delimiter = key_delimiter.map_err(|error| Failure::usage(format!("-K: {error}")))?;
        Ok(Self {
            topic: args.topic.clone(),
            key_delimiter: key_delimiter.map(|delimiter| memmem::Finder::new(&delimiter).into_owned()),
            key: args.key.as_ref().map(|key| key.as_bytes().to_vec()),
            headers: args
                .headers
                .iter()
                .map(|header| match header.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.as_bytes().to_vec())),
                    None => (header.clone(), None),
                })
                .collect(),
            partition: args.partition,
            null: args.null,
            json: args.json,
        })
    }

    /// The headers that every record has, in the form that records borrow.
    pub fn common_headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    /// Makes the record of a line and gives it to `send`; only records from JSON allocate on the way.
    ///
    /// # Errors
    /// The line is not what `-J` reads.
    pub fn with_record<T>(
        &self,
        line: &[u8],
        common: &[(&str, Option<&[u8]>)],
        send: impl FnOnce(&Record<'_>) -> T,
    ) -> Result<T, String> {
        if self.json {
            return self.with_json(line, send);
        }
        let (key, value) = match &self.key_delimiter {
            None => (self.key.as_deref(), line),
            Some(delimiter) => match delimiter.find(line) {
                Some(at) => (Some(&line[..at]), &line[at + delimiter.needle().len()..]),
                None => (None, line),
            },
        };
        let mut record = Record::to(&self.topic);
        record.key = key.filter(|key| !(self.null && key.is_empty()));
        record.value = Some(value).filter(|value| !(self.null && value.is_empty()));
        record.headers = Headers::Borrowed(common);
        record.partition = self.partition;
        Ok(send(&record))
    }

    fn with_json<T>(&self, line: &[u8], send: impl FnOnce(&Record<'_>) -> T) -> Result<T, String> {
        let parsed: Line<'_> =
            serde_json::from_slice(line).map_err(|error| format!("it is not what -J reads: {error}"))?;
        if !parsed.headers.len().is_multiple_of(2) {
            return Err("`headers` needs a value behind each name: [\"name\", \"value\", ..]".to_owned());
        }
        let key = parsed.key.as_ref().map(Text::bytes).transpose()?;
        let value = parsed.payload.as_ref().map(Text::bytes).transpose()?;
        let mut headers = Vec::with_capacity(parsed.headers.len() / 2);
        for pair in parsed.headers.chunks_exact(2) {
            let [Some(Text::Plain(name)), value] = pair else {
                return Err("the name of a header must be a string".to_owned());
            };
            headers.push((name.as_ref(), value.as_ref().map(Text::bytes).transpose()?));
        }
        let headers: Vec<(&str, Option<&[u8]>)> =
            headers.iter().map(|(name, value)| (*name, value.as_deref())).collect();
        let mut record = Record::to(&self.topic);
        record.key = key.as_deref();
        record.value = value.as_deref();
        record.headers = Headers::Borrowed(&headers);
        record.partition = self.partition.or(parsed.partition);
        record.timestamp = parsed.ts.filter(|timestamp| *timestamp >= 0);
        Ok(send(&record))
    }
}

/// A record as `consume -J` writes it. What says where it was is read, so that it may stand there, and not used.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, default)]
    key: Option<Text<'a>>,
    #[serde(borrow, default, alias = "value")]
    payload: Option<Text<'a>>,
    #[serde(borrow, default)]
    headers: Vec<Option<Text<'a>>>,
    #[serde(default)]
    ts: Option<i64>,
    #[serde(default)]
    partition: Option<i32>,
    #[serde(default, rename = "topic")]
    _topic: serde::de::IgnoredAny,
    #[serde(default, rename = "offset")]
    _offset: serde::de::IgnoredAny,
    #[serde(default, rename = "tstype")]
    _tstype: serde::de::IgnoredAny,
    #[serde(default, rename = "broker")]
    _broker: serde::de::IgnoredAny,
}

/// Bytes in JSON.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a string, null, or {\"base64\": \"..\"} expected")]
enum Text<'a> {
    Plain(#[serde(borrow)] Cow<'a, str>),
    Base64 {
        #[serde(borrow)]
        base64: Cow<'a, str>,
    },
}

impl Text<'_> {
    fn bytes(&self) -> Result<Cow<'_, [u8]>, String> {
        match self {
            Self::Plain(text) => Ok(Cow::Borrowed(text.as_bytes())),
            Self::Base64 { base64 } => format::json::from_base64(base64).map(Cow::Owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn shape(flags: &str) -> Shape {
        let words = ["rkafka", "produce", "t"].into_iter().chain(flags.split_whitespace());
        let Command::Produce(args) = Cli::try_parse_from(words).unwrap().command else { panic!("it is produce") };
        Shape::from_args(&args).unwrap()
    }

    type Parts = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, Option<i32>, Option<i64>);

    fn record(flags: &str, line: &[u8]) -> Result<Parts, String> {
        let shape = shape(flags);
        shape.with_record(line, &shape.common_headers(), |record| {
            let headers = record.headers.as_slice().iter();
            let headers = headers.map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec))).collect();
            let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            (own(record.key), own(record.value), headers, record.partition, record.timestamp)
        })
    }

    fn key_and_value(flags: &str, line: &str) -> (Option<String>, Option<String>) {
        let (key, value, ..) = record(flags, line.as_bytes()).unwrap();
        let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
        (text(key), text(value))
    }

    #[test]
    fn the_first_delimiter_ends_the_key() {
        let pair = |key: Option<&str>, value: Option<&str>| (key.map(str::to_owned), value.map(str::to_owned));
        assert_eq!(key_and_value("-K :", "a:b:c"), pair(Some("a"), Some("b:c")));
        assert_eq!(key_and_value("-K :", "abc"), pair(None, Some("abc")));
        assert_eq!(key_and_value("-K :", ":"), pair(Some(""), Some("")));
        assert_eq!(key_and_value("-K : -Z", ":"), pair(None, None));
        assert_eq!(key_and_value("-K \\t", "a\tb"), pair(Some("a"), Some("b")));
        assert_eq!(key_and_value("-k all", "x"), pair(Some("all"), Some("x")));
        assert_eq!(key_and_value("", ""), pair(None, Some("")));
        assert_eq!(key_and_value("-Z", ""), pair(None, None));
    }

    #[test]
    fn headers_may_be_null_empty_and_repeated() {
        let (_, _, headers, partition, _) = record("-H a=1 -H b= -H c -H a=x=y -p 3", b"v").unwrap();
        let expected = [("a", Some(&b"1"[..])), ("b", Some(b"")), ("c", None), ("a", Some(b"x=y"))];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))));
        assert_eq!(partition, Some(3));
    }

    #[test]
    fn json_is_read_as_it_is_written() {
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"\xff")), (b"h", None)];
        let printed = format::Printed {
            topic: "other",
            partition: 2,
            broker: None,
            offset: 9,
            timestamp_ms: 7,
            log_append_time: false,
            key: Some(b"\xfe\n"),
            value: Some("ü\"".as_bytes()),
            headers,
        };
        let mut line = Vec::new();
        format::json::line(&printed, &mut line);
        let (key, value, headers, partition, timestamp) = record("-J", &line).unwrap();
        assert_eq!(key.as_deref(), Some(&b"\xfe\n"[..]));
        assert_eq!(value.as_deref(), Some("ü\"".as_bytes()));
        assert_eq!(headers, [("h".to_owned(), Some(vec![0xff])), ("h".to_owned(), None)]);
        assert_eq!((partition, timestamp), (Some(2), Some(7)));
        assert_eq!(record("-J", b"{}").unwrap(), (None, None, Vec::new(), None, None));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (line, part) in [
            (&b"plain"[..], "not what -J reads"),
            (b"{\"payload\": 5}", "base64"),
            (b"{\"payload\": {\"base64\": \"?\"}}", "not base64"),
            (b"{\"paylaod\": \"x\"}", "paylaod"),
            (b"{\"headers\": [\"a\"]}", "behind each name"),
            (b"{\"headers\": [null, \"a\"]}", "must be a string"),
        ] {
            let error = record("-J", line).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
