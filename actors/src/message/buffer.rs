//! Bodies in a row, each with what of its header is its own, handled where they lie: the one place where the engine
//! manages memory by hand.
//!
//! A stage sees each body in the buffer it arrived in and may take it out. The safe alternatives cost a copy of every
//! message before it is handled, or a tag in every body and a second walk over the emptied ones.
//!
//! Invariant: the slots from `head` on hold rows, those before it hold nothing, and only the body of the one at `head`
//! may be absent: exactly while `hollow` is set.

#![allow(
    unsafe_code,
    reason = "messages are read, taken and dropped in place, see above"
)]

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr;

/// One message, without what it has in common with others.
pub(super) struct Row<M> {
    pub(super) sequence: u64,
    pub(super) key: u64,
    pub(super) body: M,
}

pub(crate) struct Buffer<M> {
    slots: Vec<MaybeUninit<Row<M>>>,
    head: usize,
    /// The body of the first row was taken, the rest of it is still here.
    hollow: bool,
    /// A panic in its handler left the first row behind.
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

/// Whoever is given rows one by one. A trait and not a closure, so that the compiler can be told to build it into each loop.
pub(super) trait Visit<M> {
    fn visit(&mut self, sequence: u64, key: u64, body: Body<'_, M>) -> Then;
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

/// The body of the first row, until it is taken.
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

    /// How many rows fit without a new allocation.
    pub(crate) fn allocated(&self) -> usize {
        self.slots.capacity()
    }

    /// Appends a row: what belongs to it is written to its place one by one, so that it is not put together elsewhere
    /// first.
    #[inline]
    pub(super) fn push(&mut self, sequence: u64, key: u64, body: M) {
        let slot = self.vacant();
        // SAFETY: the slot is the vacant one behind the last row; all fields are written before the length covers it.
        unsafe {
            ptr::addr_of_mut!((*slot).sequence).write(sequence);
            ptr::addr_of_mut!((*slot).key).write(key);
            ptr::addr_of_mut!((*slot).body).write(body);
            self.slots.set_len(self.slots.len() + 1);
        }
    }

    /// As [`Buffer::push`], with a body that goes from its holder into its place, and nowhere in between. Without one nothing
    /// is appended.
    #[inline]
    pub(super) fn push_from(&mut self, sequence: u64, key: u64, body: &mut Option<M>) {
        let slot = self.vacant();
        let Some(body) = body.take() else { return };
        // SAFETY: as for `push`.
        unsafe {
            ptr::addr_of_mut!((*slot).body).write(body);
            ptr::addr_of_mut!((*slot).sequence).write(sequence);
            ptr::addr_of_mut!((*slot).key).write(key);
            self.slots.set_len(self.slots.len() + 1);
        }
    }

    /// Appends a row with a body that is moved from where it lies.
    #[inline]
    pub(super) fn push_moved(&mut self, sequence: u64, key: u64, body: Body<'_, M>) {
        let slot = self.vacant();
        // SAFETY: the slot is the vacant one behind the last row. The body is moved, and its old place marked as hollow.
        // All fields are written before the length covers the slot.
        unsafe {
            ptr::addr_of_mut!((*slot).sequence).write(sequence);
            ptr::addr_of_mut!((*slot).key).write(key);
            let to = ptr::addr_of_mut!((*slot).body).cast::<MaybeUninit<M>>();
            ptr::copy_nonoverlapping(ptr::from_ref(body.slot), to, 1);
            *body.hollow = true;
            self.slots.set_len(self.slots.len() + 1);
        }
    }

    /// The place behind the last row.
    #[inline]
    fn vacant(&mut self) -> *mut Row<M> {
        if self.slots.len() == self.slots.capacity() {
            self.make_room(1);
        }
        // SAFETY: there is room for one more, so the slot behind the last one is inside the allocation.
        unsafe { self.slots.as_mut_ptr().add(self.slots.len()).cast() }
    }

    /// Makes room for more rows: where at least half of the slots are behind the head, the rows move to the front instead of
    /// the allocation growing, so that a buffer which is never quite empty does not grow for ever.
    #[cold]
    fn make_room(&mut self, count: usize) {
        let length = self.len();
        if self.head > 0 && self.head >= length {
            // SAFETY: the rows lie behind the head, inside the allocation; the slots that they leave hold nothing any more and
            // are not covered by the new length.
            unsafe {
                let slots = self.slots.as_mut_ptr();
                ptr::copy(slots.add(self.head), slots, length);
                self.slots.set_len(length);
            }
            self.head = 0;
        }
        self.slots.reserve(count);
    }

    /// Puts a row before all others. Not while the first one is hollow.
    pub(super) fn push_front(&mut self, row: Row<M>) {
        debug_assert!(!self.hollow, "a hollow row is the first one");
        match self.head.checked_sub(1) {
            Some(head) => {
                self.slots[head] = MaybeUninit::new(row);
                self.head = head;
            }
            None => self.slots.insert(0, MaybeUninit::new(row)),
        }
    }

    /// Gives each of the first `most` rows to `visitor`, sequence, key and body, where it lies, until one stays or says stop.
    /// A body that was not taken is dropped once its row is done with. A panic in it leaves its row the first one.
    #[inline]
    pub(super) fn visit_each(&mut self, most: usize, visitor: &mut impl Visit<M>) {
        /// The place in the buffer, kept apart so that it can live in registers; written back in every case.
        struct Place<'a, M> {
            buffer: &'a mut Buffer<M>,
            first: *mut Row<M>,
            at: *mut Row<M>,
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
            let first = self.slots.as_mut_ptr().add(self.head).cast::<Row<M>>();
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
            let row = place.at;
            // SAFETY: the slot lies between `head` and the end, so it holds a row, and it is not hollow. A `MaybeUninit<M>` has
            // the layout of `M`. The buffer is not touched while the reference lives: `place` only holds it.
            let (sequence, key, slot) = unsafe {
                let body = ptr::addr_of_mut!((*row).body).cast::<MaybeUninit<M>>();
                ((*row).sequence, (*row).key, &mut *body)
            };
            place.at_handler = true;
            let hollow = &mut place.hollow;
            let then = visitor.visit(sequence, key, Body { slot, hollow });
            place.at_handler = false;
            if matches!(then, Then::Stay) {
                return;
            }
            let hollow = std::mem::take(&mut place.hollow);
            // SAFETY: the slot held a row until `at` moves past it, with a body unless it was taken. It moves first of all, so
            // that a `drop` that panics is not repeated.
            unsafe {
                place.at = row.add(1);
                if !hollow {
                    ptr::drop_in_place(ptr::addr_of_mut!((*row).body));
                }
            }
            if matches!(then, Then::Stop) {
                return;
            }
        }
    }

