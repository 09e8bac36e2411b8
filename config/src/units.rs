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

/// Reads a duration as ISO 8601 writes it, `PnDTnHnMn.nS`, of which any part may be left out: what Kafka takes after
/// `by_duration:`. `None` for anything else; a negative duration is none either.
pub fn parse_iso_duration(text: &str) -> Option<Duration> {
    let text = text.to_ascii_uppercase();
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (text.strip_prefix('P')?, ""),
    };
    let mut total = Duration::ZERO;
    let mut parts = 0;
    for (mut rest, units) in [(days, &[('D', 86_400)][..]), (time, &[('H', 3_600), ('M', 60), ('S', 1)])] {
        for (unit, seconds) in units {
            let Some((number, after)) = rest.split_once(*unit) else { continue };
            let (whole, nanos) = match number.split_once('.') {
                Some((whole, fraction)) if *unit == 'S' => (whole, nanos_of_fraction(fraction)?),
                Some(_) => return None,
                None => (number, 0),
            };
            let whole = digits(whole)?.checked_mul(*seconds)?;
            total = total.checked_add(Duration::new(whole, nanos))?;
            rest = after;
            parts += 1;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    (parts > 0).then_some(total)
}

/// Writes a duration so that [`parse_iso_duration`] reads the same one, in hours, minutes and seconds as Java does.
pub fn format_iso_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let mut text = String::from("PT");
    for (count, unit) in [(seconds / 3_600, 'H'), (seconds / 60 % 60, 'M')] {
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if nanos > 0 {
        let fraction = format!("{nanos:09}");
        text.push_str(&format!("{}.{}S", seconds % 60, fraction.trim_end_matches('0')));
    } else if seconds % 60 > 0 || text.len() == 2 {
        text.push_str(&format!("{}S", seconds % 60));
    }
    text
}

/// A number of digits alone: no sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The nanoseconds of the digits behind the point, nine at most.
fn nanos_of_fraction(fraction: &str) -> Option<u32> {
    if fraction.len() > 9 {
        return None;
    }
    let value = if fraction.is_empty() { 0 } else { digits(fraction)? };
    u32::try_from(value.checked_mul(10u64.checked_pow(9 - u32::try_from(fraction.len()).ok()?)?)?).ok()
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
    fn durations_of_iso_8601() {
        for (text, millis) in [
            ("P1DT2H3M4S", 93_784_000),
            ("PT10M", 600_000),
            ("PT0S", 0),
            ("PT0.5S", 500),
            ("pt1h", 3_600_000),
            ("P7D", 604_800_000),
            ("PT36H0.001S", 129_600_001),
        ] {
            let duration = parse_iso_duration(text);
            assert_eq!(duration, Some(Duration::from_millis(millis)), "{text}");
            assert_eq!(parse_iso_duration(&format_iso_duration(duration.unwrap())), duration, "{text}");
        }
        assert_eq!(format_iso_duration(Duration::from_millis(93_784_250)), "PT26H3M4.25S");
        assert_eq!(format_iso_duration(Duration::ZERO), "PT0S");
        for bad in [
            "",
            "P",
            "PT",
            "P1DT",
            "P1H",
            "PT1",
            "PT-5M",
            "-PT5M",
            "PT+5M",
            "P1Y",
            "PT1.5H",
            "1h",
            "PT1S ",
            "PT99999999999999999999S",
            "P18446744073709551615D",
            "PTS",
            "PT.1234567890S",
        ] {
            assert_eq!(parse_iso_duration(bad), None, "{bad}");
        }
    }

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
