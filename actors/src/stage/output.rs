//! The outputs of a stage: each collects what a turn emits, and is flushed to its edge at the end of the turn.

use std::task::Context as TaskContext;

use super::{DeadLetters, Input};
use crate::channel::{Closed, EdgeSender};
use crate::message::{Batch, Envelope, Header, Key, Mark, Message, Reason, Rejection};

/// Where a header comes from, as a number: two headers of one kind differ in sequence and key only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alike(u64);

impl Alike {
    /// From nothing that is known. Nothing is ever found to be alike it, because a run without a name is never noted.
    const NONE: Self = Self(0);

    /// The name of no run: nothing caused it.
    const UNCAUSED: u64 = u64::MAX >> 2;

    /// Caused by a message of this run, with a key of its own or not.
    #[inline]
    fn of_child(run: u64, keyed: bool) -> Self {
        Self(run << 2 | if keyed { 1 } else { 2 })
    }

    /// Passed on from this run.
    #[inline]
    fn of_forwarded(run: u64) -> Self {
        Self(run << 2 | 3)
    }

    /// What may be noted: nothing where the run has no name.
    fn noted(self) -> Self {
        if self.0 >> 2 == 0 { Self::NONE } else { self }
    }
}

/// About the most outputs that a turn collects before it flushes.
pub(crate) const MAX_BATCH: usize = 512;

/// One output of a stage.
pub struct Outlet<T: Message> {
    pub(super) pending: Batch<T>,
    mark: Mark,
    pub(super) producer: u32,
    pub(super) sequence: u64,
    /// Which mark of its [`Ways`] the mark belongs to.
    marked: u64,
    /// Outputs of this kind agree with those in `pending` in all of their header but sequence and key.
    alike: Alike,
    /// From where on it is full: what it holds should be sent.
    full_at: Mark,
    pub(super) emitted: u64,
    pub(super) max_bytes: usize,
    pub(super) edge: Option<EdgeSender<T>>,
    pub(super) accepted: Option<crate::telemetry::AcceptedCounter>,
}

impl<T: Message> Default for Outlet<T> {
    fn default() -> Self {
        Self {
            pending: Batch::new(),
            mark: Mark::default(),
            producer: 0,
            sequence: 0,
            marked: 0,
            alike: Alike::NONE,
            full_at: Batch::<T>::mark_of(MAX_BATCH),
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
        let mut outlet = Self {
            producer,
            max_bytes,
            edge: Some(edge),
            accepted: Some(accepted),
            ..Self::default()
        };
        outlet.renew();
        outlet
    }

    /// Takes what was emitted and not sent.
    pub fn take_pending(&mut self) -> Batch<T> {
        self.mark = Mark::default();
        self.alike = Alike::NONE;
        let taken = std::mem::take(&mut self.pending);
        self.renew();
        taken
    }

    /// The most outputs that are collected, as far as their type tells their bytes.
    fn most(&self) -> usize {
        match Batch::<T>::EACH {
            0 => MAX_BATCH,
            each => (self.max_bytes / each).clamp(1, MAX_BATCH),
        }
    }

    /// Notes from where on it is full, after some were sent or taken back.
    fn renew(&mut self) {
        let most = if self.is_heavy() { 0 } else { self.most() };
        self.full_at = Batch::<T>::mark_of(most);
    }

    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.pending.mark() >= self.full_at
    }

    /// Notes that an output was added.
    #[inline(always)]
    fn count_one(&mut self) {
        // Where all weigh the same, their number tells.
        if T::FIXED_WEIGHT.is_none() && self.is_heavy() {
            self.full_at = Mark::default();
        }
    }

