//! Units that a setting's text may carry, and the unit that its name carries.

use std::time::Duration;

const NANOS: u128 = 1;
const MILLIS: u128 = 1_000_000;
const SECOND: u128 = 1_000 * MILLIS;

/// The nanoseconds of one unit of a setting called `name`: `.ms` unless the name says otherwise.
fn unit_of_name(name: &str) -> u128 {
    match name.rsplit('.').next() {
        Some("ns") => NANOS,
        Some("seconds" | "secs") => SECOND,
        Some("minutes") => 60 * SECOND,
        Some("hours") => 3_600 * SECOND,
        Some("days") => 86_400 * SECOND,
        _ => MILLIS,
    }
}

/// Splits `5ms` into `5` and `ms`; `None` where no digits lead.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit.trim()))
}

/// Reads a duration: a plain number in the unit of the name, or a number with `ns`, `us`, `ms`, `s`, `m`, `h`, `d`.
pub(crate) fn parse_duration(text: &str, name: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let unit = match unit {
        "" => unit_of_name(name),
        "ns" => NANOS,
        "us" => 1_000,
        "ms" => MILLIS,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        _ => return None,
    };
    // 2^64 times a day in nanoseconds stays below 2^128.
    let nanos = u128::from(number) * unit;
    Some(Duration::new(u64::try_from(nanos / SECOND).ok()?, (nanos % SECOND) as u32))
}

/// Reads a duration outside of a setting, such as a flag's: a number with a unit, or a plain number of milliseconds.
pub fn duration_ms(text: &str) -> Option<Duration> {
    parse_duration(text, "ms")
}

/// Writes a duration so that [`parse_duration`] reads the same one.
pub(crate) fn format_duration(duration: Duration, name: &str) -> String {
    let nanos = duration.as_nanos();
    let unit = unit_of_name(name);
    // A plain number must fit the 64 bits that are read back; a unit smaller than the name's has no such room to lose.
    if nanos.is_multiple_of(unit) && nanos / unit <= u128::from(u64::MAX) {
        (nanos / unit).to_string()
    } else if nanos.is_multiple_of(SECOND) {
        format!("{}s", nanos / SECOND)
    } else if nanos.is_multiple_of(MILLIS) {
        format!("{}ms", nanos / MILLIS)
    } else if nanos.is_multiple_of(1_000) {
        format!("{}us", nanos / 1_000)
    } else {
        format!("{nanos}ns")
    }
}

/// Whether a setting called `name` is a size in bytes, so that its text may say `64KiB`.
pub(crate) fn is_byte_size(name: &str) -> bool {
    matches!(name.rsplit('.').next(), Some("bytes" | "size" | "memory"))
}

/// Reads a size with a unit (`64KiB`, `1MiB`, `2GiB`, `1TiB`, `10B`); plain numbers are not read here.
pub(crate) fn parse_byte_size(text: &str) -> Option<i128> {
    let (number, unit) = split_number(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    Some(i128::from(number) << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_the_unit_of_the_name_or_their_own() {
        for (text, name, millis) in [
            ("5", "linger.ms", 5),
            ("5s", "linger.ms", 5_000),
            ("500ms", "linger.ms", 500),
            ("1m", "x.ms", 60_000),
            ("7d", "log.retention.ms", 604_800_000),
            ("2", "log.retention.hours", 7_200_000),
            ("9223372036854775807", "x.ms", i64::MAX as u64),
        ] {
            let duration = parse_duration(text, name).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(parse_duration(&format_duration(duration, name), name), Some(duration));
        }
        for bad in ["", "-1", "5x", "ms", "1.5s", "99999999999999999999", "18446744073709551615d"] {
            assert_eq!(parse_duration(bad, "x.ms"), None, "{bad}");
        }
        assert_eq!(format_duration(Duration::from_micros(2_500), "x.ms"), "2500us");
    }
}
