//! What lies under every role.

use std::cell::Cell;

use super::{Input, Lease, Outputs};
use crate::message::{Message, Outcome, Time};

/// A stage: private state that turns inputs into outputs.
///
/// It never waits, reads no clock and starts nothing: it is driven by a turn of the runtime, and by tests alike.
pub trait Stage: Send + 'static {
    /// What it takes.
    type Input: Message;
    /// What it gives: an [`Outlet`](super::Outlet), a tuple of them, [`Ways`](super::Ways), or `()`.
    type Outputs: Outputs;

    /// Whether its handler emits at the very end, when nothing of its own can fail any more: then what it emitted never
    /// has to be taken back, and the runtime need not remember where it began.
    const EMITS_LAST: bool = false;

    /// Handles one message. `input` is borrowed from the runtime until the handler takes it.
    fn handle(
        &mut self,
        input: Input<'_, Self::Input>,
        out: <Self::Outputs as Outputs>::View<'_>,
        cx: &mut Context<'_>,
    ) -> Outcome;

    /// When [`Stage::handle_timeout`] wants to be called next.
    fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// The time asked for has come.
    fn handle_timeout(&mut self, out: <Self::Outputs as Outputs>::View<'_>, cx: &mut Context<'_>) {
        let _ = (out, cx);
    }

    /// Nothing will come any more: give what is left. Called again as long as it answers [`Progress::More`], its
    /// outputs being sent in between.
    fn finish(
        &mut self,
        out: <Self::Outputs as Outputs>::View<'_>,
        cx: &mut Context<'_>,
    ) -> Progress {
        let _ = (out, cx);
        Progress::Finished
    }
}

/// A stage without inputs.
pub trait Source: Send + 'static {
    /// What it gives.
    type Outputs: Outputs;

    /// Gives the next messages: a few at a time, so that commands are heard in between.
    fn produce(
        &mut self,
        out: <Self::Outputs as Outputs>::View<'_>,
        cx: &mut Context<'_>,
    ) -> Progress;
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is there now.
    More,
    /// Nothing before this point in time.
    Until(Time),
    /// That was all.
    Finished,
}

/// What a stage is told beside its input.
#[derive(Debug)]
pub struct Context<'a> {
    now: Time,
    settled: &'a mut Vec<(Lease, Outcome)>,
    attention: Option<&'a Cell<bool>>,
}

impl<'a> Context<'a> {
    /// A context at `now`; settlements of leases are appended to `settled`. For runtimes and tests.
    pub fn new(now: Time, settled: &'a mut Vec<(Lease, Outcome)>) -> Self {
        Self {
            now,
            settled,
            attention: None,
        }
    }

    /// As [`Context::new`]; `attention` is raised when something was settled.
    #[inline]
    pub(crate) fn attentive(
        now: Time,
        settled: &'a mut Vec<(Lease, Outcome)>,
        attention: &'a Cell<bool>,
    ) -> Self {
        Self {
            now,
            settled,
            attention: Some(attention),
        }
    }

    /// The time of this turn.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Settles a message that was deferred. It counts when everything emitted so far has been accepted.
    /// Settling a lease twice, or one whose message was not deferred, does nothing.
    pub fn settle(&mut self, lease: Lease, outcome: Outcome) {
        self.settled.push((lease, outcome));
        if let Some(attention) = self.attention {
            attention.set(true);
        }
    }
}
