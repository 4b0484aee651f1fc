//! A bound for actors whose mailboxes have none that a sender could wait for: so many messages are in flight at once.

use tokio::sync::Semaphore;

use crate::message::CAPACITY;

/// Messages that enter or leave together, so that the bound costs little.
const STEP: u64 = 128;

/// At most [`CAPACITY`] messages between the producer and the aggregator.
pub(super) struct Window {
    free: Semaphore,
}

impl Window {
    /// A window with nothing in it.
    pub(super) fn new() -> Self {
        Self {
            free: Semaphore::new(CAPACITY),
        }
    }

    /// Waits until the message of this number may be sent. Numbers rise one by one from 0.
    pub(super) async fn enter(&self, number: u64) {
        if number.is_multiple_of(STEP)
            && let Ok(permits) = self.free.acquire_many(STEP as u32).await
        {
            permits.forget();
        }
    }

    /// So many messages have arrived, this one included.
    pub(super) fn leave(&self, arrived: u64) {
        if arrived.is_multiple_of(STEP) {
            self.free.add_permits(STEP as usize);
        }
    }
}
