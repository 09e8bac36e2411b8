//! Records of aborted transactions, which a group that reads committed must not be given.

use std::collections::HashSet;

use rkafka_protocol::records::BatchIter;

use crate::log::AbortedTransaction;

/// The runs of offsets among whole batches that belong to aborted transactions. A batch that cannot be read ends the
/// search, for its reader will say so.
pub(super) fn aborted_runs(records: &[u8], aborted: &[AbortedTransaction]) -> Vec<(i64, i64)> {
    if aborted.is_empty() {
        return Vec::new();
    }
    let mut coming: Vec<&AbortedTransaction> = aborted.iter().collect();
    coming.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
    let mut open = HashSet::new();
    let mut runs = Vec::new();
    for batch in BatchIter::new(records).map_while(Result::ok) {
        let header = batch.header();
        while let Some(next) = coming.pop_if(|next| next.first_offset <= header.last_offset()) {
            open.insert(next.producer_id);
        }
        if header.attributes.is_control() {
            open.remove(&header.producer_id);
        } else if header.attributes.is_transactional() && open.contains(&header.producer_id) {
            runs.push((header.base_offset, header.last_offset()));
        }
    }
    runs
}
