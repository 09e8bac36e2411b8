//! What is in the log, beside what the producers were told.

use std::collections::HashMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use rkafka::client::{ClientSettings as _, TopicPartition};
use rkafka::consumer::{Consumer, ConsumerConfig, IsolationLevel, Start};

use super::load::{End, Fate, Ledger, RECORDS_OF_TRANSACTION, Transactions, offset_of};
use super::{PARTITIONS, RECORDS, TRANSACTIONS};
use crate::support::in_time;

/// The figures of a run.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    sent: u64,
    pub(super) acknowledged: u64,
    unknown: u64,
    unknown_and_there: u64,
    not_written: u64,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    at_other_offsets: u64,
    denied_and_there: u64,
    without_one_fate: u64,
    committed: u64,
    aborted: u64,
    in_doubt: u64,
    torn: u64,
    aborted_and_there: u64,
    wrong_offsets: u64,
    lives: u64,
}

impl Verdict {
    pub(super) fn is_good(&self) -> bool {
        let Self { lost, duplicated, out_of_order, at_other_offsets, denied_and_there, without_one_fate, .. } = self;
        let Self { torn, aborted_and_there, wrong_offsets, .. } = self;
        [lost, duplicated, out_of_order, at_other_offsets, denied_and_there, without_one_fate]
            .into_iter()
            .chain([torn, aborted_and_there, wrong_offsets])
            .all(|count| *count == 0)
    }
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.unknown_and_there += other.unknown_and_there;
        self.not_written += other.not_written;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.at_other_offsets += other.at_other_offsets;
        self.denied_and_there += other.denied_and_there;
        self.without_one_fate += other.without_one_fate;
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.in_doubt += other.in_doubt;
        self.torn += other.torn;
        self.aborted_and_there += other.aborted_and_there;
        self.wrong_offsets += other.wrong_offsets;
        self.lives += other.lives;
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} records sent, {} acknowledged, {} of unknown fate ({} of them there), {} not written; {} lost, {} \
             duplicated, {} out of order, {} at other offsets than told, {} there though denied, {} without exactly one \
             fate; transactions: {} committed, {} aborted, {} in doubt, by {} producers; {} torn, {} records of aborted \
             ones seen, {} groups with wrong offsets",
            self.sent,
            self.acknowledged,
            self.unknown,
            self.unknown_and_there,
            self.not_written,
            self.lost,
            self.duplicated,
            self.out_of_order,
            self.at_other_offsets,
            self.denied_and_there,
            self.without_one_fate,
            self.committed,
            self.aborted,
            self.in_doubt,
            self.lives,
            self.torn,
            self.aborted_and_there,
            self.wrong_offsets,
        )
    }
}

fn config(bootstrap: &str) -> ConsumerConfig {
    ConsumerConfig::new().bootstrap_servers(bootstrap).isolation_level(IsolationLevel::ReadCommitted)
}

/// Everything that a consumer with `read_committed` finds, each partition in its order, as (partition, offset, words).
async fn read(bootstrap: &str, topic: &str) -> Vec<(i32, i64, Vec<String>)> {
    let mut consumer = Consumer::connect(config(bootstrap)).await.expect("a consumer");
    consumer.assign((0..PARTITIONS).map(|partition| (topic, partition, Start::Beginning))).expect("assigned");
    let mut found = Vec::new();
    while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("a record") {
        let text = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
        let words = text.split(' ').take(3).map(str::to_owned).collect();
        found.push((record.partition(), record.offset(), words));
    }
    consumer.close().await.expect("closed");
    found
}

