//! Messages in a row, handled where they lie: the one place where the engine manages memory by hand.
//!
//! A stage sees each message in the buffer it arrived in, may take the body out of it, and leaves the rest behind. The
//! safe alternatives cost a copy of every message before it is handled, or a tag in every body and a second walk over
//! the emptied ones.
//!
//! Invariant: the slots from `head` on hold messages, those before it hold nothing, and only the body of the one at `head`
//! may be absent: exactly while `hollow` is set.

#![allow(
    unsafe_code,
    reason = "messages are read, taken and dropped in place, see above"
)]

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr;

use super::{Envelope, Header};

pub(crate) struct Buffer<M> {
    slots: Vec<MaybeUninit<Envelope<M>>>,
    head: usize,
    /// The body of the first message was taken, its header is still here.
    hollow: bool,
    /// A panic in its handler left the first message behind.
    at_handler: bool,
}

/// What becomes of a message once its handler has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is done with, and the next one follows.
    Next,
    /// It is done with, and others have to wait.
    Stop,
    /// It stays the first one.
    Stay,
}

impl<M> Default for Buffer<M> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            head: 0,
            hollow: false,
            at_handler: false,
        }
    }
}

/// The body of the first message, until it is taken.
pub(crate) struct Body<'a, M> {
    slot: &'a mut MaybeUninit<M>,
    hollow: &'a mut bool,
}

impl<M> Body<'_, M> {
    #[inline]
    pub(crate) fn take(self) -> M {
        *self.hollow = true;
        // SAFETY: a `Body` is only made while its slot is not hollow, which it is from the line above on; as `self` is
        // consumed nobody reads the slot again.
        unsafe { self.slot.assume_init_read() }
    }
}

impl<M> Deref for Body<'_, M> {
    type Target = M;
    #[inline]
    fn deref(&self) -> &M {
        // SAFETY: a `Body` is only made while its slot is not hollow, and `take` consumes it.
        unsafe { self.slot.assume_init_ref() }
    }
}

