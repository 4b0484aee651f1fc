//! Typed handles on outputs: each is used exactly once, so that wrong wiring does not compile.

use std::marker::PhantomData;

use crate::channel::{Capacity, Overflow};
use crate::message::Message;

/// An output that waits to be connected. It can be used once, and only where messages of type `M` are taken.
#[must_use = "an output that leads nowhere is refused by `check`"]
pub struct Port<M: Message> {
    pub(crate) topology: u64,
    pub(crate) edge: usize,
    pub(crate) capacity: Option<Capacity>,
    pub(crate) overflow: Option<Overflow>,
    pub(crate) name: Option<String>,
    pub(crate) fused: bool,
    pub(crate) message: PhantomData<fn() -> M>,
}

impl<M: Message> Port<M> {
    pub(crate) fn new(topology: u64, edge: usize) -> Self {
        Self {
            topology,
            edge,
            capacity: None,
            overflow: None,
            name: None,
            fused: false,
            message: PhantomData,
        }
    }

    /// The bound of the edge from here; otherwise the topology's default.
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// What the edge from here does when it is full; otherwise [`Overflow::Wait`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// Asks that the stages at both ends of the edge from here run in one task, their turns following each other: right
    /// where both are cheap, or where what one gives should be taken while it is in the cache. Has no effect where one of
    /// them runs on a thread of its own.
    pub fn fused(mut self) -> Self {
        self.fused = true;
        self
    }

    /// The name of the edge from here in reports; otherwise it is made of the names of its ends.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