    /// Whether a panic left the first row at its handler; asked once.
    pub(crate) fn take_at_handler(&mut self) -> bool {
        std::mem::take(&mut self.at_handler)
    }

    /// Takes the first row, sequence, key and body; the body is absent if it was taken before.
    #[inline]
    pub(super) fn take_first(&mut self) -> Option<(u64, u64, Option<M>)> {
        let row = self.slots.get(self.head)?.as_ptr();
        // SAFETY: the slot holds a row, with a body unless it is hollow; `head` moves past it, so nothing is read twice.
        let taken = unsafe {
            let body = (!self.hollow).then(|| ptr::addr_of!((*row).body).read());
            ((*row).sequence, (*row).key, body)
        };
        self.hollow = false;
        self.head += 1;
        self.rewind();
        Some(taken)
    }

    /// Takes the last row. Not while the first one is hollow.
    pub(super) fn pop_back(&mut self) -> Option<Row<M>> {
        debug_assert!(!self.hollow, "a hollow row is handled first");
        if self.len() == 0 {
            return None;
        }
        let slot = self.slots.pop()?;
        self.rewind();
        // SAFETY: it lay behind `head` and was not hollow; `pop` took its slot away.
        Some(unsafe { slot.assume_init() })
    }

    /// The rows in order. Not while the first one is hollow.
    pub(super) fn as_slice(&self) -> &[Row<M>] {
        debug_assert!(!self.hollow, "a hollow row cannot be looked at");
        let slots = &self.slots[self.head + usize::from(self.hollow)..];
        // SAFETY: the slots from `head` on hold rows, a hollow one is left out; `MaybeUninit<T>` has the layout of `T`.
        unsafe { &*(ptr::from_ref(slots) as *const [Row<M>]) }
    }

    /// As [`Buffer::as_slice`], to change them.
    pub(super) fn as_mut_slice(&mut self) -> &mut [Row<M>] {
        debug_assert!(!self.hollow, "a hollow row cannot be looked at");
        let slots = &mut self.slots[self.head + usize::from(self.hollow)..];
        // SAFETY: as for `as_slice`.
        unsafe { &mut *(ptr::from_mut(slots) as *mut [Row<M>]) }
    }

