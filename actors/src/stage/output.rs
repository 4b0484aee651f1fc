//! The outputs of a stage: each collects what a turn emits, and is flushed to its edge at the end of the turn.

use std::task::Context as TaskContext;

use super::{DeadLetters, Input};
use crate::channel::{Closed, EdgeSender};
use crate::message::{Batch, Envelope, Header, Message, Reason, Rejection};

/// One output of a stage.
pub struct Outlet<T: Message> {
    pub(super) pending: Batch<T>,
    pub(super) mark: usize,
    pub(super) producer: u32,
    pub(super) sequence: u64,
    pub(super) sequence_mark: u64,
    /// Which mark of its [`Ways`] the mark belongs to.
    marked: u64,
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
            marked: 0,
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
    fn push(&mut self, cause: Option<&Header>, message: T) {
        self.sequence += 1;
        self.pending
            .push_child(cause, self.producer, self.sequence, message);
    }

    /// Remembers how far outputs are good.
    #[inline]
    pub(super) fn set_mark(&mut self) {
        self.mark = self.pending.len();
        self.sequence_mark = self.sequence;
    }

    /// Takes back what was emitted since the mark.
    pub(super) fn take_back(&mut self) {
        self.pending.truncate(self.mark);
        self.sequence = self.sequence_mark;
    }

    #[inline]
    pub(super) fn is_heavy(&self) -> bool {
        self.pending.bytes() >= self.max_bytes
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
        self.outlet.push(self.cause, message);
    }

    /// Adds an output with a header of the handler's making; identity is set here.
    #[inline]
    pub fn emit_envelope(&mut self, envelope: Envelope<T>) {
        let Envelope { mut header, body } = envelope;
        self.outlet.sequence += 1;
        header.set_identity(self.outlet.producer, 0, self.outlet.sequence);
        self.outlet.pending.push(Envelope { header, body });
    }

    /// Passes the input on as it is: header (identity included) and body.
    #[inline]
    pub fn forward(&mut self, input: Input<'_, T>) {
        let (header, body) = input.into_parts();
        self.outlet.pending.push_forwarded(header, body);
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

/// Several outputs of one type, chosen by number. What a message or a turn costs depends on the ways it uses, not on how
/// many there are.
pub struct Ways<T: Message> {
    pub(super) outlets: Vec<Outlet<T>>,
    /// The ways that hold something, each once.
    pub(super) filled: Vec<usize>,
    /// How much they hold together.
    pub(super) count: usize,
    /// Whether one of them holds as many bytes as its edge may.
    pub(super) heavy: bool,
    /// The number of the present mark. Outlets take it over with their first output after it, so that a mark costs the
    /// same however many there are.
    pub(super) marked: u64,
}

impl<T: Message> Ways<T> {
    /// Outputs that lead nowhere. For tests of stages.
    #[must_use]
    pub fn detached(count: usize) -> Self {
        Self::of((0..count).map(|_| Outlet::detached()).collect())
    }

    pub(super) fn of(outlets: Vec<Outlet<T>>) -> Self {
        Self {
            outlets,
            filled: Vec::new(),
            count: 0,
            heavy: false,
            marked: 1,
        }
    }

    /// Takes what was emitted on one way and not sent; nothing if there is no such way.
    pub fn take_pending(&mut self, way: usize) -> Batch<T> {
        let Some(outlet) = self.outlets.get_mut(way) else {
            return Batch::new();
        };
        let taken = outlet.take_pending();
        self.count -= taken.len();
        self.filled.retain(|filled| *filled != way);
        taken
    }

    /// Adds one output to a way.
    #[inline]
    fn filling(&mut self, way: usize, push: impl FnOnce(&mut Outlet<T>)) -> Result<(), Rejection> {
        let ways = self.outlets.len();
        let Some(outlet) = self.outlets.get_mut(way) else {
            return Err(no_way(way, ways));
        };
        if outlet.marked != self.marked {
            outlet.marked = self.marked;
            outlet.set_mark();
            if outlet.pending.is_empty() {
                self.filled.push(way);
            }
        }
        // Counted last: where the user's code panics in between, nothing was added.
        push(outlet);
        self.heavy |= outlet.is_heavy();
        self.count += 1;
        Ok(())
    }

    /// Takes back what was emitted since the mark.
    pub(super) fn take_back(&mut self) {
        for way in &self.filled {
            let outlet = &mut self.outlets[*way];
            if outlet.marked == self.marked {
                outlet.take_back();
            }
        }
        self.recount();
    }

    /// Notes what is left after outlets were flushed or emptied.
    pub(super) fn recount(&mut self) {
        let outlets = &self.outlets;
        self.filled.retain(|way| !outlets[*way].pending.is_empty());
        let filled = self.filled.iter().map(|way| &outlets[*way]);
        self.count = filled.clone().map(|outlet| outlet.pending.len()).sum();
        self.heavy = filled.clone().any(|outlet| outlet.is_heavy());
        self.marked += 1;
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
        let cause = self.cause;
        self.ways.filling(way, |outlet| outlet.push(cause, message))
    }

    /// Sends a copy of the input on one way, header and identity included.
    ///
    /// # Errors
    /// `no_route` if there is no such way.
    pub fn copy(&mut self, way: usize, input: &Input<'_, T>) -> Result<(), Rejection>
    where
        T: Clone,
    {
        let (header, body) = (input.header().clone(), T::clone(input));
        let weight = header.weight() + body.weight();
        self.ways.filling(way, |outlet| {
            outlet.pending.push_weighed(header, body, weight)
        })
    }

    /// Passes the input on as it is.
    ///
    /// # Errors
    /// `no_route` if there is no such way; the input stays with the runtime.
    #[inline]
    pub fn forward(&mut self, way: usize, input: Input<'_, T>) -> Result<(), Rejection> {
        let (header, body) = input.into_parts();
        self.ways
            .filling(way, |outlet| outlet.pending.push_forwarded(header, body))
    }
}

#[cold]
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
