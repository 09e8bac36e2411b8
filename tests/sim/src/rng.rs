//! The one source of chance that a simulation draws from.

/// SplitMix64: small, the same everywhere, and good enough to choose faults by.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A source that follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source, whose draws this one's do not depend on.
    pub fn fork(&mut self) -> Self {
        Self(self.bits())
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `range`, its end not included; its start where it is empty.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start);
        if width == 0 { range.start } else { range.start + self.bits() % width }
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, permille: u64) -> bool {
        self.within(0..1000) < permille
    }

    /// One of them.
    pub fn choose<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.within(0..from.len() as u64)).unwrap_or(0))
    }

    /// Brings them into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = usize::try_from(self.within(0..at as u64 + 1)).unwrap_or(0);
            items.swap(at, other);
        }
    }
}
