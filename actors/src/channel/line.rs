//! Those who wait for room in an edge, in the order of their arrival.

use std::collections::VecDeque;
use std::task::Waker;

/// How much room a waiting sender asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// Waiting senders by ticket, and those whose room is kept for them. Tickets rise, so both stand in order of arrival and
/// are found by halving.
#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<(u64, Need, Waker)>,
    granted: VecDeque<(u64, Need)>,
    next_ticket: u64,
}

impl Line {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn place(&self, ticket: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&ticket, |(ticket, ..)| *ticket)
            .ok()
    }

    pub(super) fn is_waiting(&self, ticket: u64) -> bool {
        self.place(ticket).is_some()
    }

    /// Puts a sender at the end, or renews its need and waker.
    pub(super) fn wait(&mut self, ticket: &mut Option<u64>, need: Need, waker: &Waker) {
        if let Some(place) = ticket.and_then(|ticket| self.place(ticket)) {
            let (_, old_need, old_waker) = &mut self.waiting[place];
            *old_need = need;
            old_waker.clone_from(waker);
        } else {
            *ticket = Some(self.next_ticket);
            let waiter = (self.next_ticket, need, waker.clone());
            self.waiting.push_back(waiter);
            self.next_ticket += 1;
        }
    }

    /// What the one that waits longest needs.
    #[inline]
    pub(super) fn first(&self) -> Option<Need> {
        self.waiting.front().map(|(_, need, _)| *need)
    }

    /// The first one has its room: to be woken.
    pub(super) fn grant_first(&mut self) -> Option<Waker> {
        let (ticket, need, waker) = self.waiting.pop_front()?;
        self.granted.push_back((ticket, need));
        Some(waker)
    }

    /// Ends a wait; gives the room that was kept for it.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<Need> {
        if let Some(place) = self.place(ticket) {
            self.waiting.remove(place);
            return None;
        }
        let place = self
            .granted
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()?;
        self.granted.remove(place).map(|(_, need)| need)
    }

    /// All who wait, to be woken; nobody does any more.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Waker> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|(.., waker)| waker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_come_is_the_first_to_be_granted() {
        let mut line = Line::default();
        let need = |messages| Need { messages, bytes: 0 };
        let mut tickets = [None; 3];
        for (messages, ticket) in (1..).zip(&mut tickets) {
            line.wait(ticket, need(messages), Waker::noop());
        }
        line.wait(&mut tickets[2], need(9), Waker::noop());
        let [first, second, third] = tickets.map(Option::unwrap_or_default);
        assert_eq!(line.leave(second), None);
        assert!(!line.is_waiting(second) && line.is_waiting(third));
        assert_eq!(line.first(), Some(need(1)));
        assert!(line.grant_first().is_some() && line.grant_first().is_some());
        assert!(line.is_empty() && line.grant_first().is_none());
        assert_eq!(line.leave(third), Some(need(9)));
        assert_eq!(line.leave(first), Some(need(1)));
        assert_eq!(line.leave(first), None);
    }
}
