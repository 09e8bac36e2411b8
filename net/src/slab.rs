//! Buffers that come back.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// The size of a new slab. A read may bring this much at once, whatever the size of the frames.
pub(crate) const SLAB_LEN: usize = 64 * 1024;
/// How many times larger than needed a slab may be.
const OVERSIZE_MAX: usize = 4;

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

    /// A slab: the smallest of at least `len` bytes, else the largest, else a new one of [`SLAB_LEN`]. One that is many
    /// times larger than needed stays for those who need it.
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let mut slabs = self.slabs.lock().unwrap_or_else(PoisonError::into_inner);
        let most = len.max(SLAB_LEN).saturating_mul(OVERSIZE_MAX);
        let mut best: Option<(usize, usize)> = None;
        // From the newest on, whose pages are likely to be in a cache still.
        for (at, size) in slabs.free.iter().map(Vec::len).enumerate().rev().filter(|(_, size)| *size <= most) {
            let is_better = match best {
                None => true,
                Some((_, known)) if known >= len => size >= len && size < known,
                Some((_, known)) => size > known,
            };
            if is_better {
                best = Some((at, size));
            }
        }
        let Some((at, size)) = best else { return vec![0; SLAB_LEN] };
        slabs.bytes -= size;
        slabs.free.remove(at)
    }

    /// Takes a slab back. Where there is no room for it, those that were not used for the longest time go.
    pub(crate) fn give(&self, slab: Vec<u8>) {
        let mut slabs = self.slabs.lock().unwrap_or_else(PoisonError::into_inner);
        if slab.is_empty() || slab.len() > self.retain_max {
            return;
        }
        while slabs.bytes > self.retain_max - slab.len() {
            let oldest = slabs.free.remove(0);
            slabs.bytes -= oldest.len();
        }
        slabs.bytes += slab.len();
        slabs.free.push(slab);
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
