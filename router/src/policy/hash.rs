//! Weighted rendezvous hashing: a key has one destination, the same on every node.
//!
//! `cost` is what an exponential clock of rate `weight` would show, and the first clock to ring wins: each
//! destination gets its weight's share of the keys, and a destination that is added, removed or given a new
//! weight moves only keys to or from itself. The formula stands in the documentation of [`Hash`](struct@Hash).

use xxhash_rust::xxh3::xxh3_64;

use super::contract::{Choice, Destination, Meta, Policy, Scope};

/// The stable id of a destination: the XXH3 of its name.
#[must_use]
pub fn destination_id(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// The index of the destination for `key` by weighted rendezvous hashing, `None` when no weight is above 0.
///
/// `destinations` gives each one's id and weight. The formula stands in the documentation of [`Hash`](struct@Hash).
#[must_use]
pub fn rendezvous(key: u64, destinations: impl IntoIterator<Item = (u64, u32)>) -> Option<usize> {
    let mut best: Option<(usize, u64, u64, u32)> = None;
    for (index, (id, weight)) in destinations.into_iter().enumerate() {
        if weight == 0 {
            continue;
        }
        let cost = cost(mix(key, id));
        let better = match best {
            None => true,
            Some((_, best_id, best_cost, best_weight)) => {
                let (this, that) = (
                    u128::from(cost) * u128::from(best_weight),
                    u128::from(best_cost) * u128::from(weight),
                );
                this < that || (this == that && id < best_id)
            }
        };
        if better {
            best = Some((index, id, cost, weight));
        }
    }
    best.map(|(index, ..)| index)
}

fn mix(key: u64, id: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.to_le_bytes());
    bytes[8..].copy_from_slice(&id.to_le_bytes());
    xxh3_64(&bytes)
}

/// `-log2((h | 1) / 2^64)` in units of 2^-32, between 1 and 64 * 2^32.
fn cost(h: u64) -> u64 {
    let number = h | 1;
    let zeros = number.leading_zeros();
    let mantissa = number << zeros;
    let index = ((mantissa >> 53) & 1023) as usize;
    let remainder = (mantissa >> 21) & 0xffff_ffff;
    let (low, high) = (LOG2[index], LOG2[index + 1]);
    ((u64::from(zeros) + 1) << 32) - low - (((high - low) * remainder) >> 32)
}

/// `floor(log2(1 + i / 1024) * 2^32)`.
static LOG2: [u64; 1025] = log2_table();

const fn log2_table() -> [u64; 1025] {
    let mut table = [0; 1025];
    let mut index = 0;
    while index < 1024 {
        table[index] = log2_fraction(index as u64);
        index += 1;
    }
    table[1024] = 1 << 32;
    table
}

/// The first 32 binary digits of `log2(1 + index / 1024)`: each squaring doubles the logarithm, and whether
/// the square reaches 2 is the next digit. 63 bits of precision leave the digits free of rounding errors.
const fn log2_fraction(index: u64) -> u64 {
    let mut value = (1u64 << 63) | (index << 53);
    let mut digits = 0;
    let mut round = 0;
    while round < 32 {
        let square = (value as u128) * (value as u128);
        digits <<= 1;
        if square >> 127 == 1 {
            digits |= 1;
            value = (square >> 64) as u64;
        } else {
            value = (square >> 63) as u64;
        }
        round += 1;
    }
    digits
}

/// Weighted rendezvous hashing of the key.
///
/// A key stays with its destination while ids and weights stay, on every node alike; when the destination
/// cannot take a message, its keys wait. This is also what "sticky" makes of the weighted policy.
///
/// # The formula
///
/// All in integers; `^` is power, `<<` and `>>` shift, `|` and `&` work on bits.
///
/// 1. `id = xxh3_64(name)` for a destination, seed 0. A message's key is a 64-bit number (for a key of bytes
///    their `xxh3_64`), 0 for a message without a key.
/// 2. `h = xxh3_64(key as 8 bytes little endian, then id as 8 bytes little endian)`.
/// 3. `n = h | 1`; `z` = its leading zero bits; `m = n << z`; `i = (m >> 53) & 1023`;
///    `r = (m >> 21) & 0xffffffff`; `L[i] = floor(log2(1 + i / 1024) * 2^32)`;
///    `cost = (z + 1) * 2^32 - L[i] - (((L[i + 1] - L[i]) * r) >> 32)`.
/// 4. The smallest `cost / weight` is chosen, weights of 0 left out, fractions compared exactly; of equal ones
///    the smaller id.
#[derive(Debug, Clone, Default)]
pub struct Hash {}

