//! When the messages of one link are sent: each at its own time, or one after the other.

use mcpbus::AckLevel;

use super::plan::{Plan, Schedule};
use crate::bench::clock::{now, pause_exactly, sleep_until};

/// How many messages are sent between two looks at the clock where no rate is kept.
const LOOK: u64 = 16;

/// The times of one link. Used from one thread, which it blocks.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    plan: Plan,
    link: u32,
    schedule: Schedule,
    /// Of how many that share the numbers of the link this is one, and which.
    share: (u64, u64),
    next: u64,
}

/// One message that is to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Its number on the link, from 0.
    pub(super) number: u64,
    /// When it was due; 0 without a rate.
    pub(super) at: u64,
}

impl Pace {
    /// The numbers of a link that are `part` of `parts`: that one, and from there each `parts`-th.
    pub(super) fn new(plan: &Plan, link: u32, schedule: Schedule, part: u64, parts: u64) -> Self {
        Self {
            plan: plan.clone(),
            link,
            schedule,
            share: (part, parts),
            next: 0,
        }
    }

    /// What is waited for after each message.
    pub(super) fn ack(&self) -> AckLevel {
        self.plan.ack
    }

    /// Waits on the calling thread for the beginning.
    pub(super) fn begin(&self) {
        pause_exactly();
        sleep_until(self.schedule.begin);
    }

    /// Waits on the calling thread for the next message; none when the run is over. What waits elsewhere meanwhile moves
    /// no later message: its time stays what it was.
    pub(super) fn next(&mut self) -> Option<Due> {
        let (part, parts) = self.share;
        let number = self.next * parts + part;
        let at = match self.plan.rate {
            Some(rate) => {
                let due = self.plan.due(rate, self.link, number);
                let at = self.schedule.begin.saturating_add(due);
                if at >= self.schedule.to {
                    return None;
                }
                sleep_until(at);
                at
            }
            None => {
                // A request takes longer than a look at the clock.
                let looks = self.plan.requests.is_some() || self.next.is_multiple_of(LOOK);
                if looks && now() >= self.schedule.to {
                    return None;
                }
                0
            }
        };
        self.next += 1;
        Some(Due { number, at })
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    fn schedule(length: u64) -> Schedule {
        let begin = now();
        Schedule {
            begin,
            from: begin,
            to: begin + length,
        }
    }

    #[test]
    fn each_has_its_time_however_late_it_is_asked_for() {
        let plan = Plan {
            rate: Some(1000),
            ..plan()
        };
        let schedule = schedule(10_000_000);
        let mut late = Pace::new(&plan, 1, schedule, 0, 1);
        // As if something had blocked until after the end.
        sleep_until(schedule.to);
        let due: Vec<_> = std::iter::from_fn(|| late.next())
            .map(|due| (due.number, due.at - schedule.begin))
            .collect();
        let wanted = [1, 3, 5, 7, 9].map(|at| at * 1_000_000);
        assert_eq!(due, (0..5).zip(wanted).collect::<Vec<_>>());
    }

    #[test]
    fn parts_of_a_link_share_its_numbers() {
        let plan = Plan {
            rate: Some(1000),
            links: 1,
            ..plan()
        };
        let schedule = schedule(5_000_000);
        let mut numbers: Vec<_> = (0..3)
            .flat_map(|part| {
                let mut pace = Pace::new(&plan, 0, schedule, part, 3);
                std::iter::from_fn(move || pace.next().map(|due| due.number))
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn without_a_rate_it_goes_on_until_the_end() {
        let mut pace = Pace::new(&plan(), 0, schedule(1_000_000), 0, 1);
        let mut sent = 0;
        while let Some(due) = pace.next() {
            assert_eq!((due.number, due.at), (sent, 0));
            sent += 1;
        }
        assert!(sent > 0);
    }
}
