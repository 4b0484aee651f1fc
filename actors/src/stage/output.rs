//! The outputs of a stage: each collects what a turn emits, and is flushed to its edge at the end of the turn.

use std::task::Context as TaskContext;

use super::{DeadLetters, Input};
use crate::channel::{Closed, EdgeSender};
use crate::message::{Batch, Envelope, Header, Key, Message, Reason, Rejection};

/// One output of a stage.
pub struct Outlet<T: Message> {
    pub(super) pending: Batch<T>,
    pub(super) mark: usize,
    pub(super) producer: u32,
    pub(super) sequence: u64,
    pub(super) sequence_mark: u64,
    pub(super) emitted: u64,
    pub(super) max_bytes: usize,
    pub(super) edge: Option<EdgeSender<T>>,
    pub(super) accepted: Option<crate::telemetry::AcceptedCounter>,
}

impl<T: Message> Default for Outlet<T> {
    fn default() -> Self {
        Self {
            pending: Batch::new(),
            mark: 0,
            producer: 0,
            sequence: 0,
            sequence_mark: 0,
            emitted: 0,
            max_bytes: usize::MAX,
            edge: None,
            accepted: None,
        }
    }
}

impl<T: Message> Outlet<T> {
    /// An output that leads nowhere: what is emitted stays in it until [`Outlet::take_pending`]. For tests of stages.
    #[must_use]
    pub fn detached() -> Self {
        Self::default()
    }

    pub(crate) fn connected(
        producer: u32,
        edge: EdgeSender<T>,
        max_bytes: usize,
        accepted: crate::telemetry::AcceptedCounter,
    ) -> Self {
        Self {
            producer,
            max_bytes,
            edge: Some(edge),
            accepted: Some(accepted),
            ..Self::default()
        }
    }

    /// Takes what was emitted and not sent.
    pub fn take_pending(&mut self) -> Batch<T> {
        self.mark = 0;
        std::mem::take(&mut self.pending)
    }

    #[inline]
    fn push(&mut self, mut envelope: Envelope<T>) {
        self.sequence += 1;
        envelope
            .header
            .set_identity(self.producer, 0, self.sequence);
        self.pending.push(envelope);
    }
}

/// Where a handler writes: an output together with the message that causes what is written.
pub struct Out<'a, T: Message> {
    pub(super) outlet: &'a mut Outlet<T>,
    pub(super) cause: Option<&'a Header>,
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
        self.emit_envelope(envelope(message, self.cause));
    }

    /// Adds an output with a header of the handler's making; identity is set here.
    #[inline]
    pub fn emit_envelope(&mut self, envelope: Envelope<T>) {
        self.outlet.push(envelope);
    }

    /// Passes the input on as it is: header (identity included) and body.
    #[inline]
    pub fn forward(&mut self, input: Input<'_, T>) {
        let header = input.header().clone();
        self.outlet.pending.push(Envelope {
            header,
            body: input.take(),
        });
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

#[inline]
fn envelope<T: Message>(message: T, cause: Option<&Header>) -> Envelope<T> {
    let own: Option<Key> = message.key();
    let mut header = cause.map(Header::child).unwrap_or_default();
    if own.is_some() {
        header.set_key(own);
    }
    Envelope {
        header,
        body: message,
    }
}

/// Several outputs of one type, chosen by number.
#[derive(Default)]
pub struct Ways<T: Message> {
    pub(super) outlets: Vec<Outlet<T>>,
}

impl<T: Message> Ways<T> {
    /// Outputs that lead nowhere. For tests of stages.
    #[must_use]
    pub fn detached(count: usize) -> Self {
        Self {
            outlets: (0..count).map(|_| Outlet::detached()).collect(),
        }
    }

    /// Takes what was emitted on one way and not sent; nothing if there is no such way.
    pub fn take_pending(&mut self, way: usize) -> Batch<T> {
        self.outlets
            .get_mut(way)
            .map(Outlet::take_pending)
            .unwrap_or_default()
    }
}

/// Where a router writes.
pub struct OutWays<'a, T: Message> {
    pub(super) ways: &'a mut Ways<T>,
    pub(super) cause: Option<&'a Header>,
}

