//! Each destination in turn.

use super::contract::{Choice, Destination, Meta, Policy, Scope};

/// Goes round the destinations and passes over those that are drained or cannot take a message now.
///
/// Weights say no more than 0 or not 0. While all are ready, any n messages are spread over k destinations
/// with a difference of at most one.
#[derive(Debug, Clone, Default)]
pub struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    /// Starts with the first destination.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Policy for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn choose(&mut self, _meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        let start = if self.next < destinations.len() {
            self.next
        } else {
            0
        };
        let open = |index: &usize| destinations[*index].weight > 0 && destinations[*index].ready;
        match (start..destinations.len()).chain(0..start).find(open) {
            Some(index) => {
                self.next = index + 1;
                Choice::One(index)
            }
            None => Choice::None,
        }
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
    use super::*;

    #[test]
    fn goes_round_and_passes_over_what_cannot_take() {
        let mut policy = RoundRobin::new();
        let mut list = [
            Destination::new(1, 1),
            Destination::new(2, 1),
            Destination::new(3, 1),
        ];
        let mut next = |list: &[Destination]| policy.choose(&Meta::default(), list);
        assert_eq!(
            [next(&list), next(&list), next(&list), next(&list)],
            [0, 1, 2, 0].map(Choice::One)
        );
        list[1].ready = false;
        assert_eq!([next(&list), next(&list)], [2, 0].map(Choice::One));
        list[2].weight = 0;
        assert_eq!([next(&list), next(&list)], [0, 0].map(Choice::One));
        list[0].ready = false;
        assert_eq!(next(&list), Choice::None);
        list[1].ready = true;
        assert_eq!(next(&list), Choice::One(1));
    }
}
