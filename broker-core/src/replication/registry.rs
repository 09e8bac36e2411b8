//! Which partitions this broker has in its hands.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use uuid::Uuid;

use super::Partition;

/// A partition's name that outlives no deletion: the id of its topic, and its index.
pub(crate) type PartitionKey = (Uuid, i32);

/// The partitions that somebody has asked for since the broker started.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    partitions: RwLock<HashMap<PartitionKey, Arc<Partition>>>,
}

impl Registry {
    /// The partition, if it has been asked for before.
    pub fn get(&self, key: PartitionKey) -> Option<Arc<Partition>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// The partition, made by `make` where it is new. `make` must not ask the registry.
    pub fn get_or_insert(&self, key: PartitionKey, make: impl FnOnce() -> Partition) -> Arc<Partition> {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(partitions.entry(key).or_insert_with(|| Arc::new(make())))
    }

    /// Takes a partition out.
    pub fn remove(&self, key: PartitionKey) -> Option<Arc<Partition>> {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner).remove(&key)
    }

    /// All partitions, in no order.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
