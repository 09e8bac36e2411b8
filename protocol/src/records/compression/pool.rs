//! Compressors shared by threads.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use super::Compressor;

/// Idle [`Compressor`]s: taken once per batch, given back on drop. It grows to as many as are in use at once, and keeps
/// at most the number given to [`CompressorPool::new`].
#[derive(Debug)]
pub struct CompressorPool {
    idle: Mutex<Vec<Compressor>>,
    most_idle: usize,
}

impl CompressorPool {
    /// A pool that keeps at most `most_idle` compressors.
    pub const fn new(most_idle: usize) -> CompressorPool {
        CompressorPool { idle: Mutex::new(Vec::new()), most_idle }
    }

    /// Takes an idle compressor, or makes one. The lock is held for a push or a pop only.
    pub fn get(&self) -> PooledCompressor<'_> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        PooledCompressor { compressor: idle.unwrap_or_default(), pool: self }
    }
}

/// A [`Compressor`] on loan from a [`CompressorPool`].
#[derive(Debug)]
pub struct PooledCompressor<'p> {
    compressor: Compressor,
    pool: &'p CompressorPool,
}

impl Deref for PooledCompressor<'_> {
    type Target = Compressor;

    fn deref(&self) -> &Compressor {
        &self.compressor
    }
}

impl DerefMut for PooledCompressor<'_> {
    fn deref_mut(&mut self) -> &mut Compressor {
        &mut self.compressor
    }
}

impl Drop for PooledCompressor<'_> {
    fn drop(&mut self) {
        let compressor = std::mem::take(&mut self.compressor);
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.pool.most_idle {
            idle.push(compressor);
        }
    }
}
