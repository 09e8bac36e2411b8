//! How to reach the cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Options of every command that talks to a cluster.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Brokers to start from, as HOST:PORT,HOST:PORT
    ///
    /// Else `bootstrap.servers` of -X, RKAFKA_BROKERS, or what a profile or a file has, else localhost:9092.
    #[arg(short = 'b', long = "brokers", alias = "bootstrap-server", value_name = "BROKERS")]
    pub brokers: Option<String>,

    /// A setting by its Kafka name or librdkafka's, such as linger.ms=20 (may be repeated)
    ///
    /// Flags go before -X; then come RKAFKA_BROKERS and RKAFKA_X_LINGER_MS of the environment, .rkafka.toml in this
    /// directory, the profile, the file of -F, and the defaults. `rkafka config explain` says where each value is from.
    #[arg(short = 'X', long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,

    /// A file of settings in Java's .properties form, or librdkafka's [else RKAFKA_CONFIG]
    ///
    /// It may serve producer, consumer and admin at once: each command takes what it has a use for. It takes the place
    /// of the profile in use; one that is named by --profile goes before it.
    #[arg(short = 'F', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The profile to use [else RKAFKA_PROFILE, or what `rkafka profile use` chose]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// How long the cluster may take to answer, as 10s, 500ms or a number of milliseconds [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Say nothing on stderr but errors
    #[arg(short = 'q', long)]
    pub quiet: bool,

    /// Say more on stderr; twice for still more
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Whether this was typed as a command line of kcat, which knows no profiles and no variables of ours.
    #[arg(skip)]
    pub is_kcat: bool,
}

/// Reads `10s`, `500ms`, `1m`, or a number of milliseconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    rkafka::config::duration_ms(text).ok_or_else(|| format!("`{text}` is no time; write 10s, 500ms, 1m or 2h"))
}

/// From here on a number is a time, where it could be an offset too: it is a date of 1973 or later, and no offset that
/// people type.
pub const TIME_DIGITS: usize = 12;

/// A number of milliseconds since 1970, a date, or a time before now such as `-1h`.
pub fn time(text: &str, now_ms: i64) -> Result<i64, String> {
    if !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit()) {
        return text.parse().map_err(|_| format!("`{text}` is beyond all time"));
    }
    if let Some(back) = text.strip_prefix('-') {
        let back = duration(back)?;
        return Ok(now_ms.saturating_sub(i64::try_from(back.as_millis()).unwrap_or(i64::MAX)).max(0));
    }
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(timestamp.as_millisecond());
    }
    // Without a zone, a date is one of Greenwich, so that it means the same everywhere.
    let date: jiff::civil::DateTime = text.parse().map_err(|_| {
        format!("`{text}` is no time; write milliseconds since 1970, 2026-01-31T12:00:00Z, 2026-01-31 or -1h")
    })?;
    let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_or_are_milliseconds() {
        assert_eq!(duration("500").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("10s").unwrap(), Duration::from_secs(10));
        assert_eq!(duration("2h").unwrap(), Duration::from_secs(7_200));
        for bad in ["", "s", "1.5s", "-1s", "10x", "99999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
