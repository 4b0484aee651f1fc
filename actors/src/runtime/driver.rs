//! Runs the turns of one stage and carries out its commands in between.

use std::sync::Arc;
use std::task::{Context, Waker};

use super::control::{Control, StageStatus};
use super::turn::{Next, Turn};
use crate::channel::Waits;
use crate::message::{Clock, Time};

/// Whom a driver tells what happens to its stage. Must not block.
pub(crate) trait DriverEvents: Send + Sync {
    /// The stage panicked and waits for a command.
    fn panicked(&self, stage: usize);
    /// The stage is over.
    fn ended(&self, stage: usize);
}

/// What one turn came to.
pub(crate) enum Ran {
    /// There is more to do now.
    Again,
    /// It waits, its own timer until then.
    Idle(Option<Time>),
    /// The stage is over.
    Over,
}

/// What the runner of one or several stages waits for.
pub(crate) enum Step {
    /// Wakers are registered; look again at this time at the latest.
    Wait(Option<Time>),
    /// There is more to do, but others should have their chance.
    Yield,
    /// All are over.
    Over,
}

pub(crate) struct Driver {
    index: usize,
    turn: Box<dyn Turn>,
    control: Arc<Control>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn DriverEvents>,
    /// The waker that listens for commands, until one comes.
    listening: Option<Waker>,
    /// What was said last of what the stage is doing.
    said: StageStatus,
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
            listening: None,
            said: StageStatus::Created,
            paused: false,
            panicked: false,
            over: false,
        }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Runs one turn.
    pub(crate) fn run(&mut self, now: Time, cx: &mut Context<'_>) -> Ran {
        if self.over || (self.control.has_changed() && self.obey()) {
            return Ran::Over;
        }
        if self.panicked {
            return Ran::Idle(None);
        }
        if self.paused {
            self.say(StageStatus::Paused);
            return Ran::Idle(None);
        }
        self.say(StageStatus::Running);
        self.control.enter(now);
        let next = self.turn.turn(now, cx);
        self.control.leave(self.turn.totals());
        match next {
            Next::Again => Ran::Again,
            Next::Wait { until } => Ran::Idle(until),
            Next::Panicked(text) => {
                self.panicked = true;
                self.said = StageStatus::Panicked;
                self.control.note_panic(text);
                self.events.panicked(self.index);
                Ran::Idle(None)
            }
            Next::Finished => self.end(StageStatus::Finished),
            Next::Cancelled => self.end(StageStatus::Stopped),
        }
    }

    /// Asks to be woken by the next command. `false`: one has come already.
    pub(crate) fn listen(&mut self, waker: &Waker) -> bool {
        if !self.paused && !self.panicked {
            self.say(StageStatus::Waiting);
        }
        if !self.control.has_changed()
            && let Some(listening) = &self.listening
            && listening.will_wake(waker)
        {
            return true;
        }
        let listens = self.control.listen(waker);
        self.listening = listens.then(|| waker.clone());
        listens
    }

    fn say(&mut self, status: StageStatus) {
        if self.said != status {
            self.said = status;
            self.control.set_status(status);
        }
    }

    /// Carries out what was told; whether the stage is over.
    fn obey(&mut self) -> bool {
        // Whoever told something has taken the waker.
        self.listening = None;
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

    fn end(&mut self, status: StageStatus) -> Ran {
        self.over = true;
        if self.control.end(status) {
            self.events.ended(self.index);
        }
        Ran::Over
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
