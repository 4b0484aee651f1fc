//! A message as its handler sees it, and leases on messages that are held.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use crate::channel::EdgeId;
use crate::message::{Body, Header, Message};

/// One message at its handler: borrowed from the runtime until it is taken.
pub struct Input<'a, M: Message> {
    header: &'a Header,
    body: Body<'a, M>,
    leases: &'a mut Leases<M>,
    attention: &'a Cell<bool>,
}

impl<'a, M: Message> Input<'a, M> {
    /// `attention` is raised when a lease was asked for.
    #[inline]
    pub(crate) fn new(
        header: &'a Header,
        body: Body<'a, M>,
        leases: &'a mut Leases<M>,
        attention: &'a Cell<bool>,
    ) -> Self {
        Self {
            header,
            body,
            leases,
            attention,
        }
    }

    /// Its header.
    #[must_use]
    #[inline]
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// Takes the body. From here on the message cannot be tried again, and as a dead letter it has no body.
    #[must_use]
    #[inline]
    pub fn take(self) -> M {
        self.body.take()
    }

    /// Its header and the place of its body, to pass it on as it is.
    #[inline]
    pub(crate) fn into_parts(self) -> (&'a Header, Body<'a, M>) {
        (self.header, self.body)
    }

    /// A lease on this message: return [`Outcome::Defer`](crate::Outcome::Defer) from the handler, and settle the lease
    /// later with [`Context::settle`](super::Context::settle). Until then the message counts as held.
    pub fn lease(&mut self) -> Lease {
        self.attention.set(true);
        self.leases.claim()
    }
}

impl<M: Message> Deref for Input<'_, M> {
    type Target = M;
    #[inline]
    fn deref(&self) -> &M {
        &self.body
    }
}

impl<M: Message + fmt::Debug> fmt::Debug for Input<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("header", self.header)
            .field("body", &**self)
            .finish_non_exhaustive()
    }
}

/// The right and duty to settle one deferred message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a lease that is never settled holds its message until the stage ends"]
pub struct Lease {
    slot: u32,
    generation: u32,
}

/// A deferred message. The body is absent where the handler took it.
pub(crate) struct Held<M> {
    pub(crate) edge: EdgeId,
    pub(crate) header: Header,
    pub(crate) body: Option<M>,
}

/// The deferred messages of one stage.
pub(crate) struct Leases<M> {
    slots: slab::Slab<(u32, Option<Held<M>>)>,
    generation: u32,
    claimed: Option<Lease>,
}

impl<M> Default for Leases<M> {
    fn default() -> Self {
        Self {
            slots: slab::Slab::new(),
            generation: 0,
            claimed: None,
        }
    }
}

impl<M> Leases<M> {
    fn claim(&mut self) -> Lease {
        if let Some(lease) = self.claimed {
            return lease;
        }
        self.generation = self.generation.wrapping_add(1);
        let slot = self.slots.insert((self.generation, None));
        // A slot number beyond u32 would need four billion held messages, far above every memory bound.
        let lease = Lease {
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            generation: self.generation,
        };
        self.claimed = Some(lease);
        lease
    }

    /// Keeps the message under the lease claimed for it; gives it back if none was claimed.
    pub(crate) fn keep(&mut self, held: Held<M>) -> Result<(), Held<M>> {
        match self.claimed.take() {
            Some(lease) => {
                if let Some(slot) = self.slots.get_mut(lease.slot as usize) {
                    slot.1 = Some(held);
                }
                Ok(())
            }
            None => Err(held),
        }
    }

    /// The message was not deferred after all.
    pub(crate) fn release_claim(&mut self) {
        if let Some(lease) = self.claimed.take() {
            self.slots.try_remove(lease.slot as usize);
        }
    }

    pub(crate) fn settle(&mut self, lease: Lease) -> Option<Held<M>> {
        let slot = lease.slot as usize;
        match self.slots.get(slot) {
            Some((generation, Some(_))) if *generation == lease.generation => {
                self.slots.remove(slot).1
            }
            _ => None,
        }
    }

    /// How many messages of this edge are held: counted one by one.
    pub(crate) fn held_of(&self, edge: EdgeId) -> u64 {
        if self.slots.is_empty() {
            return 0;
        }
        self.slots
            .iter()
            .filter(|(_, (_, held))| held.as_ref().is_some_and(|held| held.edge == edge))
            .count() as u64
    }

    pub(crate) fn take_all(&mut self) -> Vec<Held<M>> {
        self.claimed = None;
        self.slots.drain().filter_map(|(_, held)| held).collect()
    }
}