    /// Adds an output of this stage's own.
    #[inline]
    fn push(&mut self, cause: Option<&Header>, message: T) {
        let (own, weight) = (message.key(), message.weight());
        let alike = Alike::of_child(cause.map_or(Alike::UNCAUSED, Header::run), own.is_some());
        self.sequence += 1;
        if alike != self.alike {
            self.announce_child(cause, own, alike);
        }
        let key = own.map_or_else(|| cause.map_or(0, Header::key_number), Key::value);
        self.pending.push_row(self.sequence, key, message, weight);
    }

    /// Adds outputs of this stage's own, a few and up to `most` of them: how many, or `None` if there were fewer than it
    /// asked for.
    fn push_some(
        &mut self,
        cause: Option<&Header>,
        most: usize,
        messages: &mut impl Iterator<Item = T>,
    ) -> Option<usize> {
        // Room is made for all of them at once, and without having seen them.
        const FEW: usize = 64;
        // The first one tells whether they have keys of their own; one that is different ends the run.
        let first = messages.next()?;
        let before = self.pending.len();
        let keyed = first.key().is_some();
        self.push(cause, first);
        let inherited = cause.map_or(0, Header::key_number);
        let mut odd = None;
        let mut ended = false;
        self.pending
            .fill(&mut self.sequence, most.min(FEW) - 1, || {
                let Some(message) = messages.next() else {
                    ended = true;
                    return None;
                };
                let (own, weight) = (message.key(), message.weight());
                if own.is_some() != keyed {
                    odd = Some(message);
                    return None;
                }
                Some((own.map_or(inherited, Key::value), message, weight))
            });
        if let Some(message) = odd {
            self.push(cause, message);
        }
        (!ended).then(|| self.pending.len() - before)
    }

    /// Passes a message on as it is.
    #[inline(always)]
    fn forward(&mut self, input: Input<'_, T>) {
        let header = input.header();
        let alike = Alike::of_forwarded(header.run());
        if alike != self.alike {
            self.announce(header.clone(), alike);
        }
        self.forward_alike(input);
    }

    /// Passes a message on whose header agrees with those in `pending`.
    #[inline(always)]
    fn forward_alike(&mut self, input: Input<'_, T>) {
        let weight = input.weight();
        let (header, body) = input.into_parts();
        let identity = (header.sequence(), header.key_number());
        self.pending.push_moved(identity, body, weight);
    }

    #[inline(never)]
    fn announce_child(&mut self, cause: Option<&Header>, own: Option<Key>, alike: Alike) {
        let mut header = cause.map(Header::child).unwrap_or_default();
        if own.is_some() {
            header.set_key(own);
        }
        header.set_identity(self.producer, 0, self.sequence);
        self.announce(header, alike);
    }

    #[inline(never)]
    fn announce(&mut self, header: Header, alike: Alike) {
        let uniform = self.pending.announce(header);
        self.alike = if uniform { alike.noted() } else { Alike::NONE };
    }

    /// Adds an output of whose header nothing is known.
    fn push_envelope(&mut self, envelope: Envelope<T>) {
        self.pending.push(envelope);
        self.alike = Alike::NONE;
    }

    /// Remembers how far outputs are good.
    #[inline]
    pub(super) fn set_mark(&mut self) {
        self.mark = self.pending.mark();
    }

