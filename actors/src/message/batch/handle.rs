//! Messages of a batch at their handler: each with a header that is put together for it.

use std::collections::VecDeque;

use super::super::Header;
use super::super::buffer::{Body, Then, Visit};
use super::super::header::Common;

/// Whoever handles messages one by one. A trait and not a closure, so that the compiler can be told to build it into each
/// loop.
pub(crate) trait Handle<M> {
    fn handle(&mut self, header: &Header, body: Body<'_, M>) -> Then;

    /// Whether it does not want the message with this header, which then stays. Asked only where headers differ: of a batch
    /// whose headers agree the caller finds out before.
    fn refuses(&mut self, header: &Header) -> bool {
        let _ = header;
        false
    }
}

/// Puts headers together that differ in sequence and key only.
pub(super) struct Uniform<'a, H> {
    pub(super) header: Header,
    pub(super) handler: &'a mut H,
}

impl<M, H: Handle<M>> Visit<M> for Uniform<'_, H> {
    #[inline(always)]
    fn visit(&mut self, sequence: u64, key: u64, body: Body<'_, M>) -> Then {
        self.header.sequence = sequence;
        self.header.key = key;
        self.handler.handle(&self.header, body)
    }
}

/// Puts headers together that are held one by one.
pub(super) struct Apart<'a, H> {
    pub(super) header: Header,
    pub(super) each: &'a mut VecDeque<Common>,
    /// What is held of the first message is in `header` now.
    pub(super) lent: bool,
    pub(super) handler: &'a mut H,
}

impl<M, H: Handle<M>> Visit<M> for Apart<'_, H> {
    #[inline(always)]
    fn visit(&mut self, sequence: u64, key: u64, body: Body<'_, M>) -> Then {
        self.lend(sequence, key);
        let then = if self.handler.refuses(&self.header) {
            Then::Stay
        } else {
            self.handler.handle(&self.header, body)
        };
        self.give_back(then);
        then
    }
}

impl<H> Apart<'_, H> {
    fn lend(&mut self, sequence: u64, key: u64) {
        self.header.sequence = sequence;
        self.header.key = key;
        if let Some(first) = self.each.front_mut() {
            self.header.common = std::mem::take(first);
            self.lent = true;
        }
    }

    fn give_back(&mut self, then: Then) {
        self.lent = false;
        if then != Then::Stay {
            self.each.pop_front();
        } else if let Some(first) = self.each.front_mut() {
            *first = std::mem::take(&mut self.header.common);
        }
    }
}

impl<H> Drop for Apart<'_, H> {
    fn drop(&mut self) {
        // The handler has panicked: its message stays the first one, whole.
        if self.lent {
            self.give_back(Then::Stay);
        }
    }
}
