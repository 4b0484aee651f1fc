//! Bodies in a row, each with what of its header is its own, handled where they lie: the one place where the engine
//! manages memory by hand.
//!
//! A stage sees each body in the buffer it arrived in and may take it out. The safe alternatives cost a copy of every
//! message before it is handled, or a tag in every body and a second walk over the emptied ones.
//!
//! Invariant: the slots from `first` to `end` hold rows, the others hold nothing, and only the body of the first one may be
//! absent: exactly while `hollow` is set. An empty buffer begins at the start of its allocation.

#![allow(
    unsafe_code,
    reason = "messages are read, taken and dropped in place, see above"
)]

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::{ptr, slice};

/// One message, without what it has in common with others.
pub(super) struct Row<M> {
    pub(super) sequence: u64,
    pub(super) key: u64,
    pub(super) body: M,
}

/// How far a buffer was filled, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(usize);

/// Rows in order. What is added once a message is a pointer, so that nothing has to be computed from an index.
pub(crate) struct Buffer<M> {
    /// The allocation. Its length stays 0: which slots hold rows is told by the pointers.
    slots: Vec<Row<M>>,
    first: *mut Row<M>,
    /// Behind the last row.
    end: *mut Row<M>,
    /// Behind the last slot.
    limit: *mut Row<M>,
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
        let mut slots = Vec::new();
        let start = slots.as_mut_ptr();
        Self {
            slots,
            first: start,
            end: start,
            limit: start,
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

// SAFETY: it owns its rows, and nobody else has the pointers to them.
unsafe impl<M: Send> Send for Buffer<M> {}
// SAFETY: a shared reference to it gives shared references to bodies only.
unsafe impl<M: Sync> Sync for Buffer<M> {}

impl<M> Buffer<M> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: both point into the allocation, `end` not before `first`.
        unsafe { self.end.offset_from_unsigned(self.first) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.end == self.first
    }

    /// How far it is filled now. Cheaper than its length; good until a row leaves it.
    #[inline]
    pub(super) fn mark(&self) -> Mark {
        Mark(self.end.addr() - self.first.addr())
    }

    /// The mark of a buffer with so many rows.
    pub(super) const fn mark_of(length: usize) -> Mark {
        Mark(length * size_of::<Row<M>>())
    }

    pub(crate) fn is_hollow(&self) -> bool {
        self.hollow
    }

    /// One with room for so many rows.
    pub(super) fn with_capacity(rows: usize) -> Self {
        let mut buffer = Self::default();
        buffer.make_room(rows);
        buffer
    }

    /// How many rows fit without a new allocation.
    pub(crate) fn allocated(&self) -> usize {
        self.slots.capacity()
    }

    /// Appends a row: what belongs to it is written to its place one by one, so that it is not put together elsewhere
    /// first.
    #[inline]
    pub(super) fn push(&mut self, sequence: u64, key: u64, body: M) {
        let row = self.vacant();
        // SAFETY: the slot is the vacant one behind the last row; all fields are written before `end` covers it.
        unsafe {
            ptr::addr_of_mut!((*row).sequence).write(sequence);
            ptr::addr_of_mut!((*row).key).write(key);
            ptr::addr_of_mut!((*row).body).write(body);
            self.end = row.add(1);
        }
    }

    /// Appends what `next` gives, key and body, until it gives nothing or `most` rows were added; numbers them from the one
    /// after `sequence` on, which is left at the last one.
    pub(super) fn fill(
        &mut self,
        sequence: &mut u64,
        most: usize,
        mut next: impl FnMut() -> Option<(u64, M)>,
    ) {
        /// What changes with each row, kept apart so that it can live in registers; written back in every case.
        struct Filling<'a, M> {
            end: *mut Row<M>,
            last: u64,
            buffer: &'a mut Buffer<M>,
            sequence: &'a mut u64,
        }
        impl<M> Drop for Filling<'_, M> {
            fn drop(&mut self) {
                self.buffer.end = self.end;
                *self.sequence = self.last;
            }
        }

