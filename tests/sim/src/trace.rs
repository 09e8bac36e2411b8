//! What happened, boiled down to one number.

use twox_hash::XxHash3_64;

/// A hash over everything that happened in a run, in its order: equal hashes mean equal runs.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
}

impl Trace {
    /// Takes note of an event: what kind of one, when, and what else tells it from others.
    pub fn note(&mut self, kind: &str, at_us: u64, numbers: &[u64], bytes: &[u8]) {
        let mut all = Vec::with_capacity(kind.len() + 8 * numbers.len() + 24);
        all.extend_from_slice(&self.hash.to_le_bytes());
        all.extend_from_slice(&at_us.to_le_bytes());
        all.extend_from_slice(kind.as_bytes());
        for number in numbers {
            all.extend_from_slice(&number.to_le_bytes());
        }
        all.extend_from_slice(&XxHash3_64::oneshot(bytes).to_le_bytes());
        self.hash = XxHash3_64::oneshot(&all);
        self.events += 1;
    }

    /// The hash so far, and over how many events.
    pub fn so_far(&self) -> (u64, u64) {
        (self.hash, self.events)
    }
}
