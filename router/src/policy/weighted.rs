//! Exact shares, spread evenly.

use super::contract::{Choice, Destination, Meta, Policy, Scope};

/// Gives each destination its share of the messages, exactly and evenly.
///
/// Let `T` be the sum of the weights divided by their greatest common divisor, and `w` a destination's weight
/// divided by it. Messages are numbered from 0 in periods of `T`. The destination's unit `j` (from 0) within a
/// period may be used from message `floor(j * T / w)` on and is due before message `ceil((j + 1) * T / w)`;
/// of the units that may be used the one due first is, and of equal ones that of the first in the list. So
/// after any number of messages each destination is less than one message away from its share, in every window
/// less than two, and over any whole number of periods it has exactly its share.
///
/// A destination that is due but not ready holds the split until it is: shares are the promise here. Periods
/// start anew when ids or weights change.
#[derive(Debug, Clone, Default)]
pub struct Weighted {
    units: Vec<Unit>,
    /// Length of a period in messages.
    period: u64,
    /// Messages chosen for in this period.
    position: u64,
}

/// The next unit of one destination.
#[derive(Debug, Clone)]
struct Unit {
    id: u64,
    /// As given, to notice a change.
    weight: u32,
    /// Divided by the common divisor.
    share: u64,
    used: u64,
    from: u64,
    due: u64,
}

impl Unit {
    fn place(&mut self, used: u64, period: u64) {
        self.used = used;
        if self.share > 0 {
            let (period, share) = (u128::from(period), u128::from(self.share));
            // Both fit: used < share, so neither exceeds the period by more than one unit's length.
            self.from = (u128::from(used) * period / share) as u64;
            self.due = ((u128::from(used) + 1) * period).div_ceil(share) as u64;
        }
    }
}

