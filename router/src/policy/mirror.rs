//! A copy of some messages beside what another policy chooses.

use super::contract::{Choice, Destination, Meta, Policy, Scope};
use super::seeded::Seeded;
use super::weighted::Weighted;

/// All messages, in units of shares.
const ALL: i64 = 1_000_000;

/// Lets another policy choose, and adds a copy to the mirror among the destinations for its share of the messages.
///
/// Of any `n` messages that go to one destination, `n` times the share are copied, give or take two. Which ones is drawn anew for
/// each copy, so that messages that come in a pattern are not copied by that pattern. The mirror has the weight 0, so no policy
/// sends the message itself there. What goes to all, or nowhere, has no copy.
pub struct Mirror {
    inner: Box<dyn Policy>,
    numbers: Seeded,
    /// How far messages have come since the last copy became due, in shares.
    position: i64,
    /// Where between two copies the next one is due.
    mark: i64,
}

impl Mirror {
    /// Adds copies to what `inner` chooses, drawn as the seed says.
    #[must_use]
    pub fn new(inner: Box<dyn Policy>, seed: u64) -> Self {
        let mut numbers = Seeded::new(seed);
        let mark = numbers.below(ALL as u64) as i64;
        Self {
            inner,
            numbers,
            position: 0,
            mark,
        }
    }

    /// Whether the next message is one of those to be copied.
    fn draw(&mut self, share: u32) -> bool {
        self.position += i64::from(share).min(ALL);
        if self.position <= self.mark {
            return false;
        }
        self.position -= ALL;
        self.mark = self.numbers.below(ALL as u64) as i64;
        true
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self::new(Box::new(Weighted::new()), 0)
    }
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mirror({})", self.inner.name())
    }
}

impl Policy for Mirror {
    fn name(&self) -> &'static str {
        "mirror"
    }

    fn choose(&mut self, meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        let choice = self.inner.choose(meta, destinations);
        let Choice::One(to) = choice else {
            return choice;
        };
        let mirror = destinations.iter().position(|d| d.mirror > 0);
        match mirror.filter(|copy| *copy != to) {
            Some(copy) if self.draw(destinations[copy].mirror) => Choice::Copied { to, copy },
            _ => choice,
        }
    }

    fn keeps_order(&self) -> bool {
        self.inner.keeps_order()
    }

    fn scope(&self) -> Scope {
        Scope::Shard
    }

    fn reads_load(&self) -> bool {
        self.inner.reads_load()
    }
}

#[cfg(test)]
mod tests {
    use super::super::broadcast::Broadcast;
    use super::super::hash::Hash;
    use super::*;
    use mcpbus_actors::Key;
    use proptest::prelude::*;

    fn list(share: u32) -> [Destination; 3] {
        [
            Destination::new(1, 80),
            Destination::new(2, 20),
            Destination {
                mirror: share,
                ..Destination::new(3, 0)
            },
        ]
    }

    #[test]
    fn all_or_nothing_is_copied_where_that_is_the_share() {
        for (share, copied) in [(ALL as u32, 1_000), (u32::MAX, 1_000), (0, 0)] {
            let (mut policy, list) = (Mirror::default(), list(share));
            let copies = (0..1_000).filter(|_| {
                matches!(
                    policy.choose(&Meta::default(), &list),
                    Choice::Copied { copy: 2, .. }
                )
            });
            assert_eq!(copies.count(), copied);
        }
    }

    #[test]
    fn a_pattern_of_messages_is_not_copied_by_its_pattern() {
        // Every tenth message is of one kind, and one in ten is copied: of each kind about as many.
        let (mut policy, list) = (Mirror::default(), list(100_000));
        let mut copies = [0; 10];
        for number in 0..100_000 {
            if let Choice::Copied { .. } = policy.choose(&Meta::default(), &list) {
                copies[number % 10] += 1;
            }
        }
        assert!(
            copies.iter().all(|count| (850..1_150).contains(count)),
            "{copies:?}"
        );
    }

    #[test]
    fn what_goes_to_all_has_no_copy() {
        let mut policy = Mirror::new(Box::new(Broadcast::new()), 0);
        assert_eq!(
            policy.choose(&Meta::default(), &list(1_000_000)),
            Choice::All
        );
    }

    proptest! {
        #[test]
        fn the_share_is_copied_and_the_originals_go_as_without_a_mirror(
            share in 0_u32..=1_000_000,
            messages in 1_usize..3_000,
            hash in any::<bool>(),
        ) {
            let make = || -> Box<dyn Policy> { if hash { Box::new(Hash::new()) } else { Box::new(Weighted::new()) } };
            let (mut alone, mut policy, list) = (make(), Mirror::new(make(), 5), list(share));
            let mut copies = 0;
            for number in 1..=messages {
                let meta = Meta::new(Some(Key(number as u64 * 7)), 0, 0);
                let choice = policy.choose(&meta, &list);
                copies += usize::from(matches!(choice, Choice::Copied { .. }));
                prop_assert_eq!(choice.without_copy(), alone.choose(&meta, &list));
                let wanted = number as f64 * f64::from(share) / 1e6;
                prop_assert!((copies as f64 - wanted).abs() < 2.0, "{copies} of {number}");
            }
        }
    }
}