impl<T: Message> OutWays<'_, T> {
    /// How many ways there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ways.outlets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ways.outlets.is_empty()
    }

    /// Emits on one way.
    ///
    /// # Errors
    /// `no_route` if there is no such way; the message is dropped with the attempt.
    pub fn emit(&mut self, way: usize, message: T) -> Result<(), Rejection> {
        match self.ways.outlets.get_mut(way) {
            Some(outlet) => {
                outlet.push(envelope(message, self.cause));
                Ok(())
            }
            None => Err(no_way(way, self.len())),
        }
    }

    /// Sends a copy of the input on one way, header and identity included.
    ///
    /// # Errors
    /// `no_route` if there is no such way.
    pub fn copy(&mut self, way: usize, input: &Input<'_, T>) -> Result<(), Rejection>
    where
        T: Clone,
    {
        let ways = self.len();
        let outlet = self
            .ways
            .outlets
            .get_mut(way)
            .ok_or_else(|| no_way(way, ways))?;
        outlet.pending.push(Envelope {
            header: input.header().clone(),
            body: T::clone(input),
        });
        Ok(())
    }

    /// Passes the input on as it is.
    ///
    /// # Errors
    /// `no_route` if there is no such way; the input stays with the runtime.
    #[inline]
    pub fn forward(&mut self, way: usize, input: Input<'_, T>) -> Result<(), Rejection> {
        match self.ways.outlets.get_mut(way) {
            Some(outlet) => {
                let header = input.header().clone();
                outlet.pending.push(Envelope {
                    header,
                    body: input.take(),
                });
                Ok(())
            }
            None => Err(no_way(way, self.len())),
        }
    }
}

fn no_way(way: usize, ways: usize) -> Rejection {
    Rejection::new(
        Reason::NoRoute,
        format!("way {way} was chosen, but there are only {ways}"),
    )
}

/// An output whose type does not matter: what the runtime sees.
pub trait AnyOutlet {
    /// How many outputs wait to be sent.
    fn pending(&self) -> usize;
    #[doc(hidden)]
    fn poll_flush(
        &mut self,
        cx: &mut TaskContext<'_>,
        stage: &str,
        dead_letters: &DeadLetters,
    ) -> Result<bool, Closed>;
    #[doc(hidden)]
    fn emitted(&self) -> u64;
    #[doc(hidden)]
    fn discard(&mut self) -> u64;
    #[doc(hidden)]
    fn register<'a>(&'a self, waits: &mut crate::channel::Waits<'a>);
}

impl<T: Message> AnyOutlet for Outlet<T> {
    fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether everything was sent. What a `Fail` edge refuses becomes a dead letter of that edge.
    fn poll_flush(
        &mut self,
        cx: &mut TaskContext<'_>,
        stage: &str,
        dead_letters: &DeadLetters,
    ) -> Result<bool, Closed> {
        if self.pending.is_empty() {
            return Ok(true);
        }
        let Some(edge) = &mut self.edge else {
            return Ok(true);
        };
        let (moved, result) = edge.poll_send_batch(cx, &mut self.pending);
        self.emitted += moved as u64;
        if moved > 0
            && let Some(accepted) = &self.accepted
        {
            accepted.add(moved as u64);
        }
        let finished = result?;
        if finished && !self.pending.is_empty() {
            self.emitted += self.pending.len() as u64;
            edge.count_refused(self.pending.len() as u64);
            for envelope in self.pending.drain() {
                let rejection = Rejection::new(
                    Reason::Quota,
                    "the edge was full and its overflow policy is `fail`",
                );
                dead_letters.add(stage, rejection, envelope.header, Some(envelope.body));
            }
        }
        self.mark = self.pending.len();
        Ok(finished)
    }

    fn emitted(&self) -> u64 {
        self.emitted
    }

    fn discard(&mut self) -> u64 {
        let count = self.pending.len() as u64;
        self.pending.clear();
        self.edge = None;
        count
    }

    fn register<'a>(&'a self, waits: &mut crate::channel::Waits<'a>) {
        if !self.pending.is_empty()
            && let Some(edge) = &self.edge
        {
            edge.register(waits);
        }
    }
}
