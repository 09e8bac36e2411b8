//! Random delays, drawn from a seed that is given.

/// SplitMix64: small, and the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `bound`; 0 where there is none.
    pub fn below(&mut self, bound: i64) -> i64 {
        match u64::try_from(bound) {
            Ok(bound) if bound > 0 => i64::try_from(self.next() % bound).unwrap_or(0),
            _ => 0,
        }
    }
}
