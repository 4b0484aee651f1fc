//! Stages that run in one task: each has a turn in order, so that what one gives the next finds in the cache.
//!
//! A group of one is a stage on its own. In a group of several nobody is woken by a neighbour: as long as one of them gets
//! on, all have their turn again; when none does, all register what they wait for, and the task sleeps.

use std::task::{Context, Waker};

use smallvec::SmallVec;

use super::driver::{Driver, Ran, Step};
use crate::channel::Waits;
use crate::message::Time;

/// Rounds in a row before other tasks get their chance.
const ROUNDS: usize = 4;

/// Stages that share a task.
pub(crate) struct Group {
    /// Mostly one: then it lies in the task itself.
    drivers: SmallVec<[Driver; 1]>,
}

impl From<Vec<Driver>> for Group {
    /// The order is that of their turns: those who give before those who take.
    fn from(drivers: Vec<Driver>) -> Self {
        Self {
            drivers: drivers.into(),
        }
    }
}

impl Group {
    /// The time of the clock that they share.
    pub(crate) fn now(&self) -> Time {
        self.drivers
            .first()
            .map_or(Time::ZERO, |driver| driver.clock().now())
    }

    /// Runs until all have to wait.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Step {
        let alone = self.drivers.len() == 1;
        // Among neighbours nobody has to be woken: they are asked again as long as one of them gets on.
        let mut quiet = Context::from_waker(Waker::noop());
        for _ in 0..ROUNDS {
            match self.round(if alone { cx } else { &mut quiet }) {
                Round::Over => return Step::Over,
                Round::Progress => {}
                Round::Idle(_) if !alone => match self.round(cx) {
                    Round::Over => return Step::Over,
                    Round::Idle(until) if self.listen(cx) => return Step::Wait(until),
                    // Something came while they were getting ready to sleep.
                    Round::Idle(_) | Round::Progress => {}
                },
                Round::Idle(until) => {
                    if self.listen(cx) {
                        return Step::Wait(until);
                    }
                }
            }
        }
        Step::Yield
    }

    /// One turn of each.
    fn round(&mut self, cx: &mut Context<'_>) -> Round {
        // Read for each round, though that costs as much as handling several messages: handlers may take long, and deadlines,
        // timers and the watch over stages that are stuck go by it.
        let now = self.now();
        let mut progress = false;
        let mut until: Option<Time> = None;
        self.drivers.retain(|driver| match driver.run(now, cx) {
            Ran::Over => false,
            Ran::Again => {
                progress = true;
                true
            }
            Ran::Idle(timer) => {
                until = match (until, timer) {
                    (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
                    (mine, theirs) => mine.or(theirs),
                };
                true
            }
        });
        if self.drivers.is_empty() {
            Round::Over
        } else if progress {
            Round::Progress
        } else {
            Round::Idle(until)
        }
    }

    /// Asks to be woken by commands; `false`: one has come already.
    fn listen(&mut self, cx: &Context<'_>) -> bool {
        let mut drivers = self.drivers.iter_mut();
        drivers.all(|driver| driver.listen(cx.waker()))
    }

    pub(crate) fn register<'a>(&'a self, waits: &mut Waits<'a>) {
        for driver in &self.drivers {
            driver.register(waits);
        }
    }
}

/// What a round came to.
enum Round {
    /// One of them has more to do.
    Progress,
    /// All wait, the first timer until then.
    Idle(Option<Time>),
    /// All are over.
    Over,
}
