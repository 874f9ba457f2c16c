//! Java's random numbers (java.util.Random), of which some sketches are made: the same seed gives the
//! same sketch.

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;

/// A sequence of numbers.
#[derive(Debug, Clone)]
pub(super) struct JavaRandom(u64);

impl JavaRandom {
    pub(super) fn new(seed: i64) -> JavaRandom {
        JavaRandom((seed as u64 ^ MULTIPLIER) & MASK)
    }

    fn bits(&mut self, count: u32) -> u64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        self.0 >> (48 - count)
    }

    /// From 0 to below `i32::MAX`.
    pub(super) fn below_max(&mut self) -> i64 {
        const BOUND: u64 = i32::MAX as u64;
        loop {
            let bits = self.bits(31);
            // The one number that is left over would be there once more than the others.
            if bits < BOUND {
                return bits as i64;
            }
        }
    }

    /// From 0 to below 1.
    pub(super) fn real(&mut self) -> f64 {
        let high = self.bits(26) << 27;
        (high + self.bits(27)) as f64 / (1_u64 << 53) as f64
    }
}