        // SAFETY: both point into the allocation, `limit` not before `end`.
        if unsafe { self.limit.offset_from_unsigned(self.end) } < most {
            self.make_room(most);
        }
        let mut filling = Filling {
            end: self.end,
            last: *sequence,
            buffer: self,
            sequence,
        };
        // SAFETY: there is room for so many rows.
        let stop = unsafe { filling.end.add(most) };
        while filling.end != stop {
            let Some((key, body)) = next() else { return };
            filling.last += 1;
            let row = filling.end;
            // SAFETY: the slot lies before `stop`, so it is inside the allocation, and vacant; all fields are written before
            // `end` covers it.
            unsafe {
                ptr::addr_of_mut!((*row).sequence).write(filling.last);
                ptr::addr_of_mut!((*row).key).write(key);
                ptr::addr_of_mut!((*row).body).write(body);
                filling.end = row.add(1);
            }
        }
    }

    /// As [`Buffer::push`], with a body that goes from its holder into its place, and nowhere in between. Without one nothing
    /// is appended.
    #[inline]
    pub(super) fn push_from(&mut self, sequence: u64, key: u64, body: &mut Option<M>) {
        let row = self.vacant();
        let Some(body) = body.take() else { return };
        // SAFETY: as for `push`.
        unsafe {
            ptr::addr_of_mut!((*row).body).write(body);
            ptr::addr_of_mut!((*row).sequence).write(sequence);
            ptr::addr_of_mut!((*row).key).write(key);
            self.end = row.add(1);
        }
    }

    /// Appends a row with a body that is moved from where it lies.
    #[inline]
    pub(super) fn push_moved(&mut self, sequence: u64, key: u64, body: Body<'_, M>) {
        let row = self.vacant();
        // SAFETY: the slot is the vacant one behind the last row. The body is moved, and its old place marked as hollow.
        // All fields are written before `end` covers the slot.
        unsafe {
            ptr::addr_of_mut!((*row).sequence).write(sequence);
            ptr::addr_of_mut!((*row).key).write(key);
            let to = ptr::addr_of_mut!((*row).body).cast::<MaybeUninit<M>>();
            ptr::copy_nonoverlapping(ptr::from_ref(body.slot), to, 1);
            *body.hollow = true;
            self.end = row.add(1);
        }
    }

    /// The place behind the last row.
    #[inline]
    fn vacant(&mut self) -> *mut Row<M> {
        if self.end == self.limit {
            self.make_room(1);
        }
        self.end
    }

    /// Makes room for more rows: where at least half of the slots are before the first row, the rows move to the front
    /// instead of the allocation growing, so that a buffer which is never quite empty does not grow for ever.
    #[cold]
    fn make_room(&mut self, count: usize) {
        let length = self.len();
        let start = self.slots.as_mut_ptr();
        // SAFETY: both point into the allocation, `first` not before its start.
        let vacated = unsafe { self.first.offset_from_unsigned(start) };
        if vacated > 0 && vacated >= length && self.slots.capacity() - length >= count {
            // SAFETY: the rows lie inside the allocation, and so does the place that they move to; what they leave holds
            // nothing any more.
            unsafe { ptr::copy(self.first, start, length) };
        } else {
            let capacity = (length + count).max(2 * self.slots.capacity()).max(4);
            let mut slots = Vec::with_capacity(capacity);
            // SAFETY: the new allocation is another one, and has room for all rows. The old one drops none of them, since its
            // length is 0.
            unsafe { ptr::copy_nonoverlapping(self.first, slots.as_mut_ptr(), length) };
            self.slots = slots;
        }
        self.place(length);
    }

    /// Lets so many rows begin at the start of the allocation.
    fn place(&mut self, length: usize) {
        self.first = self.slots.as_mut_ptr();
        // SAFETY: there are not more rows than slots.
        unsafe {
            self.end = self.first.add(length);
            self.limit = self.first.add(self.slots.capacity());
        }
    }

    /// Puts a row before all others. Not while the first one is hollow.
    pub(super) fn push_front(&mut self, row: Row<M>) {
        debug_assert!(!self.hollow, "a hollow row is the first one");
        if self.first == self.slots.as_mut_ptr() {
            let end = self.vacant();
            // SAFETY: the slot behind the last row is vacant, so the rows can move one further.
            unsafe {
                ptr::copy(self.first, self.first.add(1), self.len());
                self.end = end.add(1);
                self.first.write(row);
            }
        } else {
            // SAFETY: the slot before the first row is inside the allocation and holds nothing.
            unsafe {
                self.first = self.first.sub(1);
                self.first.write(row);
            }
        }
    }

    /// Gives each of the first `most` rows to `visitor`, sequence, key and body, where it lies, until one stays or says stop.
    /// A body that was not taken is dropped once its row is done with. A panic in it leaves its row the first one.
    #[inline]
    pub(super) fn visit_each(&mut self, most: usize, visitor: &mut impl Visit<M>) {
        /// The place in the buffer, kept apart so that it can live in registers; written back in every case.
        struct Place<'a, M> {
            buffer: &'a mut Buffer<M>,
            at: *mut Row<M>,
            hollow: bool,
            at_handler: bool,
        }
        impl<M> Drop for Place<'_, M> {
            fn drop(&mut self) {
                self.buffer.first = self.at;
                self.buffer.hollow = self.hollow;
                self.buffer.at_handler = self.at_handler;
                self.buffer.rewind();
            }
        }
        if self.hollow {
            return;
        }
        let first = self.first;
        // SAFETY: so many rows lie behind the first one.
        let end = unsafe { first.add(self.len().min(most)) };
        let mut place = Place {
            buffer: self,
            at: first,
            hollow: false,
            at_handler: false,
        };
        while place.at < end {
            let row = place.at;
            // SAFETY: the slot lies between `first` and `end`, so it holds a row, and it is not hollow. A `MaybeUninit<M>` has
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
        if self.is_empty() {
            return None;
        }
        let row = self.first;
        // SAFETY: the slot holds a row, with a body unless it is hollow; `first` moves past it, so nothing is read twice.
        let taken = unsafe {
            let body = (!self.hollow).then(|| ptr::addr_of!((*row).body).read());
            self.first = row.add(1);
            ((*row).sequence, (*row).key, body)
        };
        self.hollow = false;
        self.rewind();
        Some(taken)
    }

    /// Takes the last row. Not while the first one is hollow.
    pub(super) fn pop_back(&mut self) -> Option<Row<M>> {
        debug_assert!(!self.hollow, "a hollow row is handled first");
        if self.is_empty() {
            return None;
        }
        // SAFETY: the last slot holds a row, which is not hollow; `end` moves before it, so nothing is read twice.
        let row = unsafe {
            self.end = self.end.sub(1);
            self.end.read()
        };
        self.rewind();
        Some(row)
    }

    /// The rows in order. Not while the first one is hollow.
    pub(super) fn as_slice(&self) -> &[Row<M>] {
        debug_assert!(!self.hollow, "a hollow row cannot be looked at");
        let hollow = usize::from(self.hollow);
        // SAFETY: the slots from `first` to `end` hold rows; a hollow one is left out.
        unsafe { slice::from_raw_parts(self.first.add(hollow), self.len() - hollow) }
    }

    /// As [`Buffer::as_slice`], to change them.
    pub(super) fn as_mut_slice(&mut self) -> &mut [Row<M>] {
        debug_assert!(!self.hollow, "a hollow row cannot be looked at");
        let hollow = usize::from(self.hollow);
        // SAFETY: as for `as_slice`.
        unsafe { slice::from_raw_parts_mut(self.first.add(hollow), self.len() - hollow) }
    }

    /// Moves the first `count` rows to the end of `to`. Not while the first one is hollow.
    pub(crate) fn move_to(&mut self, to: &mut Self, count: usize) {
        debug_assert!(!self.hollow, "a hollow row cannot be moved");
        let count = count.min(self.len());
        // SAFETY: both point into the allocation, `limit` not before `end`.
        if unsafe { to.limit.offset_from_unsigned(to.end) } < count {
            to.make_room(count);
        }
        // SAFETY: `count` rows lie behind `first`, there is room for them, and the two allocations are different. `first`
        // moves past what was copied, so that nothing has two owners.
        unsafe {
            ptr::copy_nonoverlapping(self.first, to.end, count);
            to.end = to.end.add(count);
            self.first = self.first.add(count);
        }
        self.rewind();
    }

    /// Drops all rows, keeps the allocation.
    pub(crate) fn clear(&mut self) {
        if !std::mem::needs_drop::<M>() {
            self.hollow = false;
            self.first = self.end;
            self.rewind();
        }
        while let Some(first) = self.take_first() {
            drop(first);
        }
    }

    /// Back to the start of the allocation once everything was taken.
    #[inline]
    fn rewind(&mut self) {
        if self.is_empty() {
            self.first = self.slots.as_mut_ptr();
            self.end = self.first;
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
mod tests;
