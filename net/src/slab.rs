//! Buffers that come back.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// The size of a new slab. A read may bring this much at once, whatever the size of the frames.
pub(crate) const SLAB_LEN: usize = 64 * 1024;

/// Buffers between two uses, shared by every connection that reads into them.
///
/// All bytes of a slab are initialised, once, when it is made; a slab that comes back is read over without zeroing. A
/// pool keeps at most a given number of bytes and gives the rest back to the allocator.
#[derive(Debug)]
pub struct SlabPool {
    slabs: Mutex<Slabs>,
    retain_max: usize,
}

#[derive(Debug, Default)]
struct Slabs {
    free: Vec<Vec<u8>>,
    bytes: usize,
}

impl SlabPool {
    /// A pool that keeps at most `retain_max` bytes for later. 0 keeps none.
    pub fn new(retain_max: usize) -> Arc<Self> {
        Arc::new(Self { slabs: Mutex::default(), retain_max })
    }

    /// How many bytes lie in the pool now.
    pub fn free_bytes(&self) -> usize {
        self.slabs.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// A slab, if there is one of at least `len` bytes that one, else the largest, else a new one of [`SLAB_LEN`].
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let mut slabs = self.slabs.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |slab: &Vec<u8>| slab.len() >= len;
        let best = match slabs.free.iter().rposition(fits) {
            Some(at) => Some(at),
            None => (0..slabs.free.len()).max_by_key(|at| slabs.free[*at].len()),
        };
        let Some(at) = best else { return vec![0; SLAB_LEN] };
        let slab = slabs.free.swap_remove(at);
        slabs.bytes -= slab.len();
        slab
    }

    pub(crate) fn give(&self, slab: Vec<u8>) {
        let mut slabs = self.slabs.lock().unwrap_or_else(PoisonError::into_inner);
        if !slab.is_empty() && slabs.bytes.saturating_add(slab.len()) <= self.retain_max {
            slabs.bytes += slab.len();
            slabs.free.push(slab);
        }
    }

    /// Shares a slab's bytes; it comes back to the pool with the last of them.
    pub(crate) fn share(self: &Arc<Self>, slab: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { slab, pool: Arc::clone(self) })
    }
}

/// 16 MiB kept.
impl Default for SlabPool {
    fn default() -> Self {
        Self { slabs: Mutex::default(), retain_max: 16 << 20 }
    }
}

struct Lent {
    slab: Vec<u8>,
    pool: Arc<SlabPool>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.slab
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.slab));
    }
}
