//! What arrived: a number and sums that change when a message is lost, doubled, exchanged or changed.

use crate::message::Item;

/// Words of a message that are summed up.
pub const WORDS: usize = 8;

/// The account of messages that arrived, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    count: u64,
    /// Each word on its own, so that words that change places are noticed.
    words: [u64; WORDS],
    /// Of the first word: two messages in place of two others of the same sum are noticed.
    squares: u64,
}

impl Checksum {
    /// Adds a message of these words; the first one is its account.
    #[inline(always)]
    pub fn add(&mut self, account: u64, rest: [u64; WORDS - 1]) {
        self.count += 1;
        self.words[0] = self.words[0].wrapping_add(account);
        for (sum, word) in self.words[1..].iter_mut().zip(rest) {
            *sum = sum.wrapping_add(word);
        }
        self.squares = self.squares.wrapping_add(account.wrapping_mul(account));
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (sum, word) in self.words.iter_mut().zip(other.words) {
            *sum = sum.wrapping_add(word);
        }
        self.squares = self.squares.wrapping_add(other.squares);
    }

    /// How many messages arrived.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What should arrive of messages with these numbers, each processed once.
    pub fn expected<T: Item>(numbers: impl Iterator<Item = u64>) -> Self {
        let mut checksum = Self::default();
        for number in numbers {
            let mut item = T::new(number);
            item.raise();
            item.add_to(&mut checksum);
        }
        checksum
    }

    /// Messages that are missing or too many; at least 1 where the number is right and a sum is not.
    pub fn lost(&self, expected: &Self) -> u64 {
        let difference = expected.count.abs_diff(self.count);
        if difference == 0 && self != expected {
            1
        } else {
            difference
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Named, Order};

    fn of(numbers: &[u64]) -> Checksum {
        Checksum::expected::<Order>(numbers.iter().copied())
    }

    #[test]
    fn whatever_goes_wrong_shows() {
        let expected = of(&[0, 1, 2, 3]);
        assert_eq!(of(&[3, 1, 0, 2]).lost(&expected), 0, "order is free");
        assert_eq!(of(&[0, 1, 2]).lost(&expected), 1, "one is missing");
        assert_eq!(of(&[0, 1, 2, 3, 3]).lost(&expected), 1, "one came twice");
        assert_eq!(of(&[1, 1, 1, 3]).lost(&expected), 1, "others of this sum");
        let mut changed = of(&[0, 1, 2]);
        let mut order = Order::new(3);
        order.raise();
        order.fields[5] += 1;
        order.add_to(&mut changed);
        assert_eq!(changed.lost(&expected), 1, "a field was changed");
        let mut unprocessed = of(&[0, 1, 2]);
        Order::new(3).add_to(&mut unprocessed);
        assert_eq!(unprocessed.lost(&expected), 1, "nobody added 1");
    }

    #[test]
    fn memory_that_a_body_owns_is_summed_up_too() {
        let mut named = Named::new(7);
        let mut before = Checksum::default();
        named.add_to(&mut before);
        named.name.replace_range(23..24, "?");
        let mut after = Checksum::default();
        named.add_to(&mut after);
        assert_eq!(after.lost(&before), 1);
    }

    #[test]
    fn two_parts_make_the_whole() {
        let mut whole = of(&[0, 2, 4]);
        whole.merge(&of(&[1, 3]));
        assert_eq!(whole, of(&[0, 1, 2, 3, 4]));
    }
}