pub(super) async fn records(bootstrap: &str, ledgers: &[Arc<Ledger>]) -> Verdict {
    let mut verdict = Verdict::default();
    // By producer and number: how often it is there, and where.
    let mut there: HashMap<(String, usize), (u64, i64)> = HashMap::new();
    let mut last: HashMap<(String, i32), usize> = HashMap::new();
    for (partition, offset, words) in read(bootstrap, RECORDS).await {
        let (name, number) = (words[0].clone(), words[1].parse::<usize>().expect("a number"));
        if last.insert((name.clone(), partition), number).is_some_and(|before| before >= number) {
            verdict.out_of_order += 1;
        }
        there.entry((name, number)).and_modify(|seen| seen.0 += 1).or_insert((1, offset));
    }
    for ledger in ledgers {
        let fates = ledger.fates.lock().expect("no panic");
        verdict.without_one_fate += fates.1;
        for (number, fate) in fates.0.iter().enumerate() {
            let found = there.get(&(ledger.name.to_owned(), number)).copied();
            verdict.sent += 1;
            verdict.duplicated += found.map_or(0, |(count, _)| count - 1);
            match (fate, found) {
                (Fate::Pending, _) => verdict.without_one_fate += 1,
                (Fate::Written(_), None) => {
                    verdict.acknowledged += 1;
                    verdict.lost += 1;
                }
                (Fate::Written(told), Some((_, offset))) => {
                    verdict.acknowledged += 1;
                    verdict.at_other_offsets += u64::from(*told >= 0 && *told != offset);
                }
                (Fate::Unknown, found) => {
                    verdict.unknown += 1;
                    verdict.unknown_and_there += u64::from(found.is_some());
                }
                (Fate::NotWritten, found) => {
                    verdict.not_written += 1;
                    verdict.denied_and_there += u64::from(found.is_some());
                }
            }
        }
    }
    verdict
}

pub(super) async fn transactions(bootstrap: &str, ledgers: &[Arc<Transactions>]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut there: HashMap<(String, usize), HashMap<u32, u64>> = HashMap::new();
    let mut last: HashMap<(String, i32), (usize, u32)> = HashMap::new();
    for (partition, _, words) in read(bootstrap, TRANSACTIONS).await {
        let (number, index) = (words[1].parse().expect("a number"), words[2].parse().expect("an index"));
        let key = (words[0].clone(), partition);
        if last.insert(key, (number, index)).is_some_and(|before| before >= (number, index)) {
            verdict.out_of_order += 1;
        }
        *there.entry((words[0].clone(), number)).or_default().entry(index).or_default() += 1;
    }
    let whole = RECORDS_OF_TRANSACTION as usize;
    for ledger in ledgers {
        let ends = ledger.ends.lock().expect("no panic").clone();
        verdict.lives += u64::from(*ledger.lives.lock().expect("no panic"));
        let mut may_be_last = vec![None];
        for (number, end) in ends.iter().enumerate() {
            let found = there.get(&(ledger.id.to_owned(), number));
            let (count, all) = found.map_or((0, 0), |found| (found.len(), found.values().sum::<u64>()));
            verdict.sent += u64::from(RECORDS_OF_TRANSACTION);
            verdict.duplicated += all - count as u64;
            verdict.torn += u64::from(count != 0 && count != whole);
            match end {
                End::Committed => {
                    verdict.committed += 1;
                    verdict.acknowledged += u64::from(RECORDS_OF_TRANSACTION);
                    verdict.lost += (whole - count) as u64;
                }
                End::Aborted => {
                    verdict.aborted += 1;
                    verdict.aborted_and_there += count as u64;
                }
                End::Unknown => verdict.in_doubt += 1,
            }
            // Of one in doubt, its records tell: they and its offsets are committed together.
            if count > 0 {
                may_be_last = vec![Some(offset_of(number))];
            }
        }
        let consumer = Consumer::connect(config(bootstrap).group_id(ledger.id)).await.expect("a consumer");
        let place = TopicPartition::new(RECORDS, 0);
        let handle = consumer.handle();
        let committed = in_time("the offsets", handle.committed(&[place])).await.expect("committed offsets");
        let offset = committed.first().and_then(|(_, offset)| offset.as_ref()).map(|committed| committed.offset);
        verdict.wrong_offsets += u64::from(!may_be_last.contains(&offset));
        consumer.close().await.expect("closed");
    }
    verdict
}
