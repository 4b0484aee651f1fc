//! One output of a stage.

use std::task::Context as TaskContext;

use super::alike::Alike;
use super::{AnyOutlet, MAX_BATCH};
use crate::channel::{Closed, EdgeSender};
use crate::message::{Batch, Envelope, Header, Key, Mark, Message, Reason, Rejection};
use crate::stage::{DeadLetters, Input};

/// One output of a stage.
pub struct Outlet<T: Message> {
    pub(in crate::stage) pending: Batch<T>,
    mark: Mark,
    pub(in crate::stage) producer: u32,
    pub(in crate::stage) sequence: u64,
    /// Which mark of its [`Ways`](super::Ways) the mark belongs to.
    pub(super) marked: u64,
    /// Outputs of this kind agree with those in `pending` in all of their header but sequence and key.
    pub(super) alike: Alike,
    /// From where on it is full: what it holds should be sent.
    full_at: Mark,
    pub(in crate::stage) emitted: u64,
    pub(in crate::stage) max_bytes: usize,
    /// The most outputs that are collected before they should be sent.
    max_messages: usize,
    pub(in crate::stage) edge: Option<EdgeSender<T>>,
    pub(in crate::stage) accepted: Option<crate::telemetry::AcceptedCounter>,
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
            max_messages: MAX_BATCH,
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

    /// As it is, but full with one output: a turn then ends after each handler call that emitted something. Right where
    /// handlers take long, because what they emit waits for the end of the turn.
    pub(in crate::stage) fn prompt(mut self) -> Self {
        self.max_messages = 1;
        self.renew();
        self
    }

    /// Collects no more bytes than so many before they should be sent.
    pub(super) fn limit_bytes(&mut self, bytes: Option<usize>) {
        self.max_bytes = bytes.unwrap_or(usize::MAX);
        self.renew();
    }

    /// Notes that outputs left its front.
    pub(super) fn sent(&mut self) {
        self.alike = Alike::NONE;
        self.mark = self.pending.mark();
        self.renew();
    }

    /// The most outputs that are collected, as far as their type tells their bytes.
    pub(super) fn most(&self) -> usize {
        match Batch::<T>::EACH {
            0 => self.max_messages,
            each => (self.max_bytes / each).clamp(1, self.max_messages),
        }
    }

    /// Notes from where on it is full, after some were sent or taken back.
    fn renew(&mut self) {
        let most = if self.is_heavy() { 0 } else { self.most() };
        self.full_at = Batch::<T>::mark_of(most);
    }

    #[inline(always)]
    pub(in crate::stage) fn is_full(&self) -> bool {
        self.pending.mark() >= self.full_at
    }

    /// Notes that an output was added.
    #[inline(always)]
    pub(super) fn count_one(&mut self) {
        // Where all weigh the same, their number tells.
        if T::FIXED_WEIGHT.is_none() && self.is_heavy() {
            self.full_at = Mark::default();
        }
    }

    /// Adds an output of this stage's own.
    #[inline]
    pub(super) fn push(&mut self, cause: Option<&Header>, message: T) {
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
    pub(super) fn push_some(
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
        if self.alike == Alike::NONE {
            // Headers of this batch are held one by one, so outputs are added one by one.
            return Some(1);
        }
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
    pub(super) fn forward(&mut self, input: Input<'_, T>) {
        let header = input.header();
        let alike = Alike::of_forwarded(header.run());
        if alike != self.alike {
            self.announce(header.clone(), alike);
        }
        self.forward_alike(input);
    }

    /// Passes a message on whose header agrees with those in `pending`.
    #[inline(always)]
    pub(super) fn forward_alike(&mut self, input: Input<'_, T>) {
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
    pub(super) fn announce(&mut self, header: Header, alike: Alike) {
        let uniform = self.pending.announce(header);
        self.alike = if uniform { alike.noted() } else { Alike::NONE };
    }

    /// Adds an output of whose header nothing is known.
    pub(in crate::stage) fn push_envelope(&mut self, envelope: Envelope<T>) {
        self.pending.push(envelope);
        self.alike = Alike::NONE;
    }

    /// Remembers how far outputs are good.
    #[inline]
    pub(in crate::stage) fn set_mark(&mut self) {
        self.mark = self.pending.mark();
    }

    /// Takes back what was emitted since the mark. Its sequence numbers are not given again.
    pub(in crate::stage) fn take_back(&mut self) {
        self.pending.take_back(self.mark);
        self.alike = Alike::NONE;
        self.renew();
    }

    #[inline]
    pub(in crate::stage) fn is_heavy(&self) -> bool {
        self.pending.bytes() >= self.max_bytes
    }
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
