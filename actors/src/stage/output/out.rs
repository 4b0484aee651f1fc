//! Where a handler writes.

use super::Outlet;
use crate::message::{Envelope, Header, Message};
use crate::stage::Input;

/// Where a handler writes: an output together with the message that causes what is written.
pub struct Out<'a, T: Message> {
    pub(in crate::stage) outlet: &'a mut Outlet<T>,
    pub(in crate::stage) cause: Option<&'a Header>,
}

impl<'a, T: Message> Out<'a, T> {
    /// Writes to `outlet`; what is emitted inherits from `cause`.
    pub fn new(outlet: &'a mut Outlet<T>, cause: Option<&'a Header>) -> Self {
        Self { outlet, cause }
    }

    /// Adds an output to this turn's batch. It inherits key, deadline, event time and trace of its cause; a key of its
    /// own comes first. One handler call should emit few: what it emits waits in memory until the turn ends.
    #[inline]
    pub fn emit(&mut self, message: T) {
        self.outlet.push(self.cause, message);
        self.outlet.count_one();
    }

    /// Adds what an iterator gives, up to `most` outputs, as [`Out::emit`] does; whether there may be more. Cheaper than one by
    /// one.
    pub fn emit_from(&mut self, messages: &mut impl Iterator<Item = T>, most: usize) -> bool {
        let mut left = most;
        while left > 0 {
            let added = self.outlet.push_some(self.cause, left, messages);
            self.outlet.count_one();
            match added {
                Some(added) => left -= added,
                None => return false,
            }
        }
        true
    }

    /// Adds an output with a header of the handler's making; identity is set here.
    #[inline]
    pub fn emit_envelope(&mut self, envelope: Envelope<T>) {
        let Envelope { mut header, body } = envelope;
        self.outlet.sequence += 1;
        header.set_identity(self.outlet.producer, 0, self.outlet.sequence);
        self.outlet.push_envelope(Envelope { header, body });
        self.outlet.count_one();
    }

    /// Passes a message on as it is: header (identity included) and body.
    pub(crate) fn pass(&mut self, envelope: Envelope<T>) {
        self.outlet.push_envelope(envelope);
        self.outlet.count_one();
    }

    /// Passes the input on as it is: header (identity included) and body.
    #[inline]
    pub fn forward(&mut self, input: Input<'_, T>) {
        self.outlet.forward(input);
        self.outlet.count_one();
    }

    /// The header that an output emitted now would inherit from.
    #[must_use]
    pub fn cause(&self) -> Option<&Header> {
        self.cause
    }

    /// How many outputs wait for the end of the turn.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.outlet.pending.len()
    }
}
