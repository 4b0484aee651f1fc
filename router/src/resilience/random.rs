//! Numbers that follow from a seed, so that a run can be repeated.

/// A sequence of numbers that follows from a seed (splitmix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number from 0 up to and including `most`.
    pub fn up_to(&mut self, most: u64) -> u64 {
        scale(self.next_u64(), most)
    }
}

/// A random number brought to 0 up to and including `most`.
pub(super) fn scale(random: u64, most: u64) -> u64 {
    // The high half of the product lies in 0..=most.
    ((u128::from(random) * (u128::from(most) + 1)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fill_their_range_and_follow_from_the_seed() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        let numbers: Vec<u64> = (0..1000).map(|_| one.up_to(9)).collect();
        assert!(
            (0..1000)
                .map(|_| other.up_to(9))
                .eq(numbers.iter().copied())
        );
        for number in 0..=9 {
            let count = numbers.iter().filter(|n| **n == number).count();
            assert!((50..200).contains(&count), "{number}: {count}");
        }
        assert_eq!(scale(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(scale(0, 5), 0);
    }
}
