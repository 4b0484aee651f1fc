//! The decisions of `exec`, without processes and clocks.

use std::collections::VecDeque;
use std::time::Duration;

use mcpbus_actors::Time;

/// First wait before a new child when the one before answered nothing; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Lines on their way through children, oldest first.
#[derive(Debug)]
pub struct Conversation<T> {
    window: usize,
    timeout: Duration,
    max_deliver: u32,
    lines: VecDeque<Pending<T>>,
    /// How many of the oldest lines the present child has.
    sent: usize,
    /// Since when the oldest line is being worked on.
    since: Time,
    /// Lines that a lost child had: they go one at a time.
    suspects: usize,
    /// Children lost in a row without an answer.
    losses: u32,
}

#[derive(Debug)]
struct Pending<T> {
    item: T,
    attempts: u32,
}

impl<T> Conversation<T> {
    /// A conversation with these bounds; a window or a number of deliveries of 0 counts as 1.
    pub fn new(window: usize, timeout: Duration, max_deliver: u32) -> Self {
        Self {
            window: window.max(1),
            timeout,
            max_deliver: max_deliver.max(1),
            lines: VecDeque::new(),
            sent: 0,
            since: Time::ZERO,
            suspects: 0,
            losses: 0,
        }
    }

    /// Whether another line may be offered.
    pub fn has_room(&self) -> bool {
        self.lines.len() < self.window
    }

    /// Lines that wait for their answer.
    pub fn pending(&self) -> usize {
        self.lines.len()
    }

    /// Takes a line.
    ///
    /// # Errors
    /// The line comes back when there is no room.
    pub fn offer(&mut self, item: T) -> Result<(), T> {
        if !self.has_room() {
            return Err(item);
        }
        self.lines.push_back(Pending { item, attempts: 0 });
        Ok(())
    }

    /// The next line for the present child, if it may have one; it then counts as sent.
    pub fn next_to_send(&mut self, now: Time) -> Option<&T> {
        if self.suspects > 0 && self.sent > 0 {
            return None;
        }
        if self.sent == 0 {
            self.since = now;
        }
        let line = self.lines.get_mut(self.sent)?;
        line.attempts += 1;
        self.sent += 1;
        Some(&line.item)
    }

    /// Whether the present child owes an answer.
    pub fn is_owed(&self) -> bool {
        self.sent > 0
    }

    /// When the present child is too slow, if it owes an answer.
    pub fn deadline(&self) -> Option<Time> {
        (self.sent > 0).then(|| self.since + self.timeout)
    }

    /// The present child answered: the line that the answer belongs to, or none when nobody asked.
    pub fn answered(&mut self, now: Time) -> Option<T> {
        if self.sent == 0 {
            return None;
        }
        self.sent -= 1;
        self.suspects = self.suspects.saturating_sub(1);
        self.losses = 0;
        // The next line's time starts now: it was not the child's turn before.
        self.since = now;
        self.lines.pop_front().map(|line| line.item)
    }

    /// The present child is gone. Gives the oldest line with its attempts if it is given up; the rest goes to the
    /// next child. Call again until none is given.
    pub fn lost(&mut self) -> Option<(T, u32)> {
        if self.sent > 0 {
            self.suspects = self.suspects.max(self.sent);
            self.losses += 1;
        }
        self.sent = 0;
        // Only the oldest can be at fault for sure: those behind it had their attempts in its company.
        if self
            .lines
            .front()
            .is_some_and(|line| line.attempts >= self.max_deliver)
        {
            self.suspects = self.suspects.saturating_sub(1);
            return self
                .lines
                .pop_front()
                .map(|line| (line.item, line.attempts));
        }
        None
    }

    /// How long to wait before the next child.
    pub fn pause(&self) -> Duration {
        match self.losses {
            0 | 1 => Duration::ZERO,
            more => FIRST_PAUSE
                .saturating_mul(1 << (more - 2).min(10))
                .min(LONGEST_PAUSE),
        }
    }

