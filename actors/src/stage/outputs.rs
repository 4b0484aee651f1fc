//! Sets of outputs: one, a tuple, several ways of one type, none.

use super::output::{AnyOutlet, Out, OutWays, Outlet, Ways};
use super::port::Port;
use crate::message::{Header, Message};

/// Gives out the ports of a stage while it is added. Whoever wires stages implements it; a stage knows no wiring.
#[doc(hidden)]
pub trait Declare {
    /// The port of the stage's next output.
    fn output<T: Message>(&mut self) -> Port<T>;
}

/// Gives out the outlets of a stage, in the order of its ports, while it is connected.
#[doc(hidden)]
pub trait Connect {
    /// Whether the stage has outputs whose outlet was not given out yet.
    fn has_more_outputs(&self) -> bool;
    /// The outlet of the stage's next output.
    fn outlet<T: Message>(&mut self) -> Outlet<T>;
}

/// The set of outputs of a stage: an [`Outlet`], a tuple of them, [`Ways`], or `()`.
pub trait Outputs: Send + 'static {
    /// What a handler gets to write to.
    type View<'a>;
    /// What the topology builder gives out for them.
    type Ports;

    /// The view for a handler, writing in the name of `cause`.
    fn view<'a>(&'a mut self, cause: Option<&'a Header>) -> Self::View<'a>;
    /// Remembers how far outputs are good.
    fn mark(&mut self);
    /// Takes back what was emitted since the mark.
    fn rollback(&mut self);
    /// A message has ended without being handled: it expired, was refused or made its handler panic, and what it emitted was
    /// taken back. For outputs that tell of every message.
    #[doc(hidden)]
    fn ended(&mut self, header: &Header) {
        let _ = header;
    }
    /// How many outputs wait to be sent.
    fn pending(&self) -> usize;
    /// Whether they hold as much as they should before they are sent.
    fn is_full(&self) -> bool;
    /// Visits each output.
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyOutlet));
    /// Visits at least each output that holds something.
    fn each_filled(&mut self, visit: &mut dyn FnMut(&mut dyn AnyOutlet)) {
        self.each(visit);
    }
    #[doc(hidden)]
    fn each_filled_ref<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn AnyOutlet));
    #[doc(hidden)]
    fn declare(declare: &mut impl Declare, ways: usize) -> Self::Ports;
    #[doc(hidden)]
    fn connect(wiring: &mut impl Connect) -> Self;
}

impl Outputs for () {
    type View<'a> = ();
    type Ports = ();
    fn view<'a>(&'a mut self, _: Option<&'a Header>) -> Self::View<'a> {}
    fn mark(&mut self) {}
    fn rollback(&mut self) {}
    #[inline]
    fn pending(&self) -> usize {
        0
    }
    #[inline]
    fn is_full(&self) -> bool {
        false
    }
    fn each(&mut self, _: &mut dyn FnMut(&mut dyn AnyOutlet)) {}
    fn each_filled_ref<'a>(&'a self, _: &mut dyn FnMut(&'a dyn AnyOutlet)) {}
    fn declare(_: &mut impl Declare, _: usize) -> Self::Ports {}
    fn connect(_: &mut impl Connect) -> Self {}
}

impl<T: Message> Outputs for Outlet<T> {
    type View<'a> = Out<'a, T>;
    type Ports = Port<T>;
    #[inline]
    fn view<'a>(&'a mut self, cause: Option<&'a Header>) -> Self::View<'a> {
        Out {
            outlet: self,
            cause,
        }
    }
    #[inline]
    fn mark(&mut self) {
        self.set_mark();
    }
    fn rollback(&mut self) {
        self.take_back();
    }
    #[inline]
    fn pending(&self) -> usize {
        self.pending.len()
    }
    #[inline(always)]
    fn is_full(&self) -> bool {
        Outlet::is_full(self)
    }
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyOutlet)) {
        visit(self);
    }
    fn each_filled_ref<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn AnyOutlet)) {
        visit(self);
    }
    fn declare(declare: &mut impl Declare, _: usize) -> Self::Ports {
        declare.output::<T>()
    }
    fn connect(wiring: &mut impl Connect) -> Self {
        wiring.outlet::<T>()
    }
}

impl<T: Message> Outputs for Ways<T> {
    type View<'a> = OutWays<'a, T>;
    type Ports = Vec<Port<T>>;
    #[inline]
    fn view<'a>(&'a mut self, cause: Option<&'a Header>) -> Self::View<'a> {
        OutWays { ways: self, cause }
    }
    #[inline]
    fn mark(&mut self) {
        self.marked += 1;
    }
    fn rollback(&mut self) {
        self.take_back();
    }
    #[inline]
    fn pending(&self) -> usize {
        self.count()
    }
    #[inline(always)]
    fn is_full(&self) -> bool {
        Ways::is_full(self)
    }
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyOutlet)) {
        for outlet in &mut self.outlets {
            visit(outlet);
        }
        self.recount();
    }
    fn each_filled(&mut self, visit: &mut dyn FnMut(&mut dyn AnyOutlet)) {
        for way in &self.filled {
            visit(&mut self.outlets[*way]);
        }
        self.recount();
    }
    fn each_filled_ref<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn AnyOutlet)) {
        for way in &self.filled {
            visit(&self.outlets[*way]);
        }
    }
    fn declare(declare: &mut impl Declare, ways: usize) -> Self::Ports {
        (0..ways).map(|_| declare.output::<T>()).collect()
    }
    fn connect(wiring: &mut impl Connect) -> Self {
        let mut outlets = Vec::new();
        while wiring.has_more_outputs() {
            outlets.push(wiring.outlet::<T>());
        }
        Self::of(outlets)
    }
}

macro_rules! tuple_outputs {
    ($(($($name:ident $index:tt),+)),+ $(,)?) => {$(
        impl<$($name: Message),+> Outputs for ($(Outlet<$name>,)+) {
            type View<'a> = ($(Out<'a, $name>,)+);
            type Ports = ($(Port<$name>,)+);
            #[inline]
            fn view<'a>(&'a mut self, cause: Option<&'a Header>) -> Self::View<'a> {
                ($(Out { outlet: &mut self.$index, cause },)+)
            }
            #[inline]
            fn mark(&mut self) { $(Outputs::mark(&mut self.$index);)+ }
            fn rollback(&mut self) { $(Outputs::rollback(&mut self.$index);)+ }
            #[inline]
            fn pending(&self) -> usize { 0 $(+ Outputs::pending(&self.$index))+ }
            #[inline]
            fn is_full(&self) -> bool { false $(|| Outputs::is_full(&self.$index))+ }
            fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyOutlet)) { $(visit(&mut self.$index);)+ }
            fn each_filled_ref<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn AnyOutlet)) { $(visit(&self.$index);)+ }
            fn declare(declare: &mut impl Declare, _: usize) -> Self::Ports { ($(declare.output::<$name>(),)+) }
            fn connect(wiring: &mut impl Connect) -> Self { ($(wiring.outlet::<$name>(),)+) }
        }
    )+};
}
tuple_outputs!((A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3));
