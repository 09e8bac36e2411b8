//! `rkafka topics trim`.

use std::collections::BTreeMap;

use rkafka::admin::{OffsetSpec, RecordsToDelete};

use super::super::items::Outcome;
use super::super::offsets::{existing, remove};
use crate::args::{TIME_DIGITS, TrimTopics, time};
use crate::connect;
use crate::exit::{Exit, Failure};

/// Before what records are to go.
enum Before {
    End,
    Offset(i64),
    Time(i64),
}

impl Before {
    fn parse(text: &str, now_ms: i64) -> Result<Self, Failure> {
        let is_number = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
        match text {
            "end" | "latest" => Ok(Self::End),
            // So few digits always fit.
            _ if is_number && text.len() < TIME_DIGITS => Ok(Self::Offset(text.parse().unwrap_or(i64::MAX))),
            _ => time(text, now_ms).map(Self::Time).map_err(|_| {
                Failure::usage(format!("--to {text}: write end, an offset, a time as 2026-01-31T12:00:00Z, or -7d"))
            }),
        }
    }
}

/// Deletes the oldest records, once that is agreed to.
pub async fn run(args: &TrimTopics) -> Result<Exit, Failure> {
    let before = Before::parse(&args.to, super::super::now_ms())?;
    let admin = connect::admin(&args.connection).await?;
    let mut outcome = Outcome::default();
    let partitions = existing(&admin, &args.topics, &mut outcome).await?;
    let mut places = BTreeMap::new();
    match before {
        Before::End => places.extend(partitions.into_iter().map(|one| (one, RecordsToDelete::All))),
        Before::Offset(offset) => {
            places.extend(partitions.into_iter().map(|one| (one, RecordsToDelete::Before(offset))));
        }
        Before::Time(time) if !partitions.is_empty() => {
            let asked = partitions.into_iter().map(|one| (one, OffsetSpec::Timestamp(time)));
            for (partition, result) in admin.list_offsets(asked).await? {
                match result {
                    // Without a record of that time or later, all there is was before it.
                    Ok(listed) => {
                        let what = listed.offset.map_or(RecordsToDelete::All, RecordsToDelete::Before);
                        places.insert(partition, what);
                    }
                    Err(error) => outcome.failed(&Failure::from(error)),
                }
            }
        }
        Before::Time(_) => {}
    }
    remove(&admin, places, &args.consent, &args.form, args.connection.quiet, outcome).await
}
