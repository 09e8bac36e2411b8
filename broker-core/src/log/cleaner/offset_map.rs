//! Where the last record of each key is, in a memory that does not grow beyond its bounds.

use std::hash::{BuildHasher, RandomState};

/// Bytes of a slot, which is what one key takes.
const SLOT_BYTES: u64 = size_of::<Slot>() as u64;
/// How full the map may become, in percent: beyond that, a search looks at many slots.
const LOAD_PERCENT: u64 = 90;

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    /// -1 where the slot is free.
    offset: i64,
}

const FREE: Slot = Slot { hash: [0; 2], offset: -1 };

/// Offsets by the hash of a key.
///
/// The hash has 128 bits and a secret that is drawn for each map, so that nobody can choose keys that collide, and lose
/// one of them its record.
#[derive(Debug)]
pub(super) struct OffsetMap {
    slots: Vec<Slot>,
    secrets: [RandomState; 2],
    used: usize,
    used_max: usize,
    latest_offset: i64,
}

impl OffsetMap {
    /// A map for this many keys, or for as many as fit into `bytes_max`.
    pub fn new(keys: u64, bytes_max: u64) -> Self {
        let wanted = keys.saturating_mul(100) / LOAD_PERCENT + 2;
        let slots = wanted.min(bytes_max / SLOT_BYTES).max(2);
        OffsetMap {
            slots: vec![FREE; usize::try_from(slots).unwrap_or(2)],
            secrets: [RandomState::new(), RandomState::new()],
            used: 0,
            used_max: usize::try_from((slots * LOAD_PERCENT / 100).max(1)).unwrap_or(1),
            latest_offset: -1,
        }
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let [first, second] = &self.secrets;
        [first.hash_one(key), second.hash_one(key)]
    }

    /// The place of the key's slot, or of the free one that it would take. There always is a free one.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        let mut at = ((u128::from(hash[0]) * count as u128) >> 64) as usize;
        while self.slots.get(at).is_some_and(|slot| slot.offset >= 0 && slot.hash != hash) {
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        at
    }

    /// Remembers that the key's last record so far is at `offset`; false where there is no room for another key.
    pub fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = self.hash(key);
        let at = self.find(hash);
        let Some(slot) = self.slots.get_mut(at) else { return false };
        if slot.offset < 0 {
            if self.used == self.used_max {
                return false;
            }
            self.used += 1;
        }
        *slot = Slot { hash, offset };
        self.latest_offset = offset;
        true
    }

    /// The offset of the key's last record; -1 for a key that is not there.
    pub fn get(&self, key: &[u8]) -> i64 {
        let at = self.find(self.hash(key));
        self.slots.get(at).map_or(-1, |slot| slot.offset)
    }

    /// Up to where the log was read; -1 before the first record.
    pub fn latest_offset(&self) -> i64 {
        self.latest_offset
    }

    /// Takes note that the log was read up to this offset, though the record there has no key to remember.
    pub fn advance_to(&mut self, offset: i64) {
        self.latest_offset = self.latest_offset.max(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_each_key_is_found() {
        let mut map = OffsetMap::new(1000, 1 << 20);
        for round in 0..3 {
            for key in 0..1000i64 {
                assert!(map.put(&key.to_be_bytes(), round * 1000 + key));
            }
        }
        for key in 0..1000i64 {
            assert_eq!(map.get(&key.to_be_bytes()), 2000 + key);
        }
        assert_eq!((map.get(b"other"), map.latest_offset()), (-1, 2999));
        map.advance_to(5000);
        assert_eq!(map.latest_offset(), 5000);
    }

    #[test]
    fn a_full_map_takes_known_keys_only() {
        let mut map = OffsetMap::new(u64::MAX / 200, 100 * SLOT_BYTES);
        let fits = (0..200i64).take_while(|key| map.put(&key.to_be_bytes(), *key)).count();
        assert_eq!(fits, 90);
        assert_eq!(map.latest_offset(), 89);
        assert!(map.put(&3i64.to_be_bytes(), 91));
        assert_eq!((map.get(&3i64.to_be_bytes()), map.get(&90i64.to_be_bytes())), (91, -1));
        let mut least = OffsetMap::new(0, 0);
        assert!(least.put(b"a", 0) && !least.put(b"b", 1));
        assert_eq!(least.get(b"b"), -1);
    }
}
