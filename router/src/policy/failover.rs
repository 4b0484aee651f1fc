//! One level after the other: what is left over when a level is not well goes to the next.

use super::contract::{Choice, Destination, Meta, Policy, Scope};
use super::weighted::Weighted;
use std::collections::BTreeMap;

/// One in units of shares.
const ONE: u64 = 1_000_000;
/// A level counts as whole while it has at least `1 / 1.4`, about 72 %, of its weight.
const OVERPROVISIONING: u64 = 1_400_000;
/// The panic threshold where none is given, in percent.
pub const PANIC_THRESHOLD: u32 = 50;

/// Failover by priority with the semantics of Envoy (its documentation: *Priority levels*, *Overprovisioning factor*, *Panic
/// threshold*).
///
/// Destinations of one priority are a level. A level's *availability* is the share of its weight that is ready and healthy. Its
/// *health* is 1.4 times that, at most 1. Level 0 gets its health's share of the messages, the next one its own of what is left
/// over, and so on; where the healths of all levels together are below 1, their shares grow in proportion. Within a level the
/// available destinations share by weight, smoothly and exactly as under [`Weighted`].
///
/// *Panic*: when the healths together are below 1 and a level's availability is below the panic threshold, health is
/// disregarded there, so that the few that are left do not have to carry all. A destination without members is left out
/// all the same: what were sent there could only wait. When no level has anything healthy, all that is ready shares.
#[derive(Debug, Clone)]
pub struct Failover {
    /// In percent; 0: never.
    panic_threshold: u32,
    split: Weighted,
    /// What the destinations come to, kept to use its memory again.
    weighed: Vec<Destination>,
}

impl Failover {
    /// With this panic threshold in percent; 0 means that health is never disregarded.
    #[must_use]
    pub fn new(panic_threshold: u32) -> Self {
        Self {
            panic_threshold: panic_threshold.min(100),
            split: Weighted::new(),
            weighed: Vec::new(),
        }
    }

    /// The levels with their shares of the messages.
    fn levels(&self, destinations: &[Destination]) -> BTreeMap<u8, Level> {
        let mut levels: BTreeMap<u8, Level> = BTreeMap::new();
        for destination in destinations.iter().filter(|d| d.weight > 0) {
            let weight = u64::from(destination.weight);
            let level = levels.entry(destination.priority).or_default();
            level.total += weight;
            if destination.ready {
                level.ready += weight;
                level.available += if destination.healthy { weight } else { 0 };
            }
        }
        let all_ready: u64 = levels.values().map(|level| level.ready).sum();
        let healths: u64 = levels.values().map(Level::health).sum();
        let together = healths.min(ONE);
        let mut left = ONE;
        for level in levels.values_mut() {
            if together == 0 {
                // Nothing is healthy anywhere: all that is ready shares, unless that is not wanted.
                level.panics = self.panic_threshold > 0;
                if level.panics && all_ready > 0 {
                    level.share = scale(ONE, level.ready, all_ready);
                }
                continue;
            }
            let few = level.available * 100 < u64::from(self.panic_threshold) * level.total;
            level.panics = together < ONE && few;
            level.share = scale(level.health(), ONE, together).min(left);
            left -= level.share;
        }
        levels
    }
}