    /// Moves the first `count` rows to the end of `to`. Not while the first one is hollow.
    pub(crate) fn move_to(&mut self, to: &mut Self, count: usize) {
        debug_assert!(!self.hollow, "a hollow row cannot be moved");
        let count = count.min(self.len());
        if to.slots.capacity() - to.slots.len() < count {
            to.make_room(count);
        }
        let length = to.slots.len();
        // SAFETY: `count` rows lie behind `head`, room for them was reserved, and the two allocations are different.
        // `head` moves past what was copied, so that nothing has two owners.
        unsafe {
            let from = self.slots.as_ptr().add(self.head);
            ptr::copy_nonoverlapping(from, to.slots.as_mut_ptr().add(length), count);
            to.slots.set_len(length + count);
        }
        self.head += count;
        self.rewind();
    }

    /// Drops all rows, keeps the allocation.
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
        for row in self.as_slice() {
            clone.push(row.sequence, row.key, row.body.clone());
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

    /// A closure as a visitor.
    struct With<F>(F);

    impl<M, F: FnMut(u64, u64, super::Body<'_, M>) -> Then> Visit<M> for With<F> {
        fn visit(&mut self, sequence: u64, key: u64, body: super::Body<'_, M>) -> Then {
            (self.0)(sequence, key, body)
        }
    }

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
                let hollow = model.front().is_some_and(|(_, full)| !full);
                match step {
                    Step::Push => {
                        buffer.push(number, 1, Arc::clone(&source));
                        model.push_back((number, true));
                    }
                    Step::PushFront if !hollow => {
                        let (sequence, body) = (number, Arc::clone(&source));
                        buffer.push_front(Row { sequence, key: 1, body });
                        model.push_front((number, true));
                    }
                    Step::Look => {
                        let mut seen = None;
                        buffer.visit_each(9, &mut With(|sequence, _, body: super::Body<'_, Body>| {
                            seen = Some((sequence, **body));
                            Then::Stay
                        }));
                        let expected = model.front().filter(|(_, full)| *full).map(|(number, _)| (*number, 7));
                        prop_assert_eq!(seen, expected);
                    }
                    Step::Take(panics) => {
                        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                            buffer.visit_each(9, &mut With(|_, _, body: super::Body<'_, Body>| {
                                assert_eq!(*body.take(), 7);
                                if panics {
                                    std::panic::resume_unwind(Box::new(()));
                                }
                                Then::Stay
                            }));
                        }));
                        if !hollow && let Some(first) = model.front_mut() {
                            first.1 = false;
                            prop_assert_eq!(looked.is_err(), panics);
                            prop_assert_eq!(buffer.take_at_handler(), panics);
                        }
                    }
                    Step::Handle(count, stop) if !hollow => {
                        let mut seen = Vec::new();
                        buffer.visit_each(count, &mut With(|sequence, key, body: super::Body<'_, Body>| {
                            seen.push(sequence);
                            match sequence % 3 {
                                0 => drop(body.take()),
                                1 => moved.push_moved(sequence, key, body),
                                _ => {}
                            }
                            if seen.len() == stop { Then::Stop } else { Then::Next }
                        }));
                        let most = if stop == 0 { count } else { count.min(stop) };
                        let handled = model.drain(..most.min(model.len()));
                        prop_assert!(handled.map(|(number, _)| number).eq(seen));
                    }
                    Step::TakeFirst => {
                        let taken = buffer.take_first().map(|(sequence, _, body)| (sequence, body.is_some()));
                        prop_assert_eq!(taken, model.pop_front());
                    }
                    Step::PopBack if !hollow => {
                        let taken = buffer.pop_back().map(|row| row.sequence);
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
                        buffer.as_slice().iter().map(|row| row.sequence).collect::<Vec<_>>()
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
    fn a_buffer_that_is_never_empty_does_not_grow() {
        let (mut buffer, mut more) = (Buffer::<u64>::default(), Buffer::<u64>::default());
        for number in 0..10 {
            buffer.push(number, 0, number);
        }
        for number in 10..10_000 {
            if number % 2 == 0 {
                buffer.push(number, 0, number);
            } else {
                more.push(number, 0, number);
                more.move_to(&mut buffer, 1);
            }
            assert_eq!(
                buffer.take_first(),
                Some((number - 10, 0, Some(number - 10)))
            );
            assert!(
                buffer.allocated() <= 64,
                "{} slots for 10 rows",
                buffer.allocated()
            );
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
            buffer.push(1, 1, Bad(Arc::clone(&source), bad));
        }
        let cleared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| buffer.clear()));
        assert!(cleared.is_err());
        assert_eq!(buffer.len(), 1);
        drop(buffer);
        assert_eq!(Arc::strong_count(&source), 1);
    }
}