impl<M> Buffer<M> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.head
    }

    pub(crate) fn is_hollow(&self) -> bool {
        self.hollow
    }

    /// How many messages fit without a new allocation.
    pub(crate) fn allocated(&self) -> usize {
        self.slots.capacity()
    }

    /// Appends a message.
    #[inline]
    pub(crate) fn push(&mut self, header: Header, body: M) {
        let slot = self.vacant();
        // SAFETY: the slot is the vacant one behind the last message; both fields are written before the length covers it.
        unsafe {
            ptr::addr_of_mut!((*slot).body).write(body);
            ptr::addr_of_mut!((*slot).header).write(header);
            self.slots.set_len(self.slots.len() + 1);
        }
    }

    /// Appends a message whose header is a copy of one that owns no memory, changed in its place.
    #[inline]
    pub(crate) fn push_child(&mut self, cause: &Header, change: impl FnOnce(&mut Header), body: M) {
        debug_assert!(!cause.owns_memory(), "two headers would own it");
        let slot = self.vacant();
        // SAFETY: the slot is the vacant one behind the last message. A header that owns no memory may be copied bit by bit.
        // Both fields are written before the length covers the slot; where `change` panics the body is dropped by no one.
        unsafe {
            ptr::addr_of_mut!((*slot).body).write(body);
            let header = ptr::addr_of_mut!((*slot).header);
            ptr::copy_nonoverlapping(cause, header, 1);
            change(&mut *header);
            self.slots.set_len(self.slots.len() + 1);
        }
    }

    /// Appends a copy of a header, which owns no memory, and the body of its message.
    #[inline]
    pub(crate) fn push_forwarded(&mut self, header: &Header, body: Body<'_, M>) {
        debug_assert!(!header.owns_memory(), "two headers would own it");
        let slot = self.vacant();
        // SAFETY: the slot is the vacant one behind the last message. A header that owns no memory may be copied bit by bit;
        // the body is moved, and its old place marked as hollow. Both are written before the length covers the slot.
        unsafe {
            ptr::copy_nonoverlapping(header, ptr::addr_of_mut!((*slot).header), 1);
            let to = ptr::addr_of_mut!((*slot).body).cast::<MaybeUninit<M>>();
            ptr::copy_nonoverlapping(ptr::from_ref(body.slot), to, 1);
            *body.hollow = true;
            self.slots.set_len(self.slots.len() + 1);
        }
    }

    /// The place behind the last message.
    #[inline]
    fn vacant(&mut self) -> *mut Envelope<M> {
        let length = self.slots.len();
        if length == self.slots.capacity() {
            self.grow();
        }
        // SAFETY: `grow` makes room for one more, so the slot at `length` is inside the allocation.
        unsafe { self.slots.as_mut_ptr().add(length).cast() }
    }

    #[cold]
    fn grow(&mut self) {
        self.slots.reserve(1);
    }

    /// Puts a message before all others. Not while the first one is hollow.
    pub(crate) fn push_front(&mut self, envelope: Envelope<M>) {
        debug_assert!(!self.hollow, "a hollow message is the first one");
        match self.head.checked_sub(1) {
            Some(head) => {
                self.slots[head] = MaybeUninit::new(envelope);
                self.head = head;
            }
            None => self.slots.insert(0, MaybeUninit::new(envelope)),
        }
    }

    /// Gives each of the first `most` messages to `handle`, where it lies, until one stays or says stop. What of a message
    /// was not taken is dropped once it is done with. A panic in `handle` leaves its message the first one.
    #[inline]
    pub(crate) fn handle_each(
        &mut self,
        most: usize,
        mut handle: impl FnMut(&Header, Body<'_, M>) -> Then,
    ) {
        /// The place in the buffer, kept apart so that it can live in registers; written back in every case.
        struct Place<'a, M> {
            buffer: &'a mut Buffer<M>,
            first: *mut Envelope<M>,
            at: *mut Envelope<M>,
            hollow: bool,
            at_handler: bool,
        }
        impl<M> Drop for Place<'_, M> {
            fn drop(&mut self) {
                // SAFETY: both point into the buffer's one allocation, `at` not before `first`.
                let passed = unsafe { self.at.offset_from(self.first) };
                self.buffer.head += passed.unsigned_abs();
                self.buffer.hollow = self.hollow;
                self.buffer.at_handler = self.at_handler;
                self.buffer.rewind();
            }
        }
        if self.hollow {
            return;
        }
        let count = self.len().min(most);
        // SAFETY: `head` is at most the length, and `count` messages lie behind it.
        let (first, end) = unsafe {
            let first = self.slots.as_mut_ptr().add(self.head).cast::<Envelope<M>>();
            (first, first.add(count))
        };
        let mut place = Place {
            buffer: self,
            first,
            at: first,
            hollow: false,
            at_handler: false,
        };
        while place.at < end {
            let envelope = place.at;
            // SAFETY: the slot lies between `head` and the end, so it holds a message, and it is not hollow. Header and body
            // are different fields, so a shared and an exclusive reference to them do not overlap; a `MaybeUninit<M>` has
            // the layout of `M`. The buffer is not touched while they live: `place` only holds it.
            let (header, slot) = unsafe {
                let header = &*ptr::addr_of!((*envelope).header);
                let body = ptr::addr_of_mut!((*envelope).body);
                (header, &mut *body.cast::<MaybeUninit<M>>())
            };
            place.at_handler = true;
            let hollow = &mut place.hollow;
            let then = handle(header, Body { slot, hollow });
            place.at_handler = false;
            if matches!(then, Then::Stay) {
                return;
            }
            let hollow = std::mem::take(&mut place.hollow);
            // SAFETY: the slot held a message until `at` moves past it, with a body unless it was taken. It moves first of
            // all, so that a `drop` that panics is not repeated.
            unsafe {
                place.at = envelope.add(1);
                // Asked here, because the call alone costs more than the question.
                if (*envelope).header.owns_memory() {
                    ptr::drop_in_place(ptr::addr_of_mut!((*envelope).header));
                }
                if !hollow {
                    ptr::drop_in_place(ptr::addr_of_mut!((*envelope).body));
                }
            }
            if matches!(then, Then::Stop) {
                return;
            }
        }
    }

    /// Whether a panic left the first message at its handler; asked once.
    pub(crate) fn take_at_handler(&mut self) -> bool {
        std::mem::take(&mut self.at_handler)
    }

    /// The header of the first message, whether its body is there or not.
    pub(crate) fn first_header_mut(&mut self) -> Option<&mut Header> {
        let slot = self.slots.get_mut(self.head)?;
        // SAFETY: the slots from `head` on hold messages; a header is always there.
        unsafe { Some(&mut *ptr::addr_of_mut!((*slot.as_mut_ptr()).header)) }
    }

    /// Takes the first message; the body is absent if it was taken before.
    #[inline]
    pub(crate) fn take_first(&mut self) -> Option<(Header, Option<M>)> {
        let slot = self.slots.get(self.head)?.as_ptr();
        // SAFETY: the slot holds a message, with a body unless it is hollow; `head` moves past it, so nothing is read
        // twice.
        let taken = unsafe {
            let header = ptr::addr_of!((*slot).header).read();
            let body = (!self.hollow).then(|| ptr::addr_of!((*slot).body).read());
            (header, body)
        };
        self.hollow = false;
        self.head += 1;
        self.rewind();
        Some(taken)
    }

    /// Takes the last message. Not while the first one is hollow.
    pub(crate) fn pop_back(&mut self) -> Option<Envelope<M>> {
        debug_assert!(!self.hollow, "a hollow message is handled first");
        if self.len() == 0 {
            return None;
        }
        let slot = self.slots.pop()?;
        self.rewind();
        // SAFETY: it lay behind `head` and was not hollow; `pop` took its slot away.
        Some(unsafe { slot.assume_init() })
    }

    /// The messages in order. Not while the first one is hollow.
    pub(crate) fn as_slice(&self) -> &[Envelope<M>] {
        debug_assert!(!self.hollow, "a hollow message cannot be looked at");
        let slots = &self.slots[self.head + usize::from(self.hollow)..];
        // SAFETY: the slots from `head` on hold messages, a hollow one is left out; `MaybeUninit<T>` has the layout of `T`.
        unsafe { &*(ptr::from_ref(slots) as *const [Envelope<M>]) }
    }

    /// As [`Buffer::as_slice`], to change them.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [Envelope<M>] {
        debug_assert!(!self.hollow, "a hollow message cannot be looked at");
        let slots = &mut self.slots[self.head + usize::from(self.hollow)..];
        // SAFETY: as for `as_slice`.
        unsafe { &mut *(ptr::from_mut(slots) as *mut [Envelope<M>]) }
    }

    /// Moves the first `count` messages to the end of `to`. Not while the first one is hollow.
    pub(crate) fn move_to(&mut self, to: &mut Self, count: usize) {
        debug_assert!(!self.hollow, "a hollow message cannot be moved");
        let count = count.min(self.len());
        to.slots.reserve(count);
        let length = to.slots.len();
        // SAFETY: `count` messages lie behind `head`, room for them was reserved, and the two allocations are different.
        // `head` moves past what was copied, so that nothing has two owners.
        unsafe {
            let from = self.slots.as_ptr().add(self.head);
            ptr::copy_nonoverlapping(from, to.slots.as_mut_ptr().add(length), count);
            to.slots.set_len(length + count);
        }
        self.head += count;
        self.rewind();
    }

    /// Drops all messages, keeps the allocation.
    pub(crate) fn clear(&mut self) {
        while let Some(first) = self.take_first() {
            drop(first);
        }
    }

    /// Back to the start of the allocation once everything was taken.
    #[inline]
    fn rewind(&mut self) {
        if self.head == self.slots.len() {
            self.slots.clear();
            self.head = 0;
        }
    }
}

