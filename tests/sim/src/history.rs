//! What clients saw, and what must hold of it.

use std::collections::BTreeMap;

/// A record that a producer sends: who, and which of its records for this partition, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Payload {
    /// The producer.
    pub producer: u64,
    /// The number of the record among those of this producer and partition.
    pub number: u64,
}

impl Payload {
    /// The value of the record, of some length.
    pub fn to_value(self, padding: usize) -> String {
        format!("{}/{}/{}", self.producer, self.number, "x".repeat(padding))
    }

    /// What a value says.
    pub fn of_value(value: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.split('/');
        Some(Self { producer: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? })
    }
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct History {
    /// Which record is where, by partition and offset, as somebody was told first.
    records: BTreeMap<(i32, i64), Payload>,
    /// Acknowledged records whose offsets nobody told (a retry found them written).
    unplaced: Vec<(i32, Payload)>,
    /// The acknowledged ones among `records`.
    acknowledged: BTreeMap<(i32, i64), Payload>,
    /// How many records were given to producers, were acknowledged, failed, and were read.
    pub sent: u64,
    /// As `sent`.
    pub acked: u64,
    /// As `sent`.
    pub failed: u64,
    /// As `sent`.
    pub read: u64,
    violations: Vec<String>,
}

impl History {
    /// Takes note of something that must not be.
    pub fn violate(&mut self, words: String) {
        self.violations.push(words);
    }

    /// What must not be and was, so far.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    fn place(&mut self, partition: i32, offset: i64, payload: Payload, who: &str) {
        let known = *self.records.entry((partition, offset)).or_insert(payload);
        if known != payload {
            self.violate(format!(
                "inconsistent offsets: partition {partition} offset {offset} is {known:?}, and {payload:?} for {who}"
            ));
        }
    }

    /// A producer was told that its record is written.
    pub fn acknowledge(&mut self, partition: i32, offset: i64, payload: Payload) {
        self.acked += 1;
        if offset < 0 {
            self.unplaced.push((partition, payload));
            return;
        }
        self.place(partition, offset, payload, "its producer");
        self.acknowledged.insert((partition, offset), payload);
    }

    /// A consumer read a record.
    pub fn consume(&mut self, partition: i32, offset: i64, value: &[u8], who: &str) {
        self.read += 1;
        match Payload::of_value(value) {
            Some(payload) => self.place(partition, offset, payload, who),
            None => self.violate(format!("partition {partition} offset {offset}: nobody wrote {value:?}")),
        }
    }

    /// Judges what is in the log at the end, by partition and offset.
    pub fn judge(&mut self, log: &BTreeMap<(i32, i64), Payload>) {
        let mut words = Vec::new();
        for (place, payload) in &self.records {
            if log.get(place) != Some(payload) {
                let kind =
                    if self.acknowledged.contains_key(place) { "lost write" } else { "a record that was read is gone" };
                words.push(format!("{kind}: {payload:?} was at {place:?}, where now is {:?}", log.get(place)));
            }
        }
        let mut places: BTreeMap<(i32, Payload), i64> = BTreeMap::new();
        let mut last: BTreeMap<(i32, u64), u64> = BTreeMap::new();
        for (&(partition, offset), payload) in log {
            if let Some(first) = places.insert((partition, *payload), offset) {
                words.push(format!("duplicate: {payload:?} is in partition {partition} at {first} and at {offset}"));
            }
            let before = last.insert((partition, payload.producer), payload.number);
            if before.is_some_and(|before| before >= payload.number) {
                words.push(format!("order: {payload:?} comes after {before:?} in partition {partition} at {offset}"));
            }
        }
        for (partition, payload) in &self.unplaced {
            if !places.contains_key(&(*partition, *payload)) {
                words.push(format!("lost write: {payload:?} is nowhere in partition {partition}"));
            }
        }
        words.truncate(20);
        self.violations.append(&mut words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Payload = Payload { producer: 1, number: 0 };
    const SECOND: Payload = Payload { producer: 1, number: 1 };

    fn judged(history: &mut History, log: &[(i64, Payload)]) -> String {
        history.judge(&log.iter().map(|(offset, payload)| ((0, *offset), *payload)).collect());
        history.violations().join("\n")
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let mut history = History::default();
        history.acknowledge(0, 0, FIRST);
        history.consume(0, 1, SECOND.to_value(3).as_bytes(), "a consumer");
        assert_eq!(judged(&mut history, &[(0, FIRST), (1, SECOND)]), "");
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        let mut history = History::default();
        history.acknowledge(0, 1, SECOND);
        assert!(judged(&mut history, &[(0, FIRST)]).starts_with("lost write"));
        let mut history = History::default();
        history.acknowledge(0, -1, SECOND);
        assert!(judged(&mut history, &[(0, FIRST)]).starts_with("lost write"));
    }

    #[test]
    fn an_offset_has_one_record() {
        let mut history = History::default();
        history.acknowledge(0, 0, FIRST);
        history.consume(0, 0, SECOND.to_value(0).as_bytes(), "a consumer");
        assert!(history.violations()[0].starts_with("inconsistent offsets"));
        history.consume(0, 1, b"?", "a consumer");
        assert!(history.violations()[1].contains("nobody wrote"));
    }

    #[test]
    fn a_record_is_there_once_and_in_order() {
        assert!(judged(&mut History::default(), &[(0, FIRST), (1, FIRST)]).starts_with("duplicate"));
        assert!(judged(&mut History::default(), &[(0, SECOND), (1, FIRST)]).starts_with("order"));
    }
}
