//! Which member of a group takes a message.

use super::contract::Destination;
use super::hash::rendezvous;

/// Shares the work of one group among its members: once among the nodes that have members, each weighted
/// by how many, and once among the members on a node.
///
/// With a key the member is found by weighted rendezvous hashing and the message waits for it. Without a key
/// the ready members take turns, each as often in a round as its weight says.
#[derive(Debug, Clone, Default)]
pub struct MemberChooser {
    turn: u64,
}

impl MemberChooser {
    /// Starts with the first member.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The index of the member for a message with this key, or without one. `None` when there is no member
    /// of weight above 0 or, without a key, none of those is ready.
    pub fn choose(&mut self, key: Option<u64>, members: &[Destination]) -> Option<usize> {
        if let Some(key) = key {
            return rendezvous(key, members.iter().map(|member| (member.id, member.weight)));
        }
        let share = |member: &Destination| {
            if member.ready {
                u64::from(member.weight)
            } else {
                0
            }
        };
        let total: u64 = members.iter().map(share).sum();
        if total == 0 {
            return None;
        }
        let mut position = self.turn % total;
        self.turn = self.turn.wrapping_add(1);
        for (index, member) in members.iter().enumerate() {
            match position.checked_sub(share(member)) {
                Some(rest) => position = rest,
                None => return Some(index),
            }
        }
        None
    }

    /// The same among `count` members of one weight, of which only as many are looked at as it takes to find one.
    pub fn choose_equal(
        &mut self,
        key: Option<u64>,
        count: usize,
        id: impl Fn(usize) -> u64,
        is_ready: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if let Some(key) = key {
            return rendezvous(key, (0..count).map(|index| (id(index), 1)));
        }
        let first = self.turn.checked_rem(count as u64)? as usize;
        let mut in_turn = (first..count).chain(0..first);
        let index = in_turn.find(|index| is_ready(*index))?;
        self.turn = index as u64 + 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_ready_members_take_turns_by_weight() {
        let mut chooser = MemberChooser::new();
        let mut members = [
            Destination::new(1, 1),
            Destination::new(2, 2),
            Destination::new(3, 0),
        ];
        let picks: Vec<_> = (0..6).map(|_| chooser.choose(None, &members)).collect();
        assert_eq!(picks, [0, 1, 1, 0, 1, 1].map(Some));
        members[1].ready = false;
        assert_eq!(chooser.choose(None, &members), Some(0));
        members[0].ready = false;
        assert_eq!(chooser.choose(None, &members), None);
    }

    #[test]
    fn equal_members_take_turns_and_those_that_are_not_ready_are_passed_over() {
        let mut chooser = MemberChooser::new();
        let mut pick =
            |ready: [bool; 3]| chooser.choose_equal(None, 3, |index| index as u64, |at| ready[at]);
        let picks: Vec<_> = (0..4).map(|_| pick([true; 3])).collect();
        assert_eq!(picks, [0, 1, 2, 0].map(Some));
        let picks: Vec<_> = (0..4).map(|_| pick([true, false, true])).collect();
        assert_eq!(picks, [2, 0, 2, 0].map(Some));
        assert_eq!(pick([false; 3]), None);
        assert_eq!(chooser.choose_equal(None, 0, |_| 0, |_| true), None);
    }

    #[test]
    fn equal_members_are_chosen_by_key_as_others_are() {
        let mut chooser = MemberChooser::new();
        let members: Vec<_> = (1..9).map(|id| Destination::new(id, 1)).collect();
        for key in 0..100 {
            let equal = chooser.choose_equal(Some(key), 8, |at| members[at].id, |_| false);
            assert_eq!(equal, chooser.choose(Some(key), &members));
        }
    }

    #[test]
    fn with_a_key_the_member_stays_whether_ready_or_not() {
        let mut chooser = MemberChooser::new();
        let mut members: Vec<_> = (1..9).map(|id| Destination::new(id, 1)).collect();
        for key in 0..100 {
            let first = chooser.choose(Some(key), &members);
            members
                .iter_mut()
                .for_each(|member| member.ready = !member.ready);
            assert_eq!(chooser.choose(Some(key), &members), first);
        }
        assert_eq!(chooser.choose(Some(1), &[]), None);
    }
}
