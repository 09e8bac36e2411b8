//! Transactions in a partition: permission to begin one, and the marker that ends it.

use rkafka_protocol::ErrorCode;

use super::outcome::{AppendFailure, Appended};
use super::partition::Partition;
use crate::log::{TransactionMarker, VerificationGuard};

impl Partition {
    /// Ends a producer's transaction in this partition.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH` or `TRANSACTION_COORDINATOR_FENCED` for a marker that comes too late, and as
    /// [`Partition::append`].
    pub fn append_marker(&self, marker: &TransactionMarker, now_ms: i64) -> Result<Appended, AppendFailure> {
        self.append_with(None, None, now_ms, |log, leader_epoch| log.append_marker(marker, leader_epoch, now_ms))
    }

    /// Asks for permission to append a batch that would begin a transaction, before the transaction coordinator is asked;
    /// `None` where none is needed. See [`Log::begin_verification`].
    ///
    /// # Errors
    /// As [`Partition::with_log`].
    pub fn begin_verification(
        &self,
        producer_id: i64,
        epoch: i16,
        sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> Result<Option<VerificationGuard>, ErrorCode> {
        if self.has_ongoing_transaction(producer_id, epoch, now_ms)? {
            return Ok(None);
        }
        self.with_log_mut(now_ms, |log| {
            log.begin_verification(producer_id, epoch, sequence, supports_epoch_bump, now_ms)
        })
    }

    /// Whether a producer has a transaction open here, in this epoch.
    ///
    /// # Errors
    /// As [`Partition::with_log`].
    pub fn has_ongoing_transaction(&self, producer_id: i64, epoch: i16, now_ms: i64) -> Result<bool, ErrorCode> {
        self.with_log(now_ms, |log| log.producers().has_ongoing_transaction(producer_id, epoch))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use rkafka_protocol::records::{
        Attributes, BatchBuilder, BatchOptions, Codec, Compression, Compressor, NO_HEADERS, NO_SEQUENCE,
    };
    use uuid::Uuid;

    use super::super::{LogDir, Opening, PartitionRead, Waiter};
    use super::*;
    use crate::log::{LogConfig, OpenState};
    use crate::storage::MemStorage;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn partition(config: LogConfig) -> Arc<Partition> {
        let opening = Opening {
            storage: Arc::new(MemStorage::new()),
            dir: "/data/t-0".into(),
            log_dir: LogDir::new("/data".into(), 16, None),
            config,
            state: OpenState::clean(),
        };
        Partition::alone("t".into(), Uuid::from_u128(7), 0, 3, opening)
    }

    fn records(options: BatchOptions) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Vec::new(), options);
        builder.append(NOW_MS, None, Some(b"value"), NO_HEADERS).unwrap();
        let mut sealed = builder.seal(Codec::new(Compression::None), &mut Compressor::new()).unwrap();
        sealed.finish();
        sealed.into_bytes()
    }

    fn plain(partition: &Partition) {
        partition.append(&mut records(BatchOptions::at(0, -1)), None, NOW_MS).unwrap();
    }

    fn transactional(producer_id: i64, sequence: i32) -> Vec<u8> {
        let attributes = Attributes::default().with_transactional(true);
        records(BatchOptions::at(0, -1).with_producer(producer_id, 0, sequence).with_attributes(attributes))
    }

    fn begin(partition: &Partition, producer_id: i64, sequence: i32) {
        let guard = partition.begin_verification(producer_id, 0, sequence, false, NOW_MS).unwrap();
        partition.append(&mut transactional(producer_id, sequence), guard, NOW_MS).unwrap();
    }

    fn end(partition: &Partition, producer_id: i64, commit: bool) -> Result<Appended, AppendFailure> {
        let (producer_epoch, coordinator_epoch, transaction_version) = (0, 5, 1);
        let marker = TransactionMarker { producer_id, producer_epoch, coordinator_epoch, commit, transaction_version };
        partition.append_marker(&marker, NOW_MS)
    }

    fn read(partition: &Partition, offset: i64, read_committed: bool) -> PartitionRead {
        partition.read(offset, 1 << 20, true, read_committed, NOW_MS).unwrap()
    }

