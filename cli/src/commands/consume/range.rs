//! `-o`: where to start, and where to stop.

use crate::args::Consume;
use crate::args::time as parse_time;
use crate::exit::Failure;

/// Where reading starts in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the earliest record.
    Beginning,
    /// At the end, as it is now.
    End,
    /// At this offset.
    Offset(i64),
    /// So many records before the end.
    BeforeEnd(i64),
    /// At the first record that is not older, in milliseconds since 1970.
    Time(i64),
}

/// Where reading stops in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Never,
    /// At the end, as it is at the start.
    End,
    /// Before this offset.
    Offset(i64),
    /// Before the first record that is not older, in milliseconds since 1970; at the end where there is none.
    Time(i64),
}

/// Both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Where reading starts; `None` where nothing was said about it.
    pub from: Option<From>,
    /// Where reading stops.
    pub until: Until,
}

impl Range {
    /// What the command line says of it; `now_ms` is what times before now are counted from.
    pub fn from_args(args: &Consume, now_ms: i64) -> Result<Self, Failure> {
        let mut range = Self { from: None, until: Until::Never };
        for text in &args.offsets {
            let (from, until) = parse(text, now_ms).map_err(|error| Failure::usage(format!("-o {text}: {error}")))?;
            let twice = |what: &str| Failure::usage(format!("-o {text}: where to {what} was said already"));
            if let Some(from) = from
                && range.from.replace(from).is_some()
            {
                return Err(twice("start"));
            }
            if until != Until::Never {
                if range.until != Until::Never {
                    return Err(twice("stop"));
                }
                range.until = until;
            }
        }
        Ok(range)
    }
}

fn parse(text: &str, now_ms: i64) -> Result<(Option<From>, Until), String> {
    if let Some(time) = text.strip_prefix("s@") {
        return Ok((Some(From::Time(parse_time(time, now_ms)?)), Until::Never));
    }
    if let Some(time) = text.strip_prefix("e@") {
        return Ok((None, Until::Time(parse_time(time, now_ms)?)));
    }
    let (from, until) = text.split_once(':').map_or((text, None), |(from, until)| (from, Some(until)));
    let until = match until {
        None => Until::Never,
        Some("end") => Until::End,
        Some(until) => Until::Offset(parse_offset(until)?),
    };
    let from = match from {
        "" if until != Until::Never => None,
        "beginning" | "earliest" | "start" => Some(From::Beginning),
        "end" | "latest" => Some(From::End),
        from => Some(match from.strip_prefix('-') {
            Some(back) => From::BeforeEnd(parse_offset(back)?),
            None => From::Offset(parse_offset(from)?),
        }),
    };
    if let (Some(From::Offset(from)), Until::Offset(until)) = (from, until)
        && until < from
    {
        return Err("it stops before it starts".to_owned());
    }
    Ok((from, until))
}

fn parse_offset(text: &str) -> Result<i64, String> {
    let digits = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    let number = text.parse::<i64>().ok().filter(|_| digits);
    number.ok_or_else(|| "write beginning, end, N, -N, N:M, :end, s@TIME or e@TIME".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn every_form_that_the_help_names() {
        for (text, from, until) in [
            ("beginning", Some(From::Beginning), Until::Never),
            ("end", Some(From::End), Until::Never),
            ("7", Some(From::Offset(7)), Until::Never),
            ("-7", Some(From::BeforeEnd(7)), Until::Never),
            ("2:5", Some(From::Offset(2)), Until::Offset(5)),
            (":5", None, Until::Offset(5)),
            (":end", None, Until::End),
            ("beginning:end", Some(From::Beginning), Until::End),
            ("-3:end", Some(From::BeforeEnd(3)), Until::End),
            ("s@1700000000000", Some(From::Time(1_700_000_000_000)), Until::Never),
            ("s@-1h", Some(From::Time(NOW - 3_600_000)), Until::Never),
            ("e@2026-01-31T12:00:00Z", None, Until::Time(1_769_860_800_000)),
            ("e@2026-01-31", None, Until::Time(1_769_817_600_000)),
        ] {
            assert_eq!(parse(text, NOW), Ok((from, until)), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in
            ["banana", "", "1:", "--1", "-", "5:2", "s@", "s@yesterday", "1:2:3", "+5", "s@99999999999999999999"]
        {
            assert!(parse(text, NOW).is_err(), "{text}");
        }
    }
}
