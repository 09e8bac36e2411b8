//! Which sessions there are, and which must give way to others.

use std::collections::{BTreeSet, HashMap};

use super::NO_SESSION;

/// How long a session is unused until any other may take its place, and how old it must be until a larger one may.
pub(crate) const MIN_EVICTION_MS: i64 = 120_000;

/// A session is worth more than another if it is a follower's, else if it has more partitions; ids part equal ones.
type Worth = (bool, usize, i32);

#[derive(Debug)]
struct Place<S> {
    session: S,
    is_privileged: bool,
    created_ms: i64,
    last_used_ms: i64,
    size: usize,
}

impl<S> Place<S> {
    fn worth(&self, id: i32) -> Worth {
        (self.is_privileged, self.size, id)
    }
}

/// The sessions of a broker, bounded in number by `max.incremental.fetch.session.cache.slots`.
///
/// When it is full, a new session takes the place of one that was unused for two minutes, or else of the least worth
/// that is worth less than it. A session of its first two minutes gives way to a follower's only, and a follower's of its
/// first two minutes to none, so that many new sessions do not drive each other out in turn. Who gets no place names all
/// of its partitions each time.
#[derive(Debug)]
pub(crate) struct Cache<S> {
    slots: usize,
    places: HashMap<i32, Place<S>>,
    by_last_use: BTreeSet<(i64, i32)>,
    evictable_by_all: BTreeSet<Worth>,
    evictable_by_privileged: BTreeSet<Worth>,
}

impl<S> Cache<S> {
    /// A cache of at most so many sessions; with 0 there are none.
    pub fn new(slots: usize) -> Self {
        Self {
            slots,
            places: HashMap::new(),
            by_last_use: BTreeSet::new(),
            evictable_by_all: BTreeSet::new(),
            evictable_by_privileged: BTreeSet::new(),
        }
    }

    /// How many sessions there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The session of this id.
    pub fn get(&self, id: i32) -> Option<&S> {
        self.places.get(&id).map(|place| &place.session)
    }

    /// Takes in a session of `size` partitions, and answers its id, and the session that gave way. Where there is no
    /// place the answer is the id 0, and the session is not kept. Ids are what `random` draws, of which those that are
    /// not positive or not free are drawn again.
    pub fn insert(
        &mut self,
        session: S,
        size: usize,
        is_privileged: bool,
        now_ms: i64,
        mut random: impl FnMut() -> i32,
    ) -> (i32, Option<S>) {
        let mut evicted = None;
        if self.places.len() >= self.slots {
            evicted = self.evictable((is_privileged, size, 0), now_ms).and_then(|id| self.remove(id));
            if evicted.is_none() {
                return (NO_SESSION, None);
            }
        }
        let mut id = random();
        while id <= NO_SESSION || self.places.contains_key(&id) {
            id = random();
        }
        let place = Place { session, is_privileged, created_ms: now_ms, last_used_ms: now_ms, size };
        self.places.insert(id, place);
        self.touch(id, size, now_ms);
        (id, evicted)
    }

    /// The session that a new one of this worth may take the place of.
    fn evictable(&self, worth: Worth, now_ms: i64) -> Option<i32> {
        let (last_used_ms, stalest) = *self.by_last_use.first()?;
        if now_ms.saturating_sub(last_used_ms) > MIN_EVICTION_MS {
            return Some(stalest);
        }
        let candidates = if worth.0 { &self.evictable_by_privileged } else { &self.evictable_by_all };
        candidates.first().filter(|least| worth >= **least).map(|(_, _, id)| *id)
    }

    /// Takes note that a session was used, and has this many partitions now.
    pub fn touch(&mut self, id: i32, size: usize, now_ms: i64) {
        let Some(place) = self.places.get_mut(&id) else { return };
        let worth = place.worth(id);
        self.by_last_use.remove(&(place.last_used_ms, id));
        self.evictable_by_all.remove(&worth);
        self.evictable_by_privileged.remove(&worth);
        (place.last_used_ms, place.size) = (now_ms, size);
        self.by_last_use.insert((now_ms, id));
        let is_aged = now_ms.saturating_sub(place.created_ms) > MIN_EVICTION_MS;
        if is_aged {
            self.evictable_by_all.insert(place.worth(id));
        }
        if is_aged || !place.is_privileged {
            self.evictable_by_privileged.insert(place.worth(id));
        }
    }

    /// Takes a session out.
    pub fn remove(&mut self, id: i32) -> Option<S> {
        let place = self.places.remove(&id)?;
        let worth = place.worth(id);
        self.by_last_use.remove(&(place.last_used_ms, id));
        self.evictable_by_all.remove(&worth);
        self.evictable_by_privileged.remove(&worth);
        Some(place.session)
    }
}
