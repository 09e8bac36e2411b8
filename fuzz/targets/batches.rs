//! Record batches: bytes give records or an error, and decompression stops at its cap.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rkafka_protocol::records::{BatchIter, DecompressArena, OwnedBatch};

/// Larger than any input can honestly hold, small enough that a bomb shows.
const CAP: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let mut arena = DecompressArena::new(CAP);
    for batch in BatchIter::new(input) {
        let Ok(batch) = batch else { break };
        drop(batch.verify_crc());
        if let Ok(records) = batch.records(&mut arena) {
            for record in records {
                let Ok(record) = record else { break };
                record.headers.iter().for_each(drop);
            }
        }
        drop(OwnedBatch::decode(&Bytes::copy_from_slice(batch.bytes()), &mut arena));
        assert!(arena.capacity() <= 4 * CAP, "{} bytes for a cap of {CAP}", arena.capacity());
    }
});
