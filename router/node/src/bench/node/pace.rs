//! When the messages of one link are sent: each at its own time, or one after the other.

use mcpbus::AckLevel;

use super::plan::{Plan, Schedule};
use crate::bench::clock::{now, pause_exactly, sleep_until};
use crate::bench::latency::Latencies;

/// How long after the end a link that is behind goes on with what was due before it, in nanoseconds.
const GRACE: u64 = 1_000_000_000;
/// In how many steps what was due and not sent is counted.
const STEPS: u64 = 1000;

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

    /// When the message of this turn is due.
    fn due(&self, rate: u32, turn: u64) -> u64 {
        let (part, parts) = self.share;
        let due = self.plan.due(rate, self.link, turn * parts + part);
        self.schedule.begin.saturating_add(due)
    }

    /// Waits on the calling thread for the next message; none when the run is over. What waits elsewhere meanwhile moves
    /// no later message: its time stays what it was.
    pub(super) fn next(&mut self) -> Option<Due> {
        let (part, parts) = self.share;
        let number = self.next * parts + part;
        let at = match self.plan.rate {
            Some(rate) => {
                let at = self.due(rate, self.next);
                if at >= self.schedule.to || now() >= self.schedule.to + GRACE {
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

    /// How many messages were due and have not been sent, once the run is over. What is measured of them goes to `latencies`
    /// with the time that they have waited until now: they would have taken longer.
    pub(super) fn unsent(&self, latencies: &mut Latencies) -> u64 {
        let Some(rate) = self.plan.rate else { return 0 };
        let now = now();
        let is_due = |turn| self.due(rate, turn) < self.schedule.to;
        let (mut first, mut reach) = (self.next, 1);
        while is_due(first + reach) {
            reach *= 2;
        }
        // Those before `after` were due, those from there on are not.
        let (mut after, mut beyond) = (first, first + reach);
        while after < beyond {
            let middle = after + (beyond - after) / 2;
            if is_due(middle) {
                after = middle + 1;
            } else {
                beyond = middle;
            }
        }
        let unsent = after - first;
        let chunk = (unsent / STEPS).max(1);
        while first < after {
            let count = chunk.min(after - first);
            let due = self.due(rate, first + count / 2);
            if self.schedule.measures(due) {
                latencies.saturating_record_n(now.saturating_sub(due).max(1), count);
            }
            first += count;
        }
        unsent
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;
    use crate::bench::latency;

    fn schedule(length: u64) -> Schedule {
        let begin = now();
        Schedule {
            begin,
            from: begin,
            to: begin + length,
        }
    }

    #[test]
    fn what_is_not_sent_counts_with_the_time_it_waited() {
        let plan = Plan {
            rate: Some(1_000_000),
            links: 1,
            ..plan()
        };
        let begin = now() - 1_500_000_000;
        // 100,000 were due in the second half of 200 ms, and that is long past.
        let schedule = Schedule {
            begin,
            from: begin + 100_000_000,
            to: begin + 200_000_000,
        };
        let mut pace = Pace::new(&plan, 0, schedule, 0, 1);
        assert_eq!(pace.next(), None, "too late for all of them");
        let mut latencies = latency::none_yet();
        assert_eq!(pace.unsent(&mut latencies), 200_000);
        assert_eq!(latencies.len(), 100_000);
        assert!(latencies.min() >= 1_299_000_000);
        let mut done = Pace {
            next: 200_000,
            ..pace
        };
        assert_eq!((done.next(), done.unsent(&mut latencies)), (None, 0));
        let without = Plan { rate: None, ..plan };
        let without = Pace::new(&without, 0, schedule, 0, 1);
        assert_eq!(without.unsent(&mut latencies), 0);
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
