//! The door to what threads share: the standard library's, or, in tests of interleavings (`--cfg shuttle`), a scheduler's that
//! runs one thread at a time and chooses who goes on at every step. `tests/run interleavings` runs those.
//!
//! Shared pointers are the standard library's in both: nobody waits for them.

#[cfg(not(all(test, shuttle)))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, PoisonError, atomic},
    thread,
};

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard, PoisonError, atomic},
    thread,
};

#[cfg(not(all(test, shuttle)))]
pub(crate) use std::thread_local;

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::thread_local;
