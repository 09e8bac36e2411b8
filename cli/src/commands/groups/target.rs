//! Where the offsets of a group are to go.

use std::collections::BTreeMap;

use rkafka::admin::TopicPartition;

use crate::args::{ResetGroup, TIME_DIGITS, time};
use crate::exit::Failure;

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The first record.
    Earliest,
    /// The end.
    Latest,
    /// Where it is.
    Current,
    /// An offset.
    Offset(i64),
    /// The first record of this time or later, in milliseconds since 1970.
    Time(i64),
    /// So many records on.
    Shift(i64),
    /// What a file says of each partition.
    File(BTreeMap<TopicPartition, i64>),
    /// Where another group is.
    Group(String),
}

impl Target {
    /// What the command line says; `now_ms` is what times before now are counted from.
    pub fn from_args(args: &ResetGroup, now_ms: i64) -> Result<Self, Failure> {
        let at = |text: &str| time(text, now_ms).map_err(|error| Failure::usage(format!("--to-datetime: {error}")));
        let back = |time: std::time::Duration| {
            now_ms.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)).max(0)
        };
        match args {
            _ if args.to_earliest => Ok(Self::Earliest),
            _ if args.to_latest => Ok(Self::Latest),
            _ if args.to_current => Ok(Self::Current),
            ResetGroup { to_offset: Some(offset), .. } => Ok(Self::Offset(*offset)),
            ResetGroup { to_datetime: Some(text), .. } => Ok(Self::Time(at(text)?)),
            ResetGroup { by_duration: Some(time), .. } => Ok(Self::Time(back(*time))),
            ResetGroup { shift_by: Some(count), .. } => Ok(Self::Shift(*count)),
            ResetGroup { from_file: Some(path), .. } => file(&path.to_string_lossy(), &args.group),
            ResetGroup { to: Some(text), .. } => Self::parse(text, &args.group, now_ms),
            _ => Err(Failure::usage("say where to, by --to")),
        }
    }

    fn parse(text: &str, group: &str, now_ms: i64) -> Result<Self, Failure> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
        let number = |text: &str| text.parse().map_err(|_| Failure::usage(format!("--to {text}: too large")));
        if let Some(path) = text.strip_prefix("file:") {
            return file(path, group);
        }
        if let Some(other) = text.strip_prefix("group:") {
            return Ok(Self::Group(other.to_owned()));
        }
        match text {
            "earliest" | "beginning" | "start" => Ok(Self::Earliest),
            "latest" | "end" => Ok(Self::Latest),
            "current" => Ok(Self::Current),
            _ if digits(text) && text.len() < TIME_DIGITS => Ok(Self::Offset(number(text)?)),
            _ if text.strip_prefix(['+', '-']).is_some_and(digits) => Ok(Self::Shift(number(text)?)),
            _ => time(text, now_ms).map(Self::Time).map_err(|_| {
                Failure::usage(format!(
                    "--to {text}: write earliest, latest, current, an offset, +N, -N, a date, -2h, file:FILE or group:GROUP"
                ))
            }),
        }
    }
}

fn file(path: &str, group: &str) -> Result<Target, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("cannot read {path}: {error}")))?;
    lines(&text, group).map(Target::File).map_err(|error| Failure::usage(format!("{path}, {error}")))
}

/// Reads what Kafka's own tool writes by `--export`, for one group or several. Lines of other groups are passed over.
fn lines(text: &str, group: &str) -> Result<BTreeMap<TopicPartition, i64>, String> {
    let mut offsets = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let bad = || format!("line {}: write TOPIC,PARTITION,OFFSET", index + 1);
        let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let (topic, partition, offset) = match fields.as_slice() {
            [""] => continue,
            [topic, partition, offset] => (topic, partition, offset),
            [of, topic, partition, offset] if *of == group => (topic, partition, offset),
            [_, _, _, _] => continue,
            _ => return Err(bad()),
        };
        let partition = partition.parse::<i32>().ok().filter(|number| *number >= 0).ok_or_else(bad)?;
        let offset = offset.parse::<i64>().ok().filter(|number| *number >= 0).ok_or_else(bad)?;
        if offsets.insert(TopicPartition::new(*topic, partition), offset).is_some() {
            return Err(format!("line {}: {topic}-{partition} was there already", index + 1));
        }
    }
    if offsets.is_empty() { Err(format!("it has no offsets for group `{group}`")) } else { Ok(offsets) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn every_place_that_the_help_names() {
        for (text, target) in [
            ("earliest", Target::Earliest),
            ("latest", Target::Latest),
            ("current", Target::Current),
            ("42", Target::Offset(42)),
            ("+5", Target::Shift(5)),
            ("-5", Target::Shift(-5)),
            ("-2h", Target::Time(NOW - 7_200_000)),
            ("1700000000000", Target::Time(1_700_000_000_000)),
            ("2026-01-31", Target::Time(1_769_817_600_000)),
            ("group:other", Target::Group("other".into())),
        ] {
            assert_eq!(Target::parse(text, "g", NOW).unwrap(), target, "{text}");
        }
        for bad in ["", "+", "-", "soon", "5h", "+99999999999999999999", "file:/nowhere/x"] {
            assert!(Target::parse(bad, "g", NOW).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_of_one_group_and_of_several() {
        let expected = BTreeMap::from([(TopicPartition::new("t", 0), 5), (TopicPartition::new("t", 1), 7)]);
        assert_eq!(lines("t,0,5\nt,1,7\n", "g").unwrap(), expected);
        assert_eq!(lines("\"g\",\"t\",0,5\n\ng,t,1,7\nother,t,0,9\n", "g").unwrap(), expected);
        for (bad, part) in [
            ("t,0\n", "line 1"),
            ("t,0,5\nt,0,x", "line 2"),
            ("t,0,-5", "line 1"),
            ("t,0,5\nt,0,6", "already"),
            ("other,t,0,5", "no offsets"),
            ("", "no offsets"),
        ] {
            assert!(lines(bad, "g").unwrap_err().contains(part), "{bad}");
        }
    }
}
