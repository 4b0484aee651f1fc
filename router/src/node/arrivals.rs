//! When the messages of a flow came: all that came at once share one mark.

use mcpbus_actors::Time;
use std::collections::VecDeque;

/// When messages came that are still to be routed. There are at most as many marks as messages in the flow's queue.
#[derive(Default)]
pub(super) struct Arrivals {
    /// The last sequence of those that came at a time, and that time.
    marks: VecDeque<(u64, Time)>,
}

impl Arrivals {
    /// Messages up to this one came now; `waiting` is the first that is still to be routed.
    pub(super) fn note(&mut self, last: u64, waiting: u64, now: Time) {
        while self.marks.front().is_some_and(|(mark, _)| *mark < waiting) {
            self.marks.pop_front();
        }
        match self.marks.back_mut() {
            Some((mark, at)) if *at == now => *mark = last,
            _ => self.marks.push_back((last, now)),
        }
    }

    /// When a message came, if that was noted.
    pub(super) fn of(&self, sequence: u64) -> Option<Time> {
        let at = self.marks.partition_point(|(last, _)| *last < sequence);
        self.marks.get(at).map(|(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_message_has_the_time_of_those_it_came_with_and_what_was_routed_is_forgotten() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.of(1), None);
        arrivals.note(3, 1, at(1));
        arrivals.note(4, 1, at(1));
        arrivals.note(9, 2, at(2));
        assert_eq!(arrivals.of(1), Some(at(1)));
        assert_eq!(arrivals.of(4), Some(at(1)));
        assert_eq!(arrivals.of(5), Some(at(2)));
        assert_eq!(arrivals.of(10), None);
        arrivals.note(10, 10, at(3));
        assert_eq!(arrivals.marks.len(), 1);
    }
}
