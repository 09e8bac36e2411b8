//! Which partitions this broker has in its hands.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, RwLock};

use uuid::Uuid;

use super::Partition;

use crate::locks::{read, write};

/// A partition's name that outlives no deletion: the id of its topic, and its index.
pub(crate) type PartitionKey = (Uuid, i32);

/// The partitions that somebody has asked for since the broker started.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// `None` once the broker stops.
    partitions: RwLock<Open>,
}

#[derive(Debug)]
struct Open(Option<HashMap<PartitionKey, Arc<Partition>>>);

impl Default for Open {
    fn default() -> Self {
        Self(Some(HashMap::new()))
    }
}

impl Registry {
    /// The partition, if it has been asked for before.
    pub fn get(&self, key: PartitionKey) -> Option<Arc<Partition>> {
        read(&self.partitions).0.as_ref()?.get(&key).cloned()
    }

    /// The partition, made by `make` where it is new and may be; `None` where it may not, or the broker stops. `make`
    /// runs under the registry's lock, and must not ask the registry.
    pub fn get_or_insert(
        &self,
        key: PartitionKey,
        make: impl FnOnce() -> Option<Arc<Partition>>,
    ) -> Option<Arc<Partition>> {
        let mut partitions = write(&self.partitions);
        match partitions.0.as_mut()?.entry(key) {
            Entry::Occupied(known) => Some(Arc::clone(known.get())),
            Entry::Vacant(place) => Some(Arc::clone(place.insert(make()?))),
        }
    }

    /// Takes a partition out.
    pub fn remove(&self, key: PartitionKey) -> Option<Arc<Partition>> {
        write(&self.partitions).0.as_mut()?.remove(&key)
    }

    /// All partitions, in no order.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        let partitions = read(&self.partitions);
        partitions.0.iter().flat_map(HashMap::values).cloned().collect()
    }

    /// Takes all partitions out, for good: none comes in any more.
    pub fn close(&self) -> Vec<Arc<Partition>> {
        let partitions = write(&self.partitions).0.take();
        partitions.into_iter().flat_map(HashMap::into_values).collect()
    }
}