impl Weighted {
    /// Starts at the beginning of a period.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn is_for(&self, destinations: &[Destination]) -> bool {
        self.units.len() == destinations.len()
            && self
                .units
                .iter()
                .zip(destinations)
                .all(|(unit, d)| unit.id == d.id && unit.weight == d.weight)
    }

    fn restart(&mut self, destinations: &[Destination]) {
        let divisor = destinations
            .iter()
            .fold(0, |divisor, d| common_divisor(divisor, u64::from(d.weight)))
            .max(1);
        self.period = destinations
            .iter()
            .map(|d| u64::from(d.weight) / divisor)
            .sum();
        self.position = 0;
        self.units.clear();
        self.units.extend(destinations.iter().map(|d| {
            let share = u64::from(d.weight) / divisor;
            let mut unit = Unit {
                id: d.id,
                weight: d.weight,
                share,
                used: 0,
                from: 0,
                due: 0,
            };
            unit.place(0, self.period);
            unit
        }));
    }
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl Policy for Weighted {
    fn name(&self) -> &'static str {
        "weighted"
    }

    fn choose(&mut self, _meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        if !self.is_for(destinations) {
            self.restart(destinations);
        }
        let open = |unit: &&Unit| unit.used < unit.share && unit.from <= self.position;
        let due_first = self
            .units
            .iter()
            .enumerate()
            .filter(|(_, unit)| open(unit))
            .min_by_key(|(_, unit)| unit.due);
        let Some(index) = due_first.map(|(index, _)| index) else {
            return Choice::None;
        };
        self.position += 1;
        if self.position == self.period {
            self.position = 0;
            self.units
                .iter_mut()
                .for_each(|unit| unit.place(0, self.period));
        } else {
            let unit = &mut self.units[index];
            unit.place(unit.used + 1, self.period);
        }
        Choice::One(index)
    }

    fn keeps_order(&self) -> bool {
        false
    }

    fn scope(&self) -> Scope {
        Scope::Shard
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(weights: &[u32]) -> Vec<Destination> {
        weights
            .iter()
            .enumerate()
            .map(|(id, weight)| Destination::new(id as u64, *weight))
            .collect()
    }

    fn counts(weights: &[u32], messages: usize) -> Vec<u64> {
        let (mut policy, list) = (Weighted::new(), list(weights));
        let mut counts = vec![0; weights.len()];
        for _ in 0..messages {
            if let Choice::One(index) = policy.choose(&Meta::default(), &list) {
                counts[index] += 1;
            }
        }
        counts
    }

    #[test]
    fn a_million_messages_split_80_to_20_exactly() {
        assert_eq!(counts(&[80, 20], 1_000_000), [800_000, 200_000]);
        assert_eq!(counts(&[1, 1, 1], 1_000_000), [333_334, 333_333, 333_333]);
        assert_eq!(counts(&[5, 0, 1], 600), [500, 0, 100]);
    }

    #[test]
    fn any_thousand_consecutive_messages_split_80_to_20_exactly() {
        let (mut policy, list) = (Weighted::new(), list(&[80, 20]));
        let mut last = std::collections::VecDeque::new();
        let mut second = 0;
        for _ in 0..20_000 {
            let Choice::One(index) = policy.choose(&Meta::default(), &list) else {
                panic!("no choice");
            };
            last.push_back(index);
            second += index;
            if last.len() > 1_000 {
                second -= last.pop_front().unwrap_or(0);
                assert_eq!(second, 200);
            }
        }
    }

    #[test]
    fn weights_that_change_live_lose_nothing_and_split_each_stretch() {
        let mut policy = Weighted::new();
        let (mut counts, mut messages) = ([0_u64; 2], 0);
        let mut expected = [0.0; 2];
        let stretches = [
            ([80, 20], 999),
            ([50, 50], 333),
            ([0, 1], 77),
            ([80, 20], 1_001),
            ([1, 0], 5),
        ];
        for (weights, length) in stretches {
            for _ in 0..length {
                let Choice::One(index) = policy.choose(&Meta::default(), &list(&weights)) else {
                    panic!("no choice");
                };
                assert!(weights[index] > 0, "a drained destination was chosen");
                counts[index] += 1;
                messages += 1;
            }
            let total = f64::from(weights[0] + weights[1]);
            for (expected, weight) in expected.iter_mut().zip(weights) {
                *expected += f64::from(length) * f64::from(weight) / total;
            }
        }
        assert_eq!(counts.iter().sum::<u64>(), messages);
        for (count, expected) in counts.iter().zip(expected) {
            assert!(
                (*count as f64 - expected).abs() < stretches.len() as f64,
                "{counts:?}"
            );
        }
    }

    #[test]
    fn a_stalled_destination_keeps_its_share() {
        let mut policy = Weighted::new();
        let mut list = list(&[1, 1]);
        list[0].ready = false;
        assert_eq!(policy.choose(&Meta::default(), &list), Choice::One(0));
        assert_eq!(policy.choose(&Meta::default(), &list), Choice::One(1));
    }

    #[test]
    fn new_weights_take_effect_with_the_next_message() {
        let mut policy = Weighted::new();
        for _ in 0..7 {
            policy.choose(&Meta::default(), &list(&[80, 20]));
        }
        for _ in 0..100 {
            assert_eq!(
                policy.choose(&Meta::default(), &list(&[0, 20])),
                Choice::One(1)
            );
        }
    }

    proptest! {
        #[test]
        fn every_prefix_is_within_one_and_every_window_within_two(
            weights in proptest::collection::vec(prop_oneof![0u32..10, 0u32..1000, any::<u32>()], 1..9),
            messages in 1usize..400,
        ) {
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            prop_assume!(total > 0.0);
            let (mut policy, list) = (Weighted::new(), list(&weights));
            let mut lags = vec![(0.0f64, 0.0f64); weights.len()];
            let mut counts = vec![0u64; weights.len()];
            for message in 1..=messages {
                let choice = policy.choose(&Meta::default(), &list);
                let Choice::One(index) = choice else { return Err(TestCaseError::fail("no choice")) };
                counts[index] += 1;
                for (index, weight) in weights.iter().enumerate() {
                    let lag = counts[index] as f64 - message as f64 * f64::from(*weight) / total;
                    prop_assert!(lag.abs() < 1.0 + 1e-6, "after {message}: {counts:?}");
                    lags[index] = (lags[index].0.min(lag), lags[index].1.max(lag));
                }
            }
            for (least, most) in lags {
                prop_assert!(most - least < 2.0 + 1e-6);
            }
        }
    }
}
