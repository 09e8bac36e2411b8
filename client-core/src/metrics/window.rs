//! Kafka's sampled windows, as a machine: time is an argument.
//!
//! Numbers go into the present sample. Once that is `length` old, the next number begins another. A sample counts until
//! its last number is as old as all samples together are long, so that one that only reaches into the time that is looked
//! at counts as a whole, and one more sample than `samples` is kept.
//!
//! One set of samples serves all statistics of a sensor. In Kafka each has its own: rates begin theirs with the first look,
//! and averages with the first number. Here all begin with whichever comes first.

use std::time::{Duration, Instant};

use super::histogram::Histogram;

/// No rate is taken over less.
const SHORTEST: Duration = Duration::from_millis(1);

/// How numbers are cut into samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// `metrics.sample.window.ms`.
    pub(super) length: Duration,
    /// `metrics.num.samples`, 1 at least.
    pub(super) samples: u32,
}

impl Window {
    fn span(&self) -> Duration {
        self.length.saturating_mul(self.samples)
    }
}

/// Several numbers at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) sum: f64,
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Numbers {
    pub(super) const NONE: Self = Self { sum: 0.0, count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY };

    pub(super) fn one(value: f64) -> Self {
        Self { sum: value, count: 1, min: value, max: value }
    }

    fn add(&mut self, other: Self) {
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

#[derive(Debug)]
struct Sample {
    started: Instant,
    last: Instant,
    numbers: Numbers,
    histogram: Option<Box<Histogram>>,
}

impl Sample {
    fn new(now: Instant, with_histogram: bool) -> Self {
        let histogram = with_histogram.then(Box::default);
        Self { started: now, last: now, numbers: Numbers::NONE, histogram }
    }

    fn restart(&mut self, now: Instant) {
        (self.started, self.last, self.numbers) = (now, now, Numbers::NONE);
        if let Some(histogram) = &mut self.histogram {
            histogram.clear();
        }
    }
}

/// The samples of one sensor.
#[derive(Debug)]
pub(super) struct Samples {
    window: Window,
    ring: Vec<Sample>,
    present: usize,
    with_histogram: bool,
}

impl Samples {
    pub(super) fn new(window: Window, with_histogram: bool) -> Self {
        Self { window, ring: Vec::new(), present: 0, with_histogram }
    }

    pub(super) fn record(&mut self, now: Instant, numbers: Numbers) {
        let length = self.window.length;
        if let Some(sample) = self.ring.get(self.present)
            && now.saturating_duration_since(sample.started) >= length
        {
            let kept = usize::try_from(self.window.samples).unwrap_or(usize::MAX).saturating_add(1);
            self.present = (self.present + 1) % kept;
            if let Some(oldest) = self.ring.get_mut(self.present) {
                oldest.restart(now);
            }
        }
        if self.ring.get(self.present).is_none() {
            self.ring.push(Sample::new(now, self.with_histogram));
        }
        let Some(sample) = self.ring.get_mut(self.present) else { return };
        sample.last = now;
        sample.numbers.add(numbers);
        if let Some(histogram) = &mut sample.histogram {
            histogram.record(numbers.max, numbers.count);
        }
    }

    /// Forgets what is too old, and begins where nothing was ever recorded.
    fn purge(&mut self, now: Instant) {
        let span = self.window.span();
        for sample in &mut self.ring {
            if now.saturating_duration_since(sample.last) >= span {
                sample.restart(now);
            }
        }
        if self.ring.is_empty() {
            self.ring.push(Sample::new(now, self.with_histogram));
        }
    }

    /// What was recorded within the window.
    pub(super) fn numbers(&mut self, now: Instant) -> Numbers {
        self.purge(now);
        let mut all = Numbers::NONE;
        self.ring.iter().for_each(|sample| all.add(sample.numbers));
        all
    }

    /// Over how long it was recorded. Samples that would be there, had recording begun earlier, count as if they had been
    /// empty, so that the first number is no burst.
    pub(super) fn elapsed(&mut self, now: Instant) -> Duration {
        self.purge(now);
        let oldest = self.ring.iter().map(|sample| sample.started).min().unwrap_or(now);
        let elapsed = now.saturating_duration_since(oldest);
        let length = self.window.length.max(SHORTEST);
        let full = u32::try_from(elapsed.as_nanos() / length.as_nanos()).unwrap_or(u32::MAX);
        let missing = self.window.samples.saturating_sub(1).saturating_sub(full);
        elapsed.saturating_add(length.saturating_mul(missing)).max(SHORTEST)
    }

    /// What so many in a thousand numbers of the window are at most; not a number where there is none.
    pub(super) fn permille(&mut self, now: Instant, permille: u16) -> f64 {
        self.purge(now);
        Histogram::permille(self.ring.iter().filter_map(|sample| sample.histogram.as_deref()), permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const WINDOW: Window = Window { length: Duration::from_secs(30), samples: 2 };

    #[test]
    fn a_first_number_is_no_burst() {
        let start = clock::now().into_std();
        let mut samples = Samples::new(WINDOW, false);
        samples.record(start, Numbers::one(60.0));
        assert_eq!(samples.elapsed(start), Duration::from_secs(30));
        let later = start + Duration::from_secs(15);
        assert_eq!(samples.elapsed(later), Duration::from_secs(45), "the present sample and one that is missing");
        assert_eq!(samples.numbers(later).sum, 60.0);
    }

    #[test]
    fn old_numbers_go_a_sample_at_a_time() {
        let start = clock::now().into_std();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut samples = Samples::new(WINDOW, false);
        for second in [0, 10, 31, 62] {
            samples.record(at(second), Numbers::one(second as f64));
        }
        // The first sample's last number is of second 10: it counts until second 70.
        assert_eq!(samples.numbers(at(69)).sum, 103.0);
        assert_eq!(samples.elapsed(at(69)), Duration::from_secs(69));
        assert_eq!(samples.numbers(at(70)).sum, 93.0);
        assert_eq!(samples.numbers(at(70)).max, 62.0);
        assert_eq!(samples.numbers(at(121)).count, 1);
        assert_eq!(samples.numbers(at(122)).count, 0);
        assert_eq!(samples.ring.len(), 3, "no more than one sample above the window is kept");
    }
}
