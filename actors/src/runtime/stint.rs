//! What one message after the other goes through at a stage: the loop in which most of the time is spent.

use std::cell::Cell;

use crate::message::{Body, Handle, Header, Outcome, Then, Time};
use crate::stage::{Context as StageContext, Input, Lease, Leases, Outputs, Stage};

/// Why a message was not simply done.
pub(super) enum Unusual {
    Expired,
    Outcome(Outcome),
}

/// What one message after the other needs of a turn.
pub(super) struct Stint<'a, S: Stage> {
    pub(super) stage: &'a mut S,
    pub(super) ports: &'a mut S::Outputs,
    pub(super) leases: &'a mut Leases<S::Input>,
    pub(super) settled: &'a mut Vec<(Lease, Outcome)>,
    pub(super) now: Time,
    /// Raised where the message at the handler does more than emit: it is looked at once for all of that.
    pub(super) attention: Cell<bool>,
    pub(super) unusual: Option<Unusual>,
}

impl<S: Stage> Handle<S::Input> for Stint<'_, S> {
    #[inline(always)]
    fn handle(&mut self, header: &Header, body: Body<'_, S::Input>) -> Then {
        if !S::EMITS_LAST {
            self.ports.mark();
        }
        let input = Input::new(header, body, self.leases, &self.attention);
        let mut cx = StageContext::attentive(self.now, self.settled, &self.attention);
        match self
            .stage
            .handle(input, self.ports.view(Some(header)), &mut cx)
        {
            Outcome::Done => {}
            outcome => {
                self.unusual = Some(Unusual::Outcome(outcome));
                return Then::Stay;
            }
        }
        if self.attention.get() {
            self.leases.release_claim();
            return Then::Stop;
        }
        if self.ports.is_full() {
            return Then::Stop;
        }
        Then::Next
    }

    #[inline(always)]
    fn refuses(&mut self, header: &Header) -> bool {
        let expired = header.is_expired(self.now);
        if expired {
            self.unusual = Some(Unusual::Expired);
        }
        expired
    }
}