impl Default for Failover {
    fn default() -> Self {
        Self::new(PANIC_THRESHOLD)
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Level {
    /// Weights of all, of those that are ready, and of those that are healthy too.
    total: u64,
    ready: u64,
    available: u64,
    /// Its share of the messages in millionths.
    share: u64,
    panics: bool,
}

impl Level {
    fn health(&self) -> u64 {
        scale(OVERPROVISIONING, self.available, self.total).min(ONE)
    }
}

fn scale(value: u64, by: u64, of: u64) -> u64 {
    (u128::from(value) * u128::from(by) / u128::from(of)) as u64
}

impl Policy for Failover {
    fn name(&self) -> &'static str {
        "failover"
    }

    fn choose(&mut self, meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        let levels = self.levels(destinations);
        let weigh = |destination: &Destination| {
            let Some(level) = levels.get(&destination.priority) else {
                return 0;
            };
            let (eligible, sum) = if level.panics {
                (destination.ready, level.ready)
            } else {
                (destination.ready && destination.healthy, level.available)
            };
            if !eligible || destination.weight == 0 || level.share == 0 {
                return 0;
            }
            scale(level.share, u64::from(destination.weight), sum).max(1) as u32
        };
        let mut weighed = std::mem::take(&mut self.weighed);
        weighed.clear();
        weighed.extend(destinations.iter().map(|destination| Destination {
            weight: weigh(destination),
            ..*destination
        }));
        let choice = self.split.choose(meta, &weighed);
        self.weighed = weighed;
        choice
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

    /// Levels of 100 destinations of which so many are healthy.
    fn list(healthy: &[usize]) -> Vec<Destination> {
        let level = |(priority, healthy): (usize, &usize)| {
            let healthy = *healthy;
            (0..100).map(move |place| Destination {
                priority: priority as u8,
                healthy: place < healthy,
                ..Destination::new((priority * 100 + place) as u64, 1)
            })
        };
        healthy.iter().enumerate().flat_map(level).collect()
    }

    /// Percent of 10,000 messages per level, and how many of them went to what is not healthy.
    fn shares(threshold: u32, list: &[Destination]) -> (Vec<u32>, u32) {
        let mut policy = Failover::new(threshold);
        let levels = 1 + list
            .iter()
            .map(|d| usize::from(d.priority))
            .max()
            .unwrap_or(0);
        let (mut shares, mut unhealthy) = (vec![0; levels], 0);
        for _ in 0..10_000 {
            if let Choice::One(index) = policy.choose(&Meta::default(), list) {
                shares[usize::from(list[index].priority)] += 1;
                unhealthy += u32::from(!list[index].healthy);
            }
        }
        let percent = |count: &u32| (count + 50) / 100;
        (shares.iter().map(percent).collect(), unhealthy)
    }

    #[test]
    fn the_levels_share_as_envoy_says() {
        for (healthy, share) in [
            ([100, 100], [100, 0]),
            ([72, 72], [100, 0]),
            ([71, 71], [99, 1]),
            ([50, 60], [70, 30]),
            ([25, 100], [35, 65]),
            ([0, 100], [0, 100]),
            ([25, 25], [50, 50]),
            ([5, 65], [7, 93]),
        ] {
            assert_eq!(shares(50, &list(&healthy)).0, share, "{healthy:?}");
        }
        assert_eq!(shares(50, &list(&[25, 25, 100])).0, [35, 35, 30]);
    }

    #[test]
    fn too_few_are_left_and_health_is_disregarded() {
        // Enough in the levels together: no panic.
        assert_eq!(shares(50, &list(&[25, 100])).1, 0);
        // Both levels are below half.
        let (_, unhealthy) = shares(50, &list(&[25, 25]));
        assert!((7_300..7_700).contains(&unhealthy), "{unhealthy}");
        // Only the first one is, and it gets 7 of 100 messages.
        let (_, unhealthy) = shares(50, &list(&[5, 65]));
        assert!((640..700).contains(&unhealthy), "{unhealthy}");
        assert_eq!(shares(0, &list(&[25, 25])).1, 0);
        // Nothing is healthy: all share, or none where panic is off.
        assert_eq!(shares(50, &list(&[0, 0])), (vec![50, 50], 10_000));
        assert_eq!(shares(0, &list(&[0, 0])), (vec![0, 0], 0));
    }

    #[test]
    fn who_has_no_members_gets_nothing_not_even_in_panic() {
        let mut list = list(&[10, 10]);
        list.iter_mut().for_each(|d| d.ready = d.priority == 1);
        let (share, _) = shares(50, &list);
        assert_eq!(share, [0, 100]);
        list.iter_mut().for_each(|d| d.ready = false);
        let mut policy = Failover::default();
        assert_eq!(policy.choose(&Meta::default(), &list), Choice::None);
    }

    #[test]
    fn two_groups_fail_over_and_back() {
        let mut list = [
            Destination::new(1, 1),
            Destination {
                priority: 1,
                ..Destination::new(2, 1)
            },
        ];
        let mut policy = Failover::default();
        let mut next = |list: &[Destination]| policy.choose(&Meta::default(), list);
        assert_eq!([next(&list), next(&list)], [Choice::One(0); 2]);
        list[0].healthy = false;
        assert_eq!([next(&list), next(&list)], [Choice::One(1); 2]);
        list[1].ready = false;
        assert_eq!(next(&list), Choice::One(0));
        list[1].ready = true;
        list[0].healthy = true;
        assert_eq!([next(&list), next(&list)], [Choice::One(0); 2]);
    }

    proptest! {
        /// The plain model: shares of levels in floating point, straight from the documentation.
        #[test]
        fn shares_are_those_of_the_plain_model(
            drawn in proptest::collection::vec((0_u8..4, 1_u32..50, any::<bool>(), any::<bool>()), 1..10),
            threshold in 0_u32..=100,
        ) {
            let list: Vec<_> = drawn.iter().enumerate().map(|(id, (priority, weight, ready, healthy))| Destination {
                priority: *priority,
                ready: *ready,
                healthy: *healthy,
                ..Destination::new(id as u64, *weight)
            }).collect();
            let weight = |level: u8, wanted: &dyn Fn(&Destination) -> bool| -> f64 {
                list.iter().filter(|d| d.priority == level && wanted(d)).map(|d| f64::from(d.weight)).sum()
            };
            let available = |d: &Destination| d.ready && d.healthy;
            let total = |level| weight(level, &|_| true);
            let health = |level| if total(level) == 0.0 { 0.0 } else { (1.4 * weight(level, &available) / total(level)).min(1.0) };
            let together = (0..4).map(health).sum::<f64>().min(1.0);
            let all_ready = (0..4).map(|level| weight(level, &|d| d.ready)).sum::<f64>();
            let mut expected = vec![0.0; list.len()];
            let mut left = 1.0_f64;
            for level in 0..4 {
                let ready = weight(level, &|d| d.ready);
                let (share, panics) = if together == 0.0 {
                    (if threshold > 0 && all_ready > 0.0 { ready / all_ready } else { 0.0 }, true)
                } else {
                    let few = weight(level, &available) * 100.0 < f64::from(threshold) * total(level);
                    ((health(level) / together).min(left), together < 1.0 - 1e-9 && few)
                };
                left -= share;
                for (place, d) in list.iter().enumerate().filter(|(_, d)| d.priority == level) {
                    let (eligible, sum) = if panics { (d.ready, ready) } else { (available(d), weight(level, &available)) };
                    if eligible && sum > 0.0 {
                        expected[place] = share * f64::from(d.weight) / sum;
                    }
                }
            }
            let mut policy = Failover::new(threshold);
            let mut counts = vec![0.0; list.len()];
            for _ in 0..2_000 {
                if let Choice::One(index) = policy.choose(&Meta::default(), &list) {
                    counts[index] += 1.0 / 2_000.0;
                }
            }
            for (count, expected) in counts.iter().zip(&expected) {
                prop_assert!((count - expected).abs() < 0.002, "{counts:?} {expected:?}");
            }
        }
    }
}
