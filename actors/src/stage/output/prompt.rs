//! One output that is sent after each message.

use super::{AnyOutlet, Out, Outlet};
use crate::message::{Header, Message};
use crate::stage::outputs::{Connect, Declare, Outputs};
use crate::stage::port::Port;

/// One output that is full with one message: what a handler emits is sent before the next message is handled. For stages
/// whose handlers take long; it costs a lock, and maybe a wake-up, per message.
pub struct Prompt<T: Message>(pub(in crate::stage) Outlet<T>);

impl<T: Message> Prompt<T> {
    /// An output that leads nowhere. For tests of stages.
    #[must_use]
    pub fn detached() -> Self {
        Self(Outlet::detached().prompt())
    }
}

impl<T: Message> Outputs for Prompt<T> {
    type View<'a> = Out<'a, T>;
    type Ports = Port<T>;
    #[inline]
    fn view<'a>(&'a mut self, cause: Option<&'a Header>) -> Self::View<'a> {
        self.0.view(cause)
    }
    #[inline]
    fn mark(&mut self) {
        self.0.set_mark();
    }
    fn rollback(&mut self) {
        self.0.take_back();
    }
    #[inline]
    fn pending(&self) -> usize {
        self.0.pending.len()
    }
    #[inline(always)]
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
        declare.output::<T>()
    }
    fn connect(wiring: &mut impl Connect) -> Self {
        Self(wiring.outlet::<T>().prompt())
    }
}
