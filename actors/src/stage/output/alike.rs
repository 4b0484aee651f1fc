//! Which headers agree, told by a number.

/// Where a header comes from, as a number: two headers of one kind differ in sequence and key only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alike(u64);

impl Alike {
    /// From nothing that is known. Nothing is ever found to be alike it, because a run without a name is never noted.
    pub(super) const NONE: Self = Self(0);

    /// The name of no run: nothing caused it.
    pub(super) const UNCAUSED: u64 = u64::MAX >> 2;

    /// Caused by a message of this run, with a key of its own or not.
    #[inline]
    pub(super) fn of_child(run: u64, keyed: bool) -> Self {
        Self(run << 2 | if keyed { 1 } else { 2 })
    }

    /// Passed on from this run.
    #[inline]
    pub(super) fn of_forwarded(run: u64) -> Self {
        Self(run << 2 | 3)
    }

    /// What may be noted: nothing where the run has no name.
    pub(super) fn noted(self) -> Self {
        if self.0 >> 2 == 0 { Self::NONE } else { self }
    }
}
