//! What must hold after every step, by the numbers of the design's list of invariants.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::Partition;
use super::cluster::batches;
use super::controller::Said;

/// A log as it is read back: by offset the epoch and the value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    pub entries: BTreeMap<i64, (i32, Vec<u8>)>,
    pub end: i64,
    pub high_watermark: i64,
}

impl Known {
    pub fn read(partition: &Arc<Partition>) -> Self {
        let mut known = Self::default();
        let found = partition.with_log(0, |log| {
            let mut from = log.log_start_offset();
            let end = log.log_end_offset();
            while from < end {
                let read = log.read(from, 1 << 20, end, true).expect("a log can be read");
                batches(&read.records, |offset, epoch, value| {
                    known.entries.insert(offset, (epoch, value.to_vec()));
                });
                assert!(read.next_offset > from, "a read gets on");
                from = read.next_offset;
            }
            (end, log.high_watermark())
        });
        if let Ok((end, high_watermark)) = found {
            (known.end, known.high_watermark) = (end, high_watermark);
        }
        known
    }
}

#[derive(Debug, Default)]
pub struct Checks {
    /// What was below a high watermark anywhere, for ever.
    committed: BTreeMap<i64, (i32, Vec<u8>)>,
    acknowledged: BTreeMap<i64, u64>,
    values: BTreeMap<u64, i64>,
    /// The end, the high watermark and the leader epoch of each broker at the last look.
    last: [Option<(i64, i64, Option<i32>)>; 3],
    /// The greatest high watermark of a leader.
    true_high_watermark: i64,
    /// The leader epochs that were looked at when they began.
    begun: Option<i32>,
}

impl Checks {
    pub fn acknowledged(&mut self, offset: i64, value: u64) {
        // 10: an offset is one record's, and a record is once in the log (15).
        if let Some(other) = self.acknowledged.insert(offset, value) {
            assert_eq!(other, value, "offset {offset} was acknowledged for two records");
        }
        if let Some(other) = self.values.insert(value, offset) {
            assert_eq!(other, offset, "record {value} was acknowledged at two offsets");
        }
    }

    pub fn acknowledged_end(&self) -> i64 {
        self.acknowledged.last_key_value().map_or(0, |(offset, _)| offset + 1)
    }

    pub fn has_all_acknowledged(&self, known: &Known) -> bool {
        self.acknowledged.iter().all(|(offset, value)| {
            known.entries.get(offset).is_some_and(|(_, found)| found[..] == value.to_be_bytes()[..])
        })
    }

    /// A broker that stopped is a new one when it comes back.
    pub fn forget(&mut self, id: usize) {
        self.last[id] = None;
    }

    pub fn look(&mut self, id: usize, partition: &Arc<Partition>, said: &Said) {
        if partition.is_asleep() {
            return;
        }
        let bounds = partition.with_log(0, |log| (log.log_end_offset(), log.high_watermark()));
        let Ok((end, high_watermark)) = bounds else { return };
        let led = partition.led_epoch().ok();
        let is_leader = led == Some(said.leader_epoch) && said.leader == id as i32;
        let last = self.last[id].replace((end, high_watermark, led));
        if let Some((last_end, last_high_watermark, last_led)) = last {
            if led.is_some() && led == last_led {
                // 1
                assert!(high_watermark >= last_high_watermark, "the high watermark of leader {id} went back");
            }
            // 2
            assert!(
                end >= last_end.min(last_high_watermark),
                "broker {id} cut its log to {end}, below its high watermark {last_high_watermark}"
            );
        }
        if led.is_some() {
            self.true_high_watermark = self.true_high_watermark.max(high_watermark);
        }
        // 5: whoever may be elected has everything.
        if said.isr.contains(&(id as i32)) || said.elr.contains(&(id as i32)) {
            assert!(
                end >= self.true_high_watermark,
                "broker {id} may be elected and ends at {end}, before the high watermark {}: {said:?}",
                self.true_high_watermark
            );
        }
        // What follows is of what is in the log, which is as it was where its bounds and who leads are.
        if last == self.last[id] && (!is_leader || self.begun == Some(said.leader_epoch)) {
            return;
        }
        let known = Known::read(partition);
        // 3: what is below a high watermark is the same everywhere and for ever.
        for (offset, entry) in known.entries.range(..high_watermark) {
            let first = self.committed.entry(*offset).or_insert_with(|| entry.clone());
            assert_eq!(first, entry, "broker {id} has something else at offset {offset}");
        }
        // 4: the leader has all that was acknowledged.
        if is_leader {
            for (offset, value) in &self.acknowledged {
                let found = known.entries.get(offset).map(|(_, value)| &value[..]);
                assert_eq!(found, Some(&value.to_be_bytes()[..]), "leader {id} lost offset {offset}: {said:?}");
            }
            self.begun = Some(said.leader_epoch);
        }
    }

    /// After everything has settled: all logs are the same, and nothing that was acknowledged is in them twice.
    pub fn finish(&self, logs: &[Known]) {
        for (at, pair) in logs.windows(2).enumerate() {
            assert_eq!(pair[0].entries, pair[1].entries, "brokers {at} and {} differ", at + 1);
            assert_eq!(pair[0].high_watermark, pair[1].high_watermark, "brokers {at} and {} know differently", at + 1);
        }
        let Some(log) = logs.first() else { return };
        assert_eq!(log.high_watermark, log.end, "all is replicated in the end");
        let mut offsets: BTreeMap<&[u8], i64> = BTreeMap::new();
        for (offset, (_, value)) in &log.entries {
            let other = offsets.insert(value, *offset);
            assert_eq!(other, None, "the record at offset {offset} is in the log twice");
        }
        assert!(self.has_all_acknowledged(log), "something acknowledged is lost");
    }
}
