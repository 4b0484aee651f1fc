//! The less loaded of two that are drawn.

use super::contract::{Choice, Destination, Meta, Policy, Scope};
use super::seeded::Seeded;

/// Draws two destinations by their weights and takes the one where the message would be done sooner: its latency times the
/// messages in flight there and this one, where a destination of half the largest weight counts its messages twice.
///
/// Two draws avoid both the worst choice and the stampede to the best one that all nodes see (Mitzenmacher, *The power of two
/// choices in randomized load balancing*, 2001). While a latency is not known, only the messages in flight are compared.
/// Destinations that are drained, without members, or out of reach are not drawn; if all are out of reach, those are.
#[derive(Debug, Clone)]
pub struct LeastLoaded {
    numbers: Seeded,
}

impl LeastLoaded {
    /// Draws as the seed says.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            numbers: Seeded::new(seed),
        }
    }

    /// Draws one of the open destinations by weight, not the one at `but`.
    fn draw(
        &mut self,
        destinations: &[Destination],
        open: impl Fn(&Destination) -> bool,
        but: Option<usize>,
    ) -> Option<usize> {
        let candidates = || {
            let candidates = destinations.iter().enumerate();
            candidates.filter(|(index, d)| Some(*index) != but && open(d))
        };
        let total: u64 = candidates().map(|(_, d)| u64::from(d.weight)).sum();
        if total == 0 {
            return None;
        }
        let mut position = self.numbers.below(total);
        for (index, destination) in candidates() {
            match position.checked_sub(u64::from(destination.weight)) {
                Some(rest) => position = rest,
                None => return Some(index),
            }
        }
        None
    }
}

/// Whether `one` would be done with a message sooner than `other`.
fn is_sooner(one: &Destination, other: &Destination) -> bool {
    let known = one.latency > 0 && other.latency > 0;
    let largest = u128::from(one.weight.max(other.weight));
    // The latency times (in_flight * largest / weight + 1), as a fraction of the weight.
    let work = |d: &Destination| {
        let latency = if known { u128::from(d.latency) } else { 1 };
        let messages = u128::from(d.in_flight) * largest + u128::from(d.weight);
        latency.saturating_mul(messages)
    };
    let (one_work, other_work) = (work(one), work(other));
    one_work.saturating_mul(u128::from(other.weight))
        < other_work.saturating_mul(u128::from(one.weight))
}

impl Policy for LeastLoaded {
    fn name(&self) -> &'static str {
        "least-loaded"
    }

    fn choose(&mut self, _meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        let healthy = destinations
            .iter()
            .any(|d| d.ready && d.healthy && d.weight > 0);
        let open = |d: &Destination| d.ready && (d.healthy || !healthy);
        let Some(first) = self.draw(destinations, open, None) else {
            return Choice::None;
        };
        match self.draw(destinations, open, Some(first)) {
            Some(second) if is_sooner(&destinations[second], &destinations[first]) => {
                Choice::One(second)
            }
            _ => Choice::One(first),
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
    use super::*;
    use proptest::prelude::*;

    fn counts(destinations: &[Destination], messages: usize) -> Vec<usize> {
        let mut policy = LeastLoaded::new(7);
        let mut counts = vec![0; destinations.len()];
        for _ in 0..messages {
            if let Choice::One(index) = policy.choose(&Meta::default(), destinations) {
                counts[index] += 1;
            }
        }
        counts
    }

    #[test]
    fn without_load_the_weights_decide_and_with_load_the_load() {
        let mut list = [Destination::new(1, 80), Destination::new(2, 20)];
        let share = counts(&list, 10_000)[0];
        assert!((7_800..8_200).contains(&share), "{share}");
        // Four times the weight may have four times the messages.
        (list[0].in_flight, list[1].in_flight) = (41, 10);
        assert_eq!(counts(&list, 100), [0, 100]);
        (list[0].in_flight, list[1].in_flight) = (39, 10);
        assert_eq!(counts(&list, 100), [100, 0]);
        (list[0].latency, list[1].latency) = (5_000, 4_000);
        assert_eq!(counts(&list, 100), [0, 100]);
        list[1].healthy = false;
        assert_eq!(counts(&list, 100), [100, 0]);
        list[0].healthy = false;
        assert_eq!(counts(&list, 100), [0, 100]);
        list[1].ready = false;
        assert_eq!(counts(&list, 100), [100, 0]);
        list[0].weight = 0;
        assert_eq!(counts(&list, 100), [0, 0]);
    }

    #[test]
    fn a_slow_destination_gets_what_it_can_do_and_the_others_the_rest() {
        // A message that is handed out ends when its destination has done all before it; one arrives each tick.
        let ticks_each = [2_u64, 2, 20];
        let mut policy = LeastLoaded::new(1);
        let mut queues = [0_u64; 3];
        let mut done = [0; 3];
        let mut deepest = 0;
        for tick in 0..30_000_u64 {
            for (place, queue) in queues.iter_mut().enumerate() {
                if tick % ticks_each[place] == 0 && *queue > 0 {
                    *queue -= 1;
                    done[place] += 1;
                }
            }
            let list: Vec<_> = (0..3)
                .map(|place| Destination {
                    in_flight: queues[place] as u32,
                    latency: ticks_each[place] * 1_000,
                    ..Destination::new(place as u64, 1)
                })
                .collect();
            if let Choice::One(place) = policy.choose(&Meta::default(), &list) {
                queues[place] += 1;
            }
            deepest = deepest.max(*queues.iter().max().unwrap_or(&0));
        }
        // Round robin would leave 8,500 messages in the slow queue.
        assert!(deepest < 60, "{deepest}");
        assert!(done[0] > 13_000 && done[1] > 13_000, "{done:?}");
    }

    proptest! {
        /// The plain model: the one that is chosen is never sooner passed over, because of two different ones that are open
        /// the sooner wins; with two destinations both are always drawn.
        #[test]
        fn of_two_the_sooner_is_taken(
            loads in proptest::collection::vec((1_u32..1000, 0_u32..1000, 1_u64..1_000_000), 2),
        ) {
            let list: Vec<_> = loads.iter().enumerate().map(|(id, (weight, in_flight, latency))| Destination {
                in_flight: *in_flight,
                latency: *latency,
                ..Destination::new(id as u64, *weight)
            }).collect();
            let largest = f64::from(list[0].weight.max(list[1].weight));
            let due = |d: &Destination| {
                d.latency as f64 * (f64::from(d.in_flight) * largest / f64::from(d.weight) + 1.0)
            };
            let (one, other) = (due(&list[0]), due(&list[1]));
            prop_assume!((one - other).abs() > 1e-6 * one);
            let sooner = usize::from(other < one);
            prop_assert_eq!(LeastLoaded::new(3).choose(&Meta::default(), &list), Choice::One(sooner));
        }
    }
}
