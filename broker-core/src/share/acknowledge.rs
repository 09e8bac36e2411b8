//! What a member says of the records that it has.

use rkafka_protocol::ErrorCode;

use super::partition::{DeliveryState, Hold, PersistedBatch};
use super::{SharePartition, ShareSettings, StateChange};

/// What a member says of a record, in the numbers of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum AcknowledgeType {
    /// There is no record at the offset.
    Gap = 0,
    /// It was processed.
    Accept = 1,
    /// It could not be processed now; another member may.
    Release = 2,
    /// It can never be processed.
    Reject = 3,
    /// It is still being processed: the lock is to go on (KIP-1222).
    Renew = 4,
}

impl AcknowledgeType {
    /// The type that has this number.
    pub fn of_code(code: i8) -> Option<Self> {
        [Self::Gap, Self::Accept, Self::Release, Self::Reject, Self::Renew].into_iter().find(|kind| *kind as i8 == code)
    }
}

/// What a member says of a run of offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement<'a> {
    /// The first offset.
    pub first_offset: i64,
    /// The last offset, which belongs to the run.
    pub last_offset: i64,
    /// One type for all, or one for each offset, by number.
    pub types: &'a [i8],
}

impl Acknowledgement<'_> {
    /// Checks what can be checked without the partition: the runs ascend and do not overlap, and their types exist.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, with what is wrong.
    pub fn check_all(batches: &[Acknowledgement<'_>], may_renew: bool) -> Result<(), (ErrorCode, String)> {
        let mut reached = -1;
        for batch in batches {
            let refuse = |why: String| Err((ErrorCode::InvalidRequest, why));
            let Acknowledgement { first_offset: first, last_offset: last, types } = *batch;
            if first < 0 || last < first {
                return refuse(format!("{first} to {last} are no offsets of a batch"));
            }
            if first <= reached {
                return refuse(format!("the batch at {first} begins before the one ahead of it ends, at {reached}"));
            }
            reached = last;
            let is_one_each = i64::try_from(types.len()).is_ok_and(|count| count - 1 == last - first);
            if types.len() != 1 && !is_one_each {
                return refuse(format!("{} types for the offsets {first} to {last}", types.len()));
            }
            for code in types {
                match AcknowledgeType::of_code(*code) {
                    None => return refuse(format!("there is no acknowledge type {code}")),
                    Some(AcknowledgeType::Renew) if !may_renew => {
                        return refuse("the request does not say that it renews".to_owned());
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    fn kind_at(&self, offset: i64) -> Option<AcknowledgeType> {
        let code = match self.types {
            [all] => all,
            each => each.get(usize::try_from(offset.checked_sub(self.first_offset)?).ok()?)?,
        };
        AcknowledgeType::of_code(*code)
    }

    /// The runs of this batch within `first..=last` that have one type.
    fn runs(&self, first: i64, last: i64) -> Vec<(i64, i64, Option<AcknowledgeType>)> {
        if self.types.len() == 1 {
            return vec![(first, last, self.kind_at(first))];
        }
        let mut runs: Vec<(i64, i64, Option<AcknowledgeType>)> = Vec::new();
        for offset in first..=last {
            let kind = self.kind_at(offset);
            match runs.last_mut() {
                Some(run) if run.2 == kind => run.1 = offset,
                _ => runs.push((offset, offset, kind)),
            }
        }
        runs
    }
}

impl SharePartition {
    /// What comes of a member's acknowledgements: all of them or none. The batches passed
    /// [`Acknowledgement::check_all`]. What lies below the start is done with already, and is skipped.
    ///
    /// # Errors
    /// `INVALID_RECORD_STATE` where an offset is not with this member, `INVALID_REQUEST` for an unknown type.
    pub fn decide_acknowledge(
        &self,
        now_ms: i64,
        member: &str,
        batches: &[Acknowledgement<'_>],
        settings: &ShareSettings,
    ) -> Result<StateChange, ErrorCode> {
        let (mut fates, mut renewed) = (Vec::new(), Vec::new());
        let until_ms = now_ms.saturating_add(settings.record_lock_duration_ms);
        for batch in batches {
            let mut expected = batch.first_offset.max(self.start_offset);
            for (from, span) in self.overlapping(expected, batch.last_offset) {
                let (first, last) = (from.max(expected), span.last.min(batch.last_offset));
                let is_held = matches!(&span.hold, Hold::Acquired { member: holder, .. } if **holder == *member);
                if first != expected || !is_held {
                    return Err(ErrorCode::InvalidRecordState);
                }
                for (first_offset, last_offset, kind) in batch.runs(first, last) {
                    let state = match kind.ok_or(ErrorCode::InvalidRequest)? {
                        AcknowledgeType::Accept => DeliveryState::Acknowledged,
                        AcknowledgeType::Reject | AcknowledgeType::Gap => DeliveryState::Archived,
                        AcknowledgeType::Release => Self::returned(span.delivery_count, settings),
                        AcknowledgeType::Renew => {
                            renewed.push((first_offset, last_offset, until_ms));
                            continue;
                        }
                    };
                    let delivery_count = span.delivery_count;
                    fates.push(PersistedBatch { first_offset, last_offset, state, delivery_count });
                }
                expected = last + 1;
            }
            if expected <= batch.last_offset {
                return Err(ErrorCode::InvalidRecordState);
            }
        }
        Ok(StateChange { batches: fates, renewed })
    }
}
