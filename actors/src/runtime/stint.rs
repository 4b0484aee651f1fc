//! What one message after the other goes through at a stage: the loop in which most of the time is spent.

use super::turn::MAX_BATCH;
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
    pub(super) check_deadlines: bool,
    pub(super) unusual: Option<Unusual>,
}

impl<S: Stage> Handle<S::Input> for Stint<'_, S> {
    #[inline(always)]
    fn handle(&mut self, header: &Header, body: Body<'_, S::Input>) -> Then {
        if self.check_deadlines && header.is_expired(self.now) {
            self.unusual = Some(Unusual::Expired);
            return Then::Stay;
        }
        if !S::EMITS_LAST {
            self.ports.mark();
        }
        let input = Input::new(header, body, self.leases);
        let mut cx = StageContext::new(self.now, self.settled);
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
        if self.leases.is_claimed() {
            self.leases.release_claim();
        }
        if self.ports.pending() >= MAX_BATCH || self.ports.is_heavy() || !self.settled.is_empty() {
            return Then::Stop;
        }
        Then::Next
    }
}
