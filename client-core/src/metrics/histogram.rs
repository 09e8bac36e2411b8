//! How numbers spread, in buckets of a sixteenth of a power of two: the buckets are the first bits of the number itself.

/// Bits of the fraction that tell buckets apart.
const FRACTION_BITS: u32 = 4;
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - FRACTION_BITS;
/// 2 to the power of -10: smaller numbers go into the first bucket.
const SMALLEST: f64 = 1.0 / 1024.0;
/// From 2 to the power of -10 to that of 30: of milliseconds, from one microsecond to twelve days.
const BUCKETS: usize = 40 << FRACTION_BITS;

/// Counts by bucket.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: [u32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

fn bucket(value: f64) -> usize {
    let value = if value >= SMALLEST { value } else { SMALLEST };
    let from_smallest = (value.to_bits() >> SHIFT).saturating_sub(SMALLEST.to_bits() >> SHIFT);
    usize::try_from(from_smallest).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The number that the bucket ends before.
fn upper_end(bucket: usize) -> f64 {
    f64::from_bits(((SMALLEST.to_bits() >> SHIFT) + bucket as u64 + 1) << SHIFT)
}

impl Histogram {
    pub(super) fn record(&mut self, value: f64, count: u64) {
        if let Some(bucket) = self.counts.get_mut(bucket(value)) {
            *bucket = bucket.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    pub(super) fn clear(&mut self) {
        self.counts = [0; BUCKETS];
    }

    /// What so many in a thousand of the numbers of all `histograms` are at most; not a number where there is none.
    pub(super) fn permille<'h>(histograms: impl Iterator<Item = &'h Self> + Clone, permille: u16) -> f64 {
        let count_of = |at: usize| -> u64 {
            histograms.clone().filter_map(|histogram| histogram.counts.get(at)).map(|count| u64::from(*count)).sum()
        };
        let total: u64 = (0..BUCKETS).map(count_of).sum();
        if total == 0 {
            return f64::NAN;
        }
        let wanted = total.saturating_mul(u64::from(permille)).div_ceil(1000).clamp(1, total);
        let mut seen = 0;
        for at in 0..BUCKETS {
            seen += count_of(at);
            if seen >= wanted {
                return upper_end(at);
            }
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_percentile_and_odd_numbers_do_no_harm() {
        let mut histogram = Histogram::default();
        assert!(Histogram::permille([&histogram].into_iter(), 990).is_nan());
        for odd in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0] {
            assert_eq!(bucket(odd), 0);
            histogram.record(odd, 1);
        }
        assert_eq!(bucket(f64::INFINITY), BUCKETS - 1);
        histogram.record(f64::MAX, u64::MAX);
        histogram.record(f64::MAX, 1);
        assert!(Histogram::permille([&histogram].into_iter(), 999) > 1e9);
    }

    proptest! {
        #[test]
        fn percentiles_are_at_most_one_step_above(
            mut values in prop::collection::vec(0.001_f64..1e8, 1..300),
            permille in 1_u16..=1000,
        ) {
            let mut histograms = [Histogram::default(), Histogram::default()];
            for (at, value) in values.iter().enumerate() {
                histograms[at % 2].record(*value, 1);
            }
            values.sort_by(f64::total_cmp);
            let rank = (values.len() * usize::from(permille)).div_ceil(1000).max(1);
            let exact = values[rank - 1];
            let found = Histogram::permille(histograms.iter(), permille);
            prop_assert!(found > exact && found <= exact * 1.0626, "{found} for {exact}");
        }
    }
}
