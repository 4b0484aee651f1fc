//! Sets of ports, and what a stage can be connected to.

use std::marker::PhantomData;

use crate::message::Message;
use crate::stage::Port;

/// Several outputs of one type that lead into one stage. Made by [`Topology::merge`](super::Topology::merge).
#[must_use = "outputs that lead nowhere are refused by `check`"]
pub struct Ports<M: Message>(pub(crate) Vec<Port<M>>);

/// One or more outputs of one type: what a stage can be connected to.
pub trait IntoPorts<M: Message> {
    /// The outputs.
    fn into_ports(self) -> Vec<Port<M>>;
}

impl<M: Message> IntoPorts<M> for Port<M> {
    fn into_ports(self) -> Vec<Port<M>> {
        vec![self]
    }
}

impl<M: Message> IntoPorts<M> for Ports<M> {
    fn into_ports(self) -> Vec<Port<M>> {
        self.0
    }
}

impl<M: Message> IntoPorts<M> for Vec<Port<M>> {
    fn into_ports(self) -> Vec<Port<M>> {
        self
    }
}

impl<M: Message, const N: usize> IntoPorts<M> for [Port<M>; N] {
    fn into_ports(self) -> Vec<Port<M>> {
        self.into()
    }
}

/// The beginning of a loop that still has to be closed. Made by [`Topology::feedback`](super::Topology::feedback).
#[must_use = "a loop that is not closed is refused by `check`"]
pub struct Feedback<M: Message> {
    pub(crate) topology: u64,
    pub(crate) edge: usize,
    pub(crate) message: PhantomData<fn(M)>,
}