    /// Everything still held, oldest first: for a stop that does not wait.
    pub fn take_all(&mut self) -> impl Iterator<Item = (T, u32)> + '_ {
        self.sent = 0;
        self.suspects = 0;
        self.lines.drain(..).map(|line| (line.item, line.attempts))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn second(n: u64) -> Time {
        Time::ZERO + Duration::from_secs(n)
    }

    #[test]
    fn answers_belong_to_the_oldest_line_and_each_has_its_own_time() {
        let mut talk = Conversation::new(2, Duration::from_secs(10), 3);
        talk.offer("a").unwrap();
        talk.offer("b").unwrap();
        assert_eq!(talk.offer("c"), Err("c"));
        assert_eq!(talk.deadline(), None);
        assert_eq!(talk.next_to_send(second(1)), Some(&"a"));
        assert_eq!(talk.next_to_send(second(2)), Some(&"b"));
        assert_eq!(talk.next_to_send(second(2)), None);
        assert_eq!(talk.deadline(), Some(second(11)));
        assert_eq!(talk.answered(second(9)), Some("a"));
        assert_eq!(talk.deadline(), Some(second(19)));
        assert_eq!(talk.answered(second(9)), Some("b"));
        assert_eq!((talk.answered(second(9)), talk.deadline()), (None, None));
    }

    #[test]
    fn a_bad_line_is_given_up_and_its_company_survives() {
        let mut talk = Conversation::new(5, Duration::from_secs(1), 3);
        for line in ["bad", "b", "c", "d", "e"] {
            talk.offer(line).unwrap();
        }
        let mut given_up = Vec::new();
        let mut answered = Vec::new();
        let mut children = 0;
        while talk.pending() > 0 {
            children += 1;
            let mut dead = false;
            while !dead {
                let mut sent = Vec::new();
                while let Some(line) = talk.next_to_send(second(0)) {
                    sent.push(*line);
                }
                if sent.is_empty() {
                    break;
                }
                for line in sent {
                    if line == "bad" {
                        dead = true;
                        break;
                    }
                    answered.push(talk.answered(second(0)).unwrap());
                }
            }
            given_up.extend(std::iter::from_fn(|| talk.lost()));
        }
        assert_eq!(given_up, [("bad", 3)]);
        assert_eq!(answered, ["b", "c", "d", "e"]);
        assert_eq!(children, 4);
    }

    #[test]
    fn pauses_grow_and_an_answer_ends_them() {
        let mut talk = Conversation::new(1, Duration::from_secs(1), 100);
        talk.offer(()).unwrap();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            talk.next_to_send(second(0));
            assert_eq!(talk.lost(), None);
            pauses.push(talk.pause());
        }
        assert_eq!(pauses[0], Duration::ZERO);
        assert!(pauses.is_sorted());
        assert_eq!(*pauses.last().unwrap(), LONGEST_PAUSE);
        talk.next_to_send(second(0));
        talk.answered(second(0));
        assert_eq!(talk.pause(), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn every_line_ends_once_and_in_order(
            window in 1usize..5, max_deliver in 1u32..4, steps in proptest::collection::vec(0u8..4, 0..200)
        ) {
            let mut talk = Conversation::new(window, Duration::from_secs(1), max_deliver);
            let (mut next, mut ended) = (0u32, Vec::new());
            for step in steps {
                match step {
                    0 => if talk.offer(next).is_ok() { next += 1 },
                    1 => { talk.next_to_send(Time::ZERO); }
                    2 => ended.extend(talk.answered(Time::ZERO)),
                    _ => while let Some((line, attempts)) = talk.lost() {
                        prop_assert_eq!(attempts >= max_deliver, true);
                        ended.push(line);
                    },
                }
                prop_assert!(talk.pending() <= window);
            }
            ended.extend(talk.take_all().map(|(line, _)| line));
            prop_assert_eq!(ended, (0..next).collect::<Vec<_>>());
        }
    }
}
