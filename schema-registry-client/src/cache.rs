//! A bounded cache in which each missing entry is fetched by one caller while the others wait for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How a cache behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheLimits {
    /// The most entries kept; the least recently used goes first.
    pub(crate) capacity: usize,
    /// How long a value is good; `None` for ever.
    pub(crate) value_ttl: Option<Duration>,
    /// How long an error that will not pass by itself is repeated without asking again.
    pub(crate) error_ttl: Duration,
}

pub(crate) struct Cache<K, V, E> {
    slots: RwLock<HashMap<K, Arc<Slot<V, E>>>>,
    limits: CacheLimits,
    /// Counts uses, to tell recent ones from old ones without a clock.
    uses: AtomicU64,
}

struct Slot<V, E> {
    last_use: AtomicU64,
    state: Mutex<State<V, E>>,
    /// Held by the caller that fetches.
    flight: tokio::sync::Mutex<()>,
}

struct State<V, E> {
    /// How many fetches have ended, so that one who waited sees that its answer has come.
    fetches: u64,
    outcome: Option<(Result<V, E>, Instant)>,
}

impl<K: Eq + Hash + Clone, V: Clone, E: Clone> Cache<K, V, E> {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self { slots: RwLock::new(HashMap::new()), limits, uses: AtomicU64::new(0) }
    }

    /// The entry, from the cache or by `fetch`. Errors for which `may_pass` is true are given to all who waited for
    /// this very fetch and then forgotten; others are repeated for the error time of the limits.
    ///
    /// Cancel safe: when the fetching caller goes, the next of those who wait fetches.
    pub(crate) async fn get<Fetch>(
        &self,
        key: &K,
        may_pass: impl Fn(&E) -> bool,
        fetch: impl FnOnce() -> Fetch,
    ) -> Result<V, E>
    where
        Fetch: Future<Output = Result<V, E>>,
    {
        let slot = self.slot(key);
        let seen = match self.ready(&slot, &may_pass) {
            Ok(outcome) => return outcome,
            Err(fetches) => fetches,
        };
        let _flight = slot.flight.lock().await;
        {
            // A fetch that ended while this caller waited is its answer, whatever came of it.
            let state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let (true, Some((outcome, _))) = (state.fetches != seen, &state.outcome) {
                return outcome.clone();
            }
        }
        let outcome = fetch().await;
        let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.fetches += 1;
        state.outcome = Some((outcome.clone(), now()));
        outcome
    }

    /// The kept outcome where it is still good, else the number of fetches so far.
    fn ready(&self, slot: &Slot<V, E>, may_pass: impl Fn(&E) -> bool) -> Result<Result<V, E>, u64> {
        let state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((outcome, since)) = &state.outcome else { return Err(state.fetches) };
        let ttl = match outcome {
            Ok(_) => self.limits.value_ttl,
            Err(error) if may_pass(error) => Some(Duration::ZERO),
            Err(_) => Some(self.limits.error_ttl),
        };
        // Values that are good for ever cost no look at the clock.
        if ttl.is_none_or(|ttl| now().saturating_duration_since(*since) < ttl) {
            Ok(outcome.clone())
        } else {
            Err(state.fetches)
        }
    }

    fn slot(&self, key: &K) -> Arc<Slot<V, E>> {
        let this_use = self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            slot.last_use.store(this_use, Ordering::Relaxed);
            return Arc::clone(slot);
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(key) && slots.len() >= self.limits.capacity.max(1) {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.last_use.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                slots.remove(&oldest);
            }
        }
        let slot = slots.entry(key.clone()).or_insert_with(|| {
            Arc::new(Slot {
                last_use: AtomicU64::new(this_use),
                state: Mutex::new(State { fetches: 0, outcome: None }),
                flight: tokio::sync::Mutex::new(()),
            })
        });
        Arc::clone(slot)
    }
}

#[expect(clippy::disallowed_methods, reason = "the cache is part of the driver: entries age by the real clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    type Numbers = Cache<i32, i32, &'static str>;

    fn limits(capacity: usize, error_ttl: Duration) -> CacheLimits {
        CacheLimits { capacity, value_ttl: None, error_ttl }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn many_callers_make_one_fetch() {
        let cache = Numbers::new(limits(10, LONG));
        let fetches = AtomicUsize::new(0);
        let gate = tokio::sync::Semaphore::new(0);
        let one = || {
            cache.get(
                &1,
                |_| true,
                || async {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    let _pass = gate.acquire().await;
                    Ok(11)
                },
            )
        };
        let opener = async {
            tokio::task::yield_now().await;
            gate.add_permits(1);
        };
        let (first, second, third, ()) = tokio::join!(one(), one(), one(), opener);
        assert_eq!([first, second, third], [Ok(11); 3]);
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        assert_eq!(one().await, Ok(11));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn those_who_waited_share_a_failure_and_later_callers_ask_again() {
        let cache = Numbers::new(limits(10, LONG));
        let fetches = AtomicUsize::new(0);
        let one = || {
            cache.get(
                &1,
                |_| true,
                || async {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Err("down")
                },
            )
        };
        let (first, second) = tokio::join!(one(), one());
        assert_eq!((first, second, fetches.load(Ordering::SeqCst)), (Err("down"), Err("down"), 1));
        assert_eq!(cache.get(&1, |_| true, || async { Ok(5) }).await, Ok(5));
    }

    #[tokio::test]
    async fn lasting_errors_are_repeated_for_their_time_only() {
        let cache = Numbers::new(limits(10, LONG));
        assert_eq!(cache.get(&1, |_| false, || async { Err("missing") }).await, Err("missing"));
        assert_eq!(cache.get(&1, |_| false, || async { Ok(1) }).await, Err("missing"));

        let forgetful = Numbers::new(limits(10, Duration::ZERO));
        assert_eq!(forgetful.get(&1, |_| false, || async { Err("missing") }).await, Err("missing"));
        assert_eq!(forgetful.get(&1, |_| false, || async { Ok(1) }).await, Ok(1));
    }

    #[tokio::test]
    async fn a_caller_that_goes_leaves_the_fetch_to_the_next() {
        let cache = Numbers::new(limits(10, LONG));
        {
            let never = cache.get(&1, |_| true, std::future::pending);
            tokio::pin!(never);
            tokio::select! { biased; _ = &mut never => panic!("it never ends"), () = std::future::ready(()) => {} }
        }
        assert_eq!(cache.get(&1, |_| true, || async { Ok(2) }).await, Ok(2));
    }

    #[tokio::test]
    async fn the_least_recently_used_entry_makes_room() {
        let cache = Numbers::new(limits(2, LONG));
        for key in [1, 2, 1, 3] {
            assert_eq!(cache.get(&key, |_| true, || async { Ok(key) }).await, Ok(key));
        }
        assert_eq!(cache.slots.read().expect("not poisoned").len(), 2);
        assert_eq!(cache.get(&1, |_| true, || async { Ok(100) }).await, Ok(1));
        assert_eq!(cache.get(&2, |_| true, || async { Ok(200) }).await, Ok(200));
    }

    #[tokio::test]
    async fn values_age_where_they_are_told_to() {
        let cache = Numbers::new(CacheLimits { capacity: 2, value_ttl: Some(Duration::ZERO), error_ttl: LONG });
        assert_eq!(cache.get(&1, |_| true, || async { Ok(1) }).await, Ok(1));
        assert_eq!(cache.get(&1, |_| true, || async { Ok(2) }).await, Ok(2));
    }
}
