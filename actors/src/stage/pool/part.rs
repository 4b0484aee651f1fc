//! What workers of an ordered pool send: outputs, each with the number of the input that caused it.

use crate::message::{Envelope, Header, Key, Kind, Message};
use crate::stage::Outlet;
use crate::stage::output::AnyOutlet;
use crate::stage::outputs::{Connect, Declare, Outputs};
use crate::stage::port::Port;

/// An output of a worker, or the word that a message has ended without one.
pub(crate) struct Part<O> {
    /// The number of the input that caused it; 0: nothing caused it, so it has no place in the order.
    pub(super) number: u64,
    /// Whether it is the last one of that input.
    pub(super) last: bool,
    pub(super) output: Option<O>,
}

impl<O: Message> Message for Part<O> {
    const KIND: Kind = Kind::composed("part", &[O::KIND]);

    fn weight(&self) -> usize {
        let output = self.output.as_ref().map_or(0, O::weight);
        size_of::<Self>() + output.saturating_sub(size_of::<O>())
    }

    fn key(&self) -> Option<Key> {
        self.output.as_ref().and_then(O::key)
    }
}

/// The output of a worker in an ordered pool: it tells of every message, whatever becomes of it.
pub(crate) struct Parts<O: Message>(Outlet<Part<O>>);

/// Where such a worker writes.
pub(crate) struct OutParts<'a, O: Message> {
    outlet: &'a mut Outlet<Part<O>>,
    cause: Option<&'a Header>,
}

impl<O: Message> OutParts<'_, O> {
    /// Sends what was emitted for the present input, and that this was all.
    pub(super) fn finish(&mut self, emitted: &mut Outlet<O>) {
        let mut emitted = emitted.take_pending();
        let number = self.cause.map_or(0, Header::sequence);
        while let Some(Envelope { header, body }) = emitted.pop() {
            let part = Part {
                number,
                last: emitted.is_empty(),
                output: Some(body),
            };
            self.push(header, part);
            if emitted.is_empty() {
                return;
            }
        }
        if let Some(cause) = self.cause {
            let part = Part {
                number,
                last: true,
                output: None,
            };
            self.push(cause.child(), part);
        }
    }

    fn push(&mut self, header: Header, body: Part<O>) {
        self.outlet.push_envelope(Envelope { header, body });
    }
}

impl<O: Message> Outputs for Parts<O> {
    type View<'a> = OutParts<'a, O>;
    type Ports = Port<Part<O>>;
    fn view<'a>(&'a mut self, cause: Option<&'a Header>) -> Self::View<'a> {
        OutParts {
            outlet: &mut self.0,
            cause,
        }
    }
    fn mark(&mut self) {
        self.0.set_mark();
    }
    fn rollback(&mut self) {
        self.0.take_back();
    }
    /// Whoever puts outputs in order waits for this one, and must hear that it will not come.
    fn ended(&mut self, header: &Header) {
        self.view(Some(header)).finish(&mut Outlet::detached());
        self.0.set_mark();
    }
    fn pending(&self) -> usize {
        self.0.pending.len()
    }
    fn is_full(&self) -> bool {
        Outlet::is_full(&self.0)
    }
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyOutlet)) {
        visit(&mut self.0);
    }
    fn each_filled_ref<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn AnyOutlet)) {
        visit(&self.0);
    }
    fn declare(declare: &mut impl Declare, _: usize) -> Self::Ports {
        declare.output::<Part<O>>()
    }
    fn connect(wiring: &mut impl Connect) -> Self {
        Self(wiring.outlet::<Part<O>>().prompt())
    }
}