    /// Takes back what was emitted since the mark. Its sequence numbers are not given again.
    pub(super) fn take_back(&mut self) {
        self.pending.take_back(self.mark);
        self.alike = Alike::NONE;
        self.renew();
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

/// Several outputs of one type, chosen by number. What a message or a turn costs depends on the ways it uses, not on how
/// many there are.
pub struct Ways<T: Message> {
    pub(super) outlets: Vec<Outlet<T>>,
    /// The ways that hold something, each once.
    pub(super) filled: Vec<usize>,
    /// How many more outputs may be collected before they should be sent; below one they are full.
    room: isize,
    /// The most that all of them together collect, such that none of them becomes too heavy.
    most: usize,
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
        let most = outlets.iter().map(Outlet::most).min().unwrap_or(MAX_BATCH);
        Self {
            outlets,
            filled: Vec::new(),
            room: most.cast_signed(),
            most,
            marked: 1,
        }
    }

    /// Takes what was emitted on one way and not sent; nothing if there is no such way.
    pub fn take_pending(&mut self, way: usize) -> Batch<T> {
        let Some(outlet) = self.outlets.get_mut(way) else {
            return Batch::new();
        };
        let taken = outlet.take_pending();
        self.recount();
        taken
    }

    /// The outlet of a way to which an output is to be added; then it is [counted](Self::count_one). Where the user's code
    /// panics in between, nothing was added.
    #[inline(always)]
    fn open(&mut self, way: usize) -> Result<&mut Outlet<T>, Rejection> {
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
        Ok(outlet)
    }

    /// Opens a way for messages that are passed on with headers like this one.
    #[inline(never)]
    fn begin_forwarding(&mut self, way: usize, header: &Header) {
        if let Ok(outlet) = self.open(way) {
            outlet.announce(header.clone(), Alike::of_forwarded(header.run()));
        }
    }

    /// Counts an output that was added to an outlet, which now is heavy or not.
    #[inline(always)]
    fn count_one(&mut self, heavy: bool) {
        self.room -= 1;
        if heavy {
            self.room = 0;
        }
    }

    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.room <= 0
    }

    /// How much they hold together.
    pub(super) fn count(&self) -> usize {
        let filled = self.filled.iter();
        filled.map(|way| self.outlets[*way].pending.len()).sum()
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
        let mut filled = self.filled.iter().map(|way| &outlets[*way]);
        let heavy = filled.any(|outlet| outlet.is_heavy());
        let free = self.most.cast_signed() - self.count().cast_signed();
        self.room = if heavy { 0 } else { free };
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
        let outlet = self.ways.open(way)?;
        outlet.push(self.cause, message);
        let heavy = T::FIXED_WEIGHT.is_none() && outlet.is_heavy();
        self.ways.count_one(heavy);
        Ok(())
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
        let outlet = self.ways.open(way)?;
        outlet.push_envelope(Envelope { header, body });
        let heavy = T::FIXED_WEIGHT.is_none() && outlet.is_heavy();
        self.ways.count_one(heavy);
        Ok(())
    }

    /// As [`OutWays::forward`], as the last thing that a handler does: it is never taken back, so nothing has to be
    /// remembered of where it began.
    #[inline(always)]
    pub(super) fn forward_last(
        &mut self,
        way: usize,
        input: Input<'_, T>,
    ) -> Result<(), Rejection> {
        let ways = self.ways.outlets.len();
        if way >= ways {
            return Err(no_way(way, ways));
        }
        let header = input.header();
        // Where what it holds is of the same kind, it holds something, and stands among the filled ones.
        if self.ways.outlets[way].alike != Alike::of_forwarded(header.run()) {
            self.ways.begin_forwarding(way, header);
        }
        let outlet = &mut self.ways.outlets[way];
        outlet.forward_alike(input);
        let heavy = T::FIXED_WEIGHT.is_none() && outlet.is_heavy();
        self.ways.count_one(heavy);
        Ok(())
    }

    /// Passes the input on as it is.
    ///
    /// # Errors
    /// `no_route` if there is no such way; the input stays with the runtime.
    #[inline]
    pub fn forward(&mut self, way: usize, input: Input<'_, T>) -> Result<(), Rejection> {
        let outlet = self.ways.open(way)?;
        outlet.forward(input);
        let heavy = T::FIXED_WEIGHT.is_none() && outlet.is_heavy();
        self.ways.count_one(heavy);
        Ok(())
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
        self.alike = Alike::NONE;
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
            let text = "the edge was full and its overflow policy is `fail`";
            let rejection = Rejection::new(Reason::Quota, text);
            dead_letters.add_all(stage, &rejection, &mut self.pending);
        }
        self.mark = self.pending.mark();
        self.renew();
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