impl Hash {
    /// The policy; it has no state.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl Policy for Hash {
    fn name(&self) -> &'static str {
        "hash"
    }

    fn choose(&mut self, meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        match rendezvous(
            meta.key_number(),
            destinations.iter().map(|d| (d.id, d.weight)),
        ) {
            Some(index) => Choice::One(index),
            None => Choice::None,
        }
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn scope(&self) -> Scope {
        Scope::Stateless
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_is_the_logarithm() {
        for (index, entry) in LOG2.iter().enumerate() {
            let exact = (1.0 + index as f64 / 1024.0).log2() * 2f64.powi(32);
            assert_eq!(*entry, exact.floor() as u64, "entry {index}");
        }
    }

    #[test]
    fn the_cost_falls_as_the_hash_rises() {
        assert_eq!(cost(0), 64 << 32);
        assert_eq!(cost(1 << 63), 1 << 32);
        assert!(cost(u64::MAX) >= 1);
        let mut last = u64::MAX;
        for step in 0..100_000u64 {
            let h = step * (u64::MAX / 100_000);
            assert!(cost(h) <= last);
            last = cost(h);
            let exact = -(((h | 1) as f64) / 2f64.powi(64)).log2() * 2f64.powi(32);
            assert!(
                (cost(h) as f64 - exact).abs() < 2000.0,
                "{h}: {} against {exact}",
                cost(h)
            );
        }
    }

    #[test]
    fn choices_never_change_between_versions() {
        // Written down once: nodes of different versions must agree.
        const PICKS: &str = "1111111111111111112111111111111111222111";
        let destinations = [
            (destination_id("risk-v1"), 80),
            (destination_id("risk-v2"), 20),
        ];
        assert_eq!(destinations[0].0, xxh3_64(b"risk-v1"));
        let picks: String = (0..40)
            .map(|key| char::from(b'1' + rendezvous(key, destinations).unwrap() as u8))
            .collect();
        assert_eq!(picks, PICKS);
    }

    #[test]
    fn shares_follow_weights_within_three_sigma() {
        let destinations: Vec<(u64, u32)> = [("a", 50), ("b", 30), ("c", 15), ("d", 5)]
            .map(|(name, weight)| (destination_id(name), weight))
            .to_vec();
        let keys = 200_000u64;
        let mut counts = [0u64; 4];
        for key in 0..keys {
            counts
                [rendezvous(xxh3_64(&key.to_le_bytes()), destinations.iter().copied()).unwrap()] +=
                1;
        }
        for (count, (_, weight)) in counts.iter().zip(&destinations) {
            let share = f64::from(*weight) / 100.0;
            let sigma = (keys as f64 * share * (1.0 - share)).sqrt();
            assert!(
                (*count as f64 - keys as f64 * share).abs() < 3.0 * sigma,
                "{counts:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_destination_added_or_removed_moves_at_most_its_fair_share(
            weights in proptest::collection::vec(1_u32..20, 1..8),
            added in 1_u32..20,
            salt in any::<u64>(),
        ) {
            let named = |(place, weight): (usize, &u32)| (destination_id(&format!("{salt}-{place}")), *weight);
            let before: Vec<(u64, u32)> = weights.iter().enumerate().map(named).collect();
            let mut after = before.clone();
            after.push((destination_id(&format!("{salt}-added")), added));
            let keys = 4_000_u64;
            // The same keys move when it comes and when it goes.
            let moved = (0..keys).map(|key| xxh3_64(&key.to_le_bytes())).filter(|key| {
                let (was, is) = (rendezvous(*key, before.clone()), rendezvous(*key, after.clone()));
                was != is
            }).count() as f64;
            let total: u32 = after.iter().map(|(_, weight)| weight).sum();
            let share = f64::from(added) / f64::from(total);
            let sigma = (keys as f64 * share * (1.0 - share)).sqrt();
            prop_assert!(moved <= keys as f64 * share + 5.0 * sigma, "{moved} of {keys}, the share is {share}");
        }

        #[test]
        fn a_change_moves_only_keys_of_what_changed(
            weights in proptest::collection::vec(0u32..100, 2..8),
            changed in 0usize..8,
            to in 0u32..100,
            keys in proptest::collection::vec(any::<u64>(), 200),
        ) {
            let changed = changed % weights.len();
            let before: Vec<(u64, u32)> = weights.iter().enumerate().map(|(id, w)| (id as u64 * 31, *w)).collect();
            let mut after = before.clone();
            after[changed].1 = to;
            for key in keys {
                let (was, is) = (rendezvous(key, before.clone()), rendezvous(key, after.clone()));
                if was != is {
                    let (from, to) = if to > weights[changed] { (is, was) } else { (was, is) };
                    prop_assert_eq!(from, Some(changed));
                    prop_assert_ne!(to, Some(changed));
                }
                // The order of the list means nothing.
                let mut turned = after.clone();
                turned.reverse();
                let id = |list: &[(u64, u32)], index: Option<usize>| index.map(|index| list[index].0);
                prop_assert_eq!(id(&after, is), id(&turned, rendezvous(key, turned.clone())));
            }
        }
    }
}
