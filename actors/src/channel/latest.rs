//! A place for the newest value: a slow reader misses values, never gets an older one after a newer.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Closed, block};
use crate::sync::{Mutex, MutexGuard, PoisonError};

struct State<T> {
    value: T,
    version: u64,
    writers: usize,
    waiting: Vec<Option<Waker>>,
    free: Vec<usize>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the newest value.
pub struct LatestWriter<T> {
    shared: Arc<Shared<T>>,
}

/// Reads the newest value. Each clone remembers for itself what it has seen.
pub struct LatestReader<T> {
    shared: Arc<Shared<T>>,
    slot: usize,
    seen: u64,
}

/// A latest-value channel that holds `value` as version 0.
#[must_use]
pub fn latest<T: Clone + Send>(value: T) -> (LatestWriter<T>, LatestReader<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            value,
            version: 0,
            writers: 1,
            waiting: vec![None],
            free: vec![],
        }),
    });
    (
        LatestWriter {
            shared: Arc::clone(&shared),
        },
        LatestReader {
            shared,
            slot: 0,
            seen: 0,
        },
    )
}

impl<T: Clone + Send> LatestWriter<T> {
    /// Replaces the value; gives its version. Never waits.
    pub fn set(&self, value: T) -> u64 {
        let (version, old, wakers) = {
            let mut state = self.shared.lock();
            let old = std::mem::replace(&mut state.value, value);
            state.version += 1;
            let wakers: smallvec::SmallVec<[Waker; 4]> =
                state.waiting.iter_mut().filter_map(Option::take).collect();
            (state.version, old, wakers)
        };
        drop(old);
        for waker in wakers {
            waker.wake();
        }
        version
    }
}

impl<T> Clone for LatestWriter<T> {
    fn clone(&self) -> Self {
        self.shared.lock().writers += 1;
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for LatestWriter<T> {
    fn drop(&mut self) {
        let wakers: smallvec::SmallVec<[Waker; 4]> = {
            let mut state = self.shared.lock();
            state.writers -= 1;
            if state.writers > 0 {
                return;
            }
            state.waiting.iter_mut().filter_map(Option::take).collect()
        };
        for waker in wakers {
            waker.wake();
        }
    }
}

impl<T: Clone + Send> LatestReader<T> {
    /// The newest value, at once.
    #[must_use]
    pub fn get(&mut self) -> T {
        let state = self.shared.lock();
        self.seen = state.version;
        state.value.clone()
    }

    /// The version of the newest value; versions only rise.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.lock().version
    }

    /// Waits for a value this reader has not seen, and gives the newest.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Closed`]: all writers are gone and the last value was seen.
    pub async fn changed(&mut self) -> Result<T, Closed> {
        std::future::poll_fn(|cx| self.poll_changed(cx)).await
    }

    /// As [`LatestReader::changed`], on a thread that may block.
    ///
    /// # Errors
    /// As [`LatestReader::changed`].
    pub fn blocking_changed(&mut self) -> Result<T, Closed> {
        block::wait(|cx| self.poll_changed(cx))
    }

    /// As [`LatestReader::changed`], for a driver that polls.
    ///
    /// # Errors
    /// As [`LatestReader::changed`].
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        let mut state = self.shared.lock();
        if state.version > self.seen {
            self.seen = state.version;
            return Poll::Ready(Ok(state.value.clone()));
        }
        if state.writers == 0 {
            return Poll::Ready(Err(Closed));
        }
        state.waiting[self.slot] = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Clone for LatestReader<T> {
    fn clone(&self) -> Self {
        let mut state = self.shared.lock();
        let slot = match state.free.pop() {
            Some(slot) => slot,
            None => {
                state.waiting.push(None);
                state.waiting.len() - 1
            }
        };
        drop(state);
        Self {
            shared: Arc::clone(&self.shared),
            slot,
            seen: self.seen,
        }
    }
}

impl<T> Drop for LatestReader<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.waiting[self.slot] = None;
        let slot = self.slot;
        state.free.push(slot);
    }
}
