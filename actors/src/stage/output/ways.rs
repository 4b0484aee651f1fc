//! Several outputs of one type, chosen by number.

use super::alike::Alike;
use super::{MAX_BATCH, Outlet};
use crate::message::{Batch, Envelope, Header, Message, Reason, Rejection};
use crate::stage::Input;

/// Several outputs of one type, chosen by number. What a message or a turn costs depends on the ways it uses, not on how
/// many there are.
pub struct Ways<T: Message> {
    pub(in crate::stage) outlets: Vec<Outlet<T>>,
    /// The ways that hold something, each once.
    pub(in crate::stage) filled: Vec<usize>,
    /// How many more outputs may be collected before they should be sent; below one they are full.
    room: isize,
    /// The most that all of them together collect, such that none of them becomes too heavy.
    most: usize,
    /// The number of the present mark. Outlets take it over with their first output after it, so that a mark costs the
    /// same however many there are.
    pub(in crate::stage) marked: u64,
}

impl<T: Message> Ways<T> {
    /// Outputs that lead nowhere. For tests of stages.
    #[must_use]
    pub fn detached(count: usize) -> Self {
        Self::of((0..count).map(|_| Outlet::detached()).collect())
    }

    pub(in crate::stage) fn of(outlets: Vec<Outlet<T>>) -> Self {
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
    pub(in crate::stage) fn is_full(&self) -> bool {
        self.room <= 0
    }

    /// How much they hold together.
    pub(in crate::stage) fn count(&self) -> usize {
        let filled = self.filled.iter();
        filled.map(|way| self.outlets[*way].pending.len()).sum()
    }

    /// Takes back what was emitted since the mark.
    pub(in crate::stage) fn take_back(&mut self) {
        for way in &self.filled {
            let outlet = &mut self.outlets[*way];
            if outlet.marked == self.marked {
                outlet.take_back();
            }
        }
        self.recount();
    }

    /// Notes what is left after outlets were flushed or emptied.
    pub(in crate::stage) fn recount(&mut self) {
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
    pub(in crate::stage) ways: &'a mut Ways<T>,
    pub(in crate::stage) cause: Option<&'a Header>,
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
    pub(in crate::stage) fn forward_last(
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
