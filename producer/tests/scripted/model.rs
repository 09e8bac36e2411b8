//! What brokers remember: logs that know batches again, and a coordinator of transactions, both as Kafka has them.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::{DecompressArena, RecordBatch, increment_sequence};

/// One place in a log.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Record { value: String, producer: i64, transactional: bool },
    Marker { producer: i64, commit: bool },
}

/// What a broker knows of a producer: its epoch, and the last five batches as (base sequence, last sequence, offset).
#[derive(Debug, Default)]
struct ProducerState {
    epoch: i16,
    batches: VecDeque<(i32, i32, i64)>,
    /// A transaction's marker has told of the epoch, which begins with sequence 0 then.
    marked: bool,
}

/// The log of one partition.
#[derive(Debug, Default)]
pub struct Log {
    pub items: Vec<Item>,
    producers: HashMap<i64, ProducerState>,
}

impl Log {
    /// Kafka's `ProducerAppendInfo`: what follows is taken, what is known is not taken twice, the rest is refused.
    pub fn append(&mut self, bytes: &[u8], records_max: usize) -> Result<i64, ErrorCode> {
        let batch = RecordBatch::read(bytes).expect("batches can be read");
        batch.verify_crc().expect("checksums are right");
        let header = *batch.header();
        if header.record_count as usize > records_max {
            return Err(ErrorCode::MessageTooLarge);
        }
        let offset = self.items.len() as i64;
        if header.producer_id >= 0 {
            let mut fresh = ProducerState { epoch: header.producer_epoch, ..ProducerState::default() };
            let state = self.producers.get_mut(&header.producer_id).unwrap_or(&mut fresh);
            let first = header.base_sequence;
            let last = increment_sequence(first, header.record_count - 1);
            if header.producer_epoch < state.epoch {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            if header.producer_epoch == state.epoch
                && let Some((.., known)) = state.batches.iter().find(|known| (known.0, known.1) == (first, last))
            {
                return Ok(*known);
            }
            let fits = match state.batches.back() {
                Some((_, previous, _)) if header.producer_epoch == state.epoch => {
                    first == increment_sequence(*previous, 1)
                }
                None => !state.marked || first == 0,
                _ => first == 0,
            };
            if !fits {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            if header.producer_epoch != state.epoch {
                state.batches.clear();
            }
            state.epoch = header.producer_epoch;
            state.batches.push_back((first, last, offset));
            if state.batches.len() > 5 {
                state.batches.pop_front();
            }
            if !fresh.batches.is_empty() {
                self.producers.insert(header.producer_id, fresh);
            }
        }
        let (producer, transactional) = (header.producer_id, header.attributes.is_transactional());
        let mut arena = DecompressArena::default();
        for record in batch.records(&mut arena).expect("records can be read") {
            let value = record.expect("a record can be read").value.unwrap_or_default();
            let value = String::from_utf8_lossy(value).into_owned();
            self.items.push(Item::Record { value, producer, transactional });
        }
        Ok(offset)
    }

    fn mark(&mut self, producer: i64, epoch: i16, commit: bool) {
        self.items.push(Item::Marker { producer, commit });
        let state = self.producers.entry(producer).or_default();
        if state.epoch != epoch || state.batches.is_empty() {
            state.batches.clear();
            state.marked = true;
        }
        state.epoch = epoch;
    }

    /// Every record's value, whatever became of its transaction.
    pub fn values(&self) -> Vec<String> {
        let value = |item: &Item| match item {
            Item::Record { value, .. } => Some(value.clone()),
            Item::Marker { .. } => None,
        };
        self.items.iter().filter_map(value).collect()
    }

    /// What a consumer with `read_committed` is given, were nothing open.
    pub fn committed(&self) -> Vec<String> {
        let fate = |at: usize, of: i64| {
            self.items[at..].iter().find_map(|item| match item {
                Item::Marker { producer, commit } if *producer == of => Some(*commit),
                _ => None,
            })
        };
        let all = self.items.iter().enumerate();
        all.filter_map(|(at, item)| match item {
            Item::Record { value, producer, transactional } => {
                (!transactional || fate(at, *producer) == Some(true)).then(|| value.clone())
            }
            Item::Marker { .. } => None,
        })
        .collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    #[default]
    Empty,
    Ongoing,
    Complete {
        commit: bool,
    },
}

/// What the coordinator knows of a `transactional.id`.
#[derive(Debug, Default)]
pub struct Txn {
    pub producer: i64,
    pub epoch: i16,
    /// The producer and epoch before, by which a retry is told from a stranger.
    before: Option<(i64, i16)>,
    pub stage: Stage,
    partitions: BTreeSet<usize>,
    groups: BTreeSet<String>,
    offsets: Vec<((String, i32), i64)>,
}

/// The logs of the one topic, and the coordinator.
#[derive(Debug, Default)]
pub struct Model {
    pub logs: Vec<Log>,
    pub transactions: HashMap<String, Txn>,
    /// Offsets that are committed, by group and partition.
    pub offsets: HashMap<(String, i32), i64>,
    producers: i64,
    /// The producers that were ever given out without a transaction.
    pub plain: HashSet<i64>,
}

impl Model {
    pub fn new(partitions: usize) -> Self {
        Self { logs: (0..partitions).map(|_| Log::default()).collect(), ..Self::default() }
    }

    pub fn fresh_producer(&mut self) -> i64 {
        self.producers += 1;
        self.producers
    }

    /// InitProducerId of a transactional producer.
    pub fn initialize(&mut self, id: &str, present: Option<(i64, i16)>) -> Result<(i64, i16), ErrorCode> {
        let Some(txn) = self.transactions.get(id) else {
            let producer = self.fresh_producer();
            self.transactions.insert(id.to_owned(), Txn { producer, ..Txn::default() });
            return Ok((producer, 0));
        };
        let now = (txn.producer, txn.epoch);
        match present {
            Some(present) if present != now && txn.before == Some(present) && txn.stage != Stage::Ongoing => {
                return Ok(now);
            }
            Some(present) if present != now => return Err(ErrorCode::ProducerFenced),
            _ => {}
        }
        if txn.stage == Stage::Ongoing {
            self.complete(id, false, true);
        }
        let fresh = self.fresh_producer();
        let txn = self.transactions.get_mut(id).expect("it is there");
        txn.before = Some((txn.producer, txn.epoch));
        txn.stage = Stage::Empty;
        if txn.epoch >= i16::MAX - 1 {
            (txn.producer, txn.epoch) = (fresh, 0);
        } else {
            txn.epoch += 1;
        }
        Ok((txn.producer, txn.epoch))
    }

    fn known(&mut self, id: &str, producer: (i64, i16)) -> Result<&mut Txn, ErrorCode> {
        match self.transactions.get_mut(id) {
            Some(txn) if txn.producer != producer.0 => Err(ErrorCode::InvalidProducerIdMapping),
            Some(txn) if txn.epoch != producer.1 => Err(ErrorCode::ProducerFenced),
            Some(txn) => Ok(txn),
            None => Err(ErrorCode::InvalidProducerIdMapping),
        }
    }

    pub fn add_partition(&mut self, id: &str, producer: (i64, i16), partition: usize) -> Result<(), ErrorCode> {
        let txn = self.known(id, producer)?;
        txn.stage = Stage::Ongoing;
        txn.partitions.insert(partition);
        Ok(())
    }

    /// Whether a batch may be appended; `implicit` adds its partition.
    pub fn admit(&mut self, id: &str, producer: (i64, i16), partition: usize, implicit: bool) -> Result<(), ErrorCode> {
        let txn = self.known(id, producer).map_err(|code| match code {
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            code => code,
        })?;
        if implicit {
            return self.add_partition(id, producer, partition);
        }
        let is_part = txn.stage == Stage::Ongoing && txn.partitions.contains(&partition);
        if is_part { Ok(()) } else { Err(ErrorCode::InvalidTxnState) }
    }

    pub fn add_group(&mut self, id: &str, producer: (i64, i16), group: &str) -> Result<(), ErrorCode> {
        let txn = self.known(id, producer)?;
        txn.stage = Stage::Ongoing;
        txn.groups.insert(group.to_owned());
        Ok(())
    }

    pub fn commit_offset(
        &mut self,
        id: &str,
        producer: (i64, i16),
        (group, partition, offset): (&str, i32, i64),
        implicit: bool,
    ) -> Result<(), ErrorCode> {
        if implicit {
            self.add_group(id, producer, group)?;
        }
        let txn = self.known(id, producer)?;
        if txn.stage != Stage::Ongoing || !txn.groups.contains(group) {
            return Err(ErrorCode::InvalidTxnState);
        }
        txn.offsets.push(((group.to_owned(), partition), offset));
        Ok(())
    }

    /// EndTxn; it gives the next epoch where `bumps` (KIP-890).
    pub fn end(&mut self, id: &str, producer: (i64, i16), commit: bool, bumps: bool) -> Result<(i64, i16), ErrorCode> {
        if let Some(txn) = self.transactions.get(id)
            && bumps
            && txn.before == Some(producer)
            && (txn.producer, txn.epoch) != producer
            && txn.stage == (Stage::Complete { commit })
        {
            return Ok((txn.producer, txn.epoch));
        }
        let txn = self.known(id, producer)?;
        match txn.stage {
            Stage::Ongoing => self.complete(id, commit, bumps),
            Stage::Complete { commit: was } if was == commit && !bumps => {}
            _ if bumps && !commit => {
                txn.before = Some(producer);
                txn.epoch += 1;
                txn.stage = Stage::Complete { commit };
            }
            _ => return Err(ErrorCode::InvalidTxnState),
        }
        let txn = self.transactions.get(id).expect("it is there");
        Ok((txn.producer, txn.epoch))
    }

    /// The coordinator ends a transaction, and where `bumps` fences whoever had it.
    pub fn complete(&mut self, id: &str, commit: bool, bumps: bool) {
        let Some(txn) = self.transactions.get_mut(id) else { return };
        let epoch = if bumps { txn.epoch + 1 } else { txn.epoch };
        for partition in std::mem::take(&mut txn.partitions) {
            self.logs[partition].mark(txn.producer, epoch, commit);
        }
        let offsets = std::mem::take(&mut txn.offsets);
        if commit {
            self.offsets.extend(offsets);
        }
        txn.groups.clear();
        if bumps {
            txn.before = Some((txn.producer, txn.epoch));
            txn.epoch = epoch;
        }
        txn.stage = Stage::Complete { commit };
    }
}