    #[test]
    fn a_committed_reader_stops_at_what_is_undecided() {
        let partition = partition(LogConfig::default());
        plain(&partition);
        begin(&partition, 1, 0);
        begin(&partition, 2, 0);
        plain(&partition);
        let all = read(&partition, 0, false);
        assert_eq!((all.high_watermark, all.last_stable_offset, all.aborted), (4, 1, None));
        let stable = read(&partition, 0, true);
        assert_eq!((stable.high_watermark, stable.last_stable_offset), (4, 1));
        assert_eq!((stable.records.len() * 4 < all.records.len() * 2, stable.aborted), (true, Some(Vec::new())));
        for beyond in 1..=4 {
            let nothing = read(&partition, beyond, true);
            assert_eq!((nothing.records.len(), nothing.aborted), (0, Some(Vec::new())), "offset {beyond}");
        }
        assert_eq!(partition.read(5, 100, true, true, NOW_MS).unwrap_err().error, ErrorCode::OffsetOutOfRange);

        end(&partition, 2, false).unwrap();
        assert_eq!(read(&partition, 0, true).last_stable_offset, 1);
        end(&partition, 1, true).unwrap();
        let stable = read(&partition, 0, true);
        assert_eq!((stable.high_watermark, stable.last_stable_offset), (6, 6));
        let aborted = stable.aborted.unwrap();
        assert_eq!(aborted.iter().map(|one| (one.producer_id, one.first_offset)).collect::<Vec<_>>(), [(2, 2)]);
        assert_eq!(read(&partition, 5, true).aborted, Some(Vec::new()));
    }

    #[test]
    fn markers_wake_whoever_waits() {
        let partition = partition(LogConfig::default());
        begin(&partition, 1, 0);
        let waiter = Arc::new(Waiter::default());
        partition.add_waiter(&waiter, false);
        waiter.arm();
        let mut wait = pin!(waiter.woken(1 << 30));
        let mut context = Context::from_waker(Waker::noop());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        plain(&partition);
        assert!(wait.as_mut().poll(&mut context).is_pending());
        end(&partition, 1, true).unwrap();
        assert!(wait.as_mut().poll(&mut context).is_ready());
        partition.remove_waiter(&waiter, false);
    }

    #[test]
    fn a_late_batch_opens_nothing() {
        let partition = partition(LogConfig::default());
        let guard = partition.begin_verification(1, 0, 0, false, NOW_MS).unwrap();
        end(&partition, 1, false).unwrap();
        let late = partition.append(&mut transactional(1, 0), guard, NOW_MS).unwrap_err();
        assert_eq!(late.error, ErrorCode::InvalidTxnState);
        assert!(!partition.has_ongoing_transaction(1, 0, NOW_MS).unwrap());
        begin(&partition, 1, 0);
        assert!(partition.has_ongoing_transaction(1, 0, NOW_MS).unwrap());
        assert_eq!(partition.begin_verification(1, 0, 1, false, NOW_MS), Ok(None));
        // Inside of the transaction no guard is needed; a coordinator's batch has no sequence.
        partition.append(&mut transactional(1, 1), None, NOW_MS).unwrap();
        let epoch = partition.leader_epoch();
        partition.append_internal(epoch, &mut transactional(1, NO_SEQUENCE), None, NOW_MS).unwrap();
        let outside = records(BatchOptions::at(0, -1).with_producer(1, 0, 2));
        let refused = partition.append(&mut outside.clone(), None, NOW_MS).unwrap_err();
        assert_eq!(refused.error, ErrorCode::InvalidTxnState);
        end(&partition, 1, true).unwrap();
        partition.append(&mut outside.clone(), None, NOW_MS).unwrap();
    }

    #[test]
    fn a_marker_that_is_not_synced_decides_nothing_yet() {
        let partition = partition(LogConfig { group_commit: true, ..LogConfig::default() });
        plain(&partition);
        begin(&partition, 1, 0);
        partition.flush().unwrap();
        let stable = read(&partition, 0, true);
        assert_eq!((stable.high_watermark, stable.last_stable_offset), (2, 1));
        end(&partition, 1, false).unwrap();
        // The directory's own thread syncs sooner or later; this test does not wait for it.
        partition.flush().unwrap();
        let stable = read(&partition, 0, true);
        assert_eq!((stable.high_watermark, stable.last_stable_offset), (3, 3));
        assert_eq!(stable.aborted.unwrap().len(), 1);
    }
}
