//! How long to wait before the next attempt (KIP-580).

use std::time::Duration;

use rand::{Rng, RngExt};

/// Part of a delay that is left to chance, to either side.
const JITTER: f64 = 0.2;

/// Exponential backoff with jitter: the first delay, doubled with each failure up to the largest, each 20 % more or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// From `first`, doubled up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The delay after `failures` failures in a row have gone before this one: 0 gives the first delay. Never above the
    /// maximum, jitter included, as in Java.
    pub fn delay(&self, failures: u32, rng: &mut (impl Rng + ?Sized)) -> Duration {
        let max = self.max.max(self.first).as_secs_f64();
        // Beyond 2^62 everything is at its maximum already.
        let grown = (self.first.as_secs_f64() * 2f64.powi(failures.min(62) as i32)).min(max);
        let chance = rng.random_range(1.0 - JITTER..=1.0 + JITTER);
        Duration::try_from_secs_f64((grown * chance).min(max)).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_stay_in_their_bounds() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut rng = rand::rng();
        for _ in 0..200 {
            for (failures, middle) in
                [(0, 100.0), (1, 200.0), (2, 400.0), (3, 800.0), (4, 1_000.0), (u32::MAX, 1_000.0)]
            {
                let delay = backoff.delay(failures, &mut rng).as_secs_f64() * 1_000.0;
                assert!(delay >= middle * 0.799 && delay <= (middle * 1.201f64).min(1_000.0), "{failures}: {delay}");
            }
        }
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).delay(9, &mut rng), Duration::ZERO);
    }

    #[test]
    fn delays_differ() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut rng = rand::rng();
        let first = backoff.delay(0, &mut rng);
        assert!((0..50).any(|_| backoff.delay(0, &mut rng) != first));
    }
}
