//! Runs the turns of one stage and carries out its commands in between.

use std::sync::Arc;
use std::task::Context;

use super::control::{Control, StageStatus};
use super::turn::{Next, Turn};
use crate::channel::Waits;
use crate::message::{Clock, Time};

/// Turns in a row before others get their chance.
const TURNS_IN_A_ROW: usize = 4;

/// Whom a driver tells what happens to its stage. Must not block.
pub(crate) trait DriverEvents: Send + Sync {
    /// The stage panicked and waits for a command.
    fn panicked(&self, stage: usize);
    /// The stage is over.
    fn ended(&self, stage: usize);
}

/// What the driver waits for.
pub(crate) enum Step {
    /// Wakers are registered; look again at this time at the latest.
    Wait(Option<Time>),
    /// There is more to do, but others should have their chance.
    Yield,
    /// The stage is over.
    Over,
}

pub(crate) struct Driver {
    index: usize,
    turn: Box<dyn Turn>,
    control: Arc<Control>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn DriverEvents>,
    paused: bool,
    panicked: bool,
    over: bool,
}

impl Driver {
    pub(crate) fn new(
        index: usize,
        turn: Box<dyn Turn>,
        control: Arc<Control>,
        clock: Arc<dyn Clock>,
        events: Arc<dyn DriverEvents>,
    ) -> Self {
        Self {
            index,
            turn,
            control,
            clock,
            events,
            paused: false,
            panicked: false,
            over: false,
        }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Runs until it has to wait.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Step {
        if self.over {
            return Step::Over;
        }
        for _ in 0..TURNS_IN_A_ROW {
            if self.control.has_changed() && self.obey() {
                return Step::Over;
            }
            if self.paused || self.panicked {
                if !self.panicked {
                    self.control.set_status(StageStatus::Paused);
                }
                if self.control.listen(cx.waker()) {
                    return Step::Wait(None);
                }
                continue;
            }
            let now = self.clock.now();
            self.control.enter(now);
            self.control.set_status(StageStatus::Running);
            let next = self.turn.turn(now, cx);
            self.control.leave(self.turn.totals());
            match next {
                Next::Again => {}
                Next::Wait { until } => {
                    self.control.set_status(StageStatus::Waiting);
                    if self.control.listen(cx.waker()) {
                        return Step::Wait(until);
                    }
                }
                Next::Panicked(text) => {
                    self.panicked = true;
                    self.control.note_panic(text);
                    self.events.panicked(self.index);
                }
                Next::Finished => return self.end(StageStatus::Finished),
                Next::Cancelled => return self.end(StageStatus::Stopped),
            }
        }
        Step::Yield
    }

    /// Carries out what was told; whether the stage is over.
    fn obey(&mut self) -> bool {
        let orders = self.control.orders();
        if orders.stop {
            self.turn.cancel();
            self.control.set_totals(self.turn.totals());
            self.end(StageStatus::Stopped);
            return true;
        }
        if orders.drain {
            self.turn.drain();
        }
        if orders.finish_when_empty {
            self.turn.finish_when_empty();
        }
        // A drain must come to its end, so it ends a pause.
        self.paused = orders.paused && !orders.drain;
        if orders.restart && self.panicked {
            match self.turn.rebuild() {
                Ok(()) => self.panicked = false,
                Err(text) => {
                    self.control.note_panic(text);
                    self.events.panicked(self.index);
                }
            }
        }
        false
    }

    fn end(&mut self, status: StageStatus) -> Step {
        self.over = true;
        if self.control.end(status) {
            self.events.ended(self.index);
        }
        Step::Over
    }

    pub(crate) fn register<'a>(&'a self, waits: &mut Waits<'a>) {
        if !self.paused && !self.panicked {
            self.turn.register(waits);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A runtime that is shut down drops its tasks: what they held is accounted for all the same.
        if !self.over {
            self.turn.cancel();
            self.control.set_totals(self.turn.totals());
            self.end(StageStatus::Stopped);
        }
    }
}
