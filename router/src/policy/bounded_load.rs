//! Hashing of the key where no destination gets much more than its share.

use super::contract::{Choice, Destination, Meta, Policy, Scope};
use super::hash::rendezvous;

/// One in units of the load factor.
const ONE: u64 = 1_000_000;
/// The load factor where none is given: a destination may have a quarter more than its share.
pub const LOAD_FACTOR: f64 = 1.25;

/// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, *Consistent Hashing with Bounded Loads*, 2016),
/// over the order that weighted rendezvous hashing gives each key.
///
/// Let `m` be the messages in flight at all destinations, this one included, and `c` the load factor. A destination whose share
/// of the weights is `s` may have `ceil(c * m * s)` of them. A message goes to the first destination in the order of its key that
/// has fewer. So keys stay with their destination while the load is even, and what is too much of a hot key goes to the one that
/// is next for it, on every node the same. The smaller `c`, the more even the load and the more often keys move.
///
/// Since a key may have messages at two destinations at once, its order is not kept.
#[derive(Debug, Clone)]
pub struct BoundedLoad {
    factor: u64,
}

impl BoundedLoad {
    /// With this load factor, which is at least 1; what is less, or no number, counts as 1.
    #[must_use]
    pub fn new(factor: f64) -> Self {
        let factor = (factor * ONE as f64) as u64;
        Self {
            factor: factor.clamp(ONE, 1000 * ONE),
        }
    }
}

impl Default for BoundedLoad {
    fn default() -> Self {
        Self::new(LOAD_FACTOR)
    }
}

impl Policy for BoundedLoad {
    fn name(&self) -> &'static str {
        "bounded-load"
    }

    fn choose(&mut self, meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        let open = |d: &&Destination| d.ready && d.weight > 0;
        let healthy = destinations.iter().filter(open).any(|d| d.healthy);
        let open = |d: &&Destination| open(d) && (d.healthy || !healthy);
        let (mut messages, mut weights) = (1_u128, 0_u128);
        for destination in destinations.iter().filter(open) {
            messages += u128::from(destination.in_flight);
            weights += u128::from(destination.weight);
        }
        if weights == 0 {
            return Choice::None;
        }
        let has_room = |d: &&Destination| {
            let capacity = (u128::from(self.factor) * messages * u128::from(d.weight))
                .div_ceil(u128::from(ONE) * weights);
            open(d) && u128::from(d.in_flight) < capacity
        };
        // Leaving out those that are full makes the next one in the key's order the first.
        let candidates = destinations
            .iter()
            .map(|d| (d.id, if has_room(&d) { d.weight } else { 0 }));
        match rendezvous(meta.key_number(), candidates) {
            Some(index) => Choice::One(index),
            None => Choice::None,
        }
    }

    fn keeps_order(&self) -> bool {
        false
    }

    fn scope(&self) -> Scope {
        Scope::Shard
    }

    fn reads_load(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::{Hash, destination_id};
    use super::*;
    use mcpbus_actors::Key;
    use proptest::prelude::*;

    fn list(weights: &[u32]) -> Vec<Destination> {
        let named = |(index, weight): (usize, &u32)| {
            Destination::new(destination_id(&format!("group-{index}")), *weight)
        };
        weights.iter().enumerate().map(named).collect()
    }

    fn message(key: u64) -> Meta<'static> {
        Meta::new(Some(Key(key)), 0, 0)
    }

    #[test]
    fn a_hot_key_spreads_as_far_as_it_must() {
        let mut list = list(&[1, 1, 1, 1]);
        let mut policy = BoundedLoad::new(1.25);
        for _ in 0..1_000 {
            if let Choice::One(index) = policy.choose(&message(42), &list) {
                list[index].in_flight += 1;
            }
        }
        let mut loads: Vec<u32> = list.iter().map(|d| d.in_flight).collect();
        loads.sort_unstable();
        // Three are as full as they may be, and the last in the order of the key has what remains.
        assert_eq!(loads.iter().sum::<u32>(), 1_000);
        assert!(loads[3] <= 313 && loads[1] >= 311, "{loads:?}");
    }

    #[test]
    fn a_number_that_is_none_is_one() {
        for wrong in [f64::NAN, -1.0, 0.5] {
            assert_eq!(BoundedLoad::new(wrong).factor, ONE);
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_bound_and_everybody_is_served(
            weights in proptest::collection::vec(0_u32..20, 1..8),
            factor in 1.0..3.0_f64,
            keys in proptest::collection::vec(0_u64..12, 1..300),
        ) {
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            prop_assume!(total > 0.0);
            let (mut policy, mut list) = (BoundedLoad::new(factor), list(&weights));
            for (number, key) in keys.into_iter().enumerate() {
                let Choice::One(index) = policy.choose(&message(key), &list) else {
                    return Err(TestCaseError::fail("no choice"));
                };
                let share = f64::from(list[index].weight) / total;
                let bound = (factor * (number + 1) as f64 * share + 1e-3).ceil();
                list[index].in_flight += 1;
                prop_assert!(f64::from(list[index].in_flight) <= bound);
            }
        }

        /// The plain model: walk the order of the key, made by taking away its best destination again and again.
        #[test]
        fn the_first_with_room_in_the_order_of_the_key_is_taken(
            weights in proptest::collection::vec(1_u32..20, 1..8),
            loads in proptest::collection::vec(0_u32..30, 8),
            key in any::<u64>(),
        ) {
            let mut list = list(&weights);
            for (destination, load) in list.iter_mut().zip(&loads) {
                destination.in_flight = *load;
            }
            let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            let messages: u64 = 1 + list.iter().map(|d| u64::from(d.in_flight)).sum::<u64>();
            let mut left: Vec<(u64, u32)> = list.iter().map(|d| (d.id, d.weight)).collect();
            let expected = loop {
                let Some(best) = rendezvous(key, left.iter().copied()) else {
                    return Err(TestCaseError::fail("all are full"));
                };
                let capacity = (5 * messages * u64::from(list[best].weight)).div_ceil(4 * total);
                if u64::from(list[best].in_flight) < capacity {
                    break best;
                }
                left[best].1 = 0;
            };
            let mut policy = BoundedLoad::new(1.25);
            prop_assert_eq!(policy.choose(&message(key), &list), Choice::One(expected));
        }

        #[test]
        fn without_load_it_is_the_hash(weights in proptest::collection::vec(0_u32..20, 1..8), key in any::<u64>()) {
            let list = list(&weights);
            let hash = Hash::new().choose(&message(key), &list);
            prop_assert_eq!(BoundedLoad::default().choose(&message(key), &list), hash);
        }
    }
}