impl<M> Drop for Buffer<M> {
    fn drop(&mut self) {
        // Where the `drop` of a body panics, those behind it are leaked, which harms nobody.
        self.clear();
    }
}

impl<M: Clone> Clone for Buffer<M> {
    fn clone(&self) -> Self {
        let mut clone = Self::default();
        for envelope in self.as_slice() {
            clone.push(envelope.header.clone(), envelope.body.clone());
        }
        clone
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::VecDeque;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    type Body = Arc<u32>;

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        PushFront,
        Look,
        Take(bool),
        Handle(usize, usize),
        TakeFirst,
        PopBack,
        Move(usize),
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Push),
            1 => Just(Step::PushFront),
            2 => Just(Step::Look),
            2 => any::<bool>().prop_map(Step::Take),
            3 => (0..9_usize, 0..5_usize).prop_map(|(count, stop)| Step::Handle(count, stop)),
            1 => Just(Step::TakeFirst),
            1 => Just(Step::PopBack),
            1 => (0..9_usize).prop_map(Step::Move),
            1 => Just(Step::Clear),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 256 }))]

        /// Against a deque of optional bodies; every body is owned exactly once at every step.
        #[test]
        fn it_behaves_as_a_deque(steps in steps()) {
            let source = Body::new(7);
            let mut buffer = Buffer::<Body>::default();
            let mut model = VecDeque::<(u64, bool)>::new();
            let mut moved = Buffer::<Body>::default();
            for (number, step) in (1_u64..).zip(steps) {
                let mut header = Header::new();
                header.set_identity(0, 0, number);
                let hollow = model.front().is_some_and(|(_, full)| !full);
                match step {
                    Step::Push => {
                        buffer.push(header, Arc::clone(&source));
                        model.push_back((number, true));
                    }
                    Step::PushFront if !hollow => {
                        let body = Arc::clone(&source);
                        buffer.push_front(Envelope { header, body });
                        model.push_front((number, true));
                    }
                    Step::Look => {
                        let mut seen = None;
                        buffer.handle_each(9, |header, body| {
                            seen = Some((header.sequence(), **body));
                            Then::Stay
                        });
                        let expected = model.front().filter(|(_, full)| *full).map(|(number, _)| (*number, 7));
                        prop_assert_eq!(seen, expected);
                        prop_assert_eq!(
                            buffer.first_header_mut().map(|header| header.sequence()),
                            model.front().map(|(number, _)| *number)
                        );
                    }
                    Step::Take(panics) => {
                        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                            buffer.handle_each(9, |_, body| {
                                assert_eq!(*body.take(), 7);
                                if panics {
                                    std::panic::resume_unwind(Box::new(()));
                                }
                                Then::Stay
                            });
                        }));
                        if !hollow && let Some(first) = model.front_mut() {
                            first.1 = false;
                            prop_assert_eq!(looked.is_err(), panics);
                            prop_assert_eq!(buffer.take_at_handler(), panics);
                        }
                    }
                    Step::Handle(count, stop) if !hollow => {
                        let mut seen = Vec::new();
                        buffer.handle_each(count, |header, body| {
                            seen.push(header.sequence());
                            if header.sequence().is_multiple_of(2) {
                                drop(body.take());
                            }
                            if seen.len() == stop { Then::Stop } else { Then::Next }
                        });
                        let most = if stop == 0 { count } else { count.min(stop) };
                        let handled = model.drain(..most.min(model.len()));
                        prop_assert!(handled.map(|(number, _)| number).eq(seen));
                    }
                    Step::TakeFirst => {
                        let taken = buffer.take_first().map(|(header, body)| (header.sequence(), body.is_some()));
                        prop_assert_eq!(taken, model.pop_front());
                    }
                    Step::PopBack if !hollow => {
                        let taken = buffer.pop_back().map(|envelope| envelope.header.sequence());
                        prop_assert_eq!(taken, model.pop_back().map(|(number, _)| number));
                    }
                    Step::Move(count) if !hollow => {
                        buffer.move_to(&mut moved, count);
                        model.drain(..count.min(model.len()));
                    }
                    Step::Clear => {
                        buffer.clear();
                        model.clear();
                    }
                    _ => {}
                }
                let full = model.iter().filter(|(_, full)| *full).count();
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert_eq!(Arc::strong_count(&source), 1 + full + moved.len());
                if model.front().is_none_or(|(_, full)| *full) {
                    let clone = buffer.clone();
                    let numbers = |buffer: &Buffer<Body>| {
                        buffer.as_slice().iter().map(|envelope| envelope.header.sequence()).collect::<Vec<_>>()
                    };
                    prop_assert_eq!(numbers(&clone), numbers(&buffer));
                    prop_assert!(model.iter().map(|(number, _)| *number).eq(numbers(&buffer)));
                }
            }
            drop((buffer, moved));
            prop_assert_eq!(Arc::strong_count(&source), 1);
        }
    }

    #[test]
    fn a_body_whose_drop_panics_is_dropped_once() {
        struct Bad(#[allow(dead_code, reason = "counted")] Arc<u32>, bool);
        impl Drop for Bad {
            fn drop(&mut self) {
                assert!(!self.1, "bad");
            }
        }
        let source = Arc::new(1);
        let mut buffer = Buffer::default();
        for bad in [false, true, false] {
            buffer.push(Header::new(), Bad(Arc::clone(&source), bad));
        }
        let cleared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| buffer.clear()));
        assert!(cleared.is_err());
        assert_eq!(buffer.len(), 1);
        drop(buffer);
        assert_eq!(Arc::strong_count(&source), 1);
    }
}
