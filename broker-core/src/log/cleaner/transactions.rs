//! The transactions that a cleaning pass goes through: which batches are of aborted ones, and which markers have lost all
//! their records.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use rkafka_protocol::records::TransactionResult;

use super::super::batch::Header;
use super::super::transaction::AbortedTransaction;

/// The state of one pass. It is carried over from segment to segment, for a transaction may begin in one and end in
/// another (KAFKA-8351).
#[derive(Debug, Clone, Default)]
pub(super) struct CleanedTransactions {
    /// Aborted transactions that the pass has not come to: first offset, last offset and last stable offset, producer.
    ahead: BinaryHeap<Reverse<(i64, i64, i64, i64)>>,
    /// Those that it is in, by producer, and whether a batch of theirs was seen.
    aborted: HashMap<i64, (AbortedTransaction, bool)>,
    /// Producers of which a batch was seen whose transaction is not aborted.
    committed: HashSet<i64>,
}

impl CleanedTransactions {
    /// Tells of transactions that the pass is going to come to. Of each segment that is read, all must be told before,
    /// also those beyond the part that is cleaned (KAFKA-13727).
    pub fn expect(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        for txn in aborted {
            self.ahead.push(Reverse((txn.first_offset, txn.last_offset, txn.last_stable_offset, txn.producer_id)));
        }
    }

    fn come_to(&mut self, offset: i64) {
        while let Some(Reverse((first_offset, last_offset, last_stable_offset, producer_id))) =
            self.ahead.peek().copied()
            && first_offset <= offset
        {
            self.ahead.pop();
            // Its marker lies before where the pass began, or is gone. What comes from its producer now is of another one.
            if last_offset < offset {
                continue;
            }
            let txn = AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset };
            self.aborted.entry(producer_id).or_insert((txn, false));
        }
    }

    /// Takes note of a batch of records; true when its transaction was aborted, so that all of it may go.
    pub fn on_batch(&mut self, header: &Header) -> bool {
        self.come_to(header.last_offset());
        if !header.attributes.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, seen)) => {
                *seen = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Takes note of a transaction's marker. `result` is `None` for a control batch of another kind. Answers whether no
    /// record of the transaction is there any more, so that the marker may go too in its time; and the aborted
    /// transaction, if its records are (or were, before this pass) there and the index must go on to name it.
    pub fn on_marker(
        &mut self,
        header: &Header,
        result: Option<TransactionResult>,
    ) -> (bool, Option<AbortedTransaction>) {
        self.come_to(header.last_offset());
        match result {
            Some(TransactionResult::Abort) => match self.aborted.remove(&header.producer_id) {
                Some((txn, true)) => (false, Some(txn)),
                Some((_, false)) | None => (true, None),
            },
            Some(TransactionResult::Commit) => (!self.committed.remove(&header.producer_id), None),
            None => (false, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use rkafka_protocol::records::Attributes;

    use super::*;

    fn header(producer_id: i64, offset: i64) -> Header {
        Header {
            base_offset: offset,
            batch_length: 100,
            partition_leader_epoch: 0,
            crc: 0,
            attributes: Attributes::default().with_transactional(true),
            last_offset_delta: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            record_count: 1,
        }
    }

    fn aborted(producer_id: i64, first_offset: i64, last_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset: last_offset + 1 }
    }

    #[test]
    fn what_was_aborted_before_the_pass_began_says_nothing_of_what_comes() {
        let mut pass = CleanedTransactions::default();
        pass.expect([aborted(1, 0, 9), aborted(1, 20, 29)]);
        assert!(!pass.on_batch(&header(1, 10)));
        assert_eq!(pass.on_marker(&header(1, 11), Some(TransactionResult::Commit)), (false, None));
        assert!(pass.on_batch(&header(1, 20)));
    }

    #[test]
    fn a_marker_waits_for_its_records() {
        let mut pass = CleanedTransactions::default();
        pass.expect([aborted(1, 0, 9), aborted(1, 20, 29)]);
        assert!(pass.on_batch(&header(1, 0)));
        assert!(!pass.on_batch(&header(2, 1)));
        assert_eq!(pass.on_marker(&header(1, 9), Some(TransactionResult::Abort)), (false, Some(aborted(1, 0, 9))));
        assert_eq!(pass.on_marker(&header(2, 10), Some(TransactionResult::Commit)), (false, None));
        // The next transactions of both, one without records.
        assert!(!pass.on_batch(&header(1, 11)));
        assert_eq!(pass.on_marker(&header(1, 12), Some(TransactionResult::Commit)), (false, None));
        assert_eq!(pass.on_marker(&header(1, 29), Some(TransactionResult::Abort)), (true, None));
        assert_eq!(pass.on_marker(&header(2, 30), Some(TransactionResult::Commit)), (true, None));
        assert_eq!(pass.on_marker(&header(2, 31), Some(TransactionResult::Abort)), (true, None));
        assert_eq!(pass.on_marker(&header(2, 32), None), (false, None));
    }
}
