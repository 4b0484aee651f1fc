//! The share of a task in its thread: a loop that always finds something to send or to receive must let others run.
//!
//! The count is tokio's own, so that it is one with that of its timers and sockets; outside of its tasks it never ends.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

/// Messages one by one that use up one part of a task's share. With fewer a receiver of many full edges would let each sender
/// run for every place that becomes free: twice the cost per message with 100 of them.
const MESSAGES: u8 = 32;

/// Uses up one part of the task's share; pending where there is none left, and the task is woken once others have run.
pub(super) fn poll_share(cx: &mut Context<'_>) -> Poll<()> {
    ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
    Poll::Ready(())
}

/// Counts messages one by one, at one handle. Where tasks use the same one some are not counted, which does no harm.
#[derive(Default)]
pub(super) struct Share(AtomicU8);

impl Share {
    /// Counts one more; every so often it uses up a part of the task's share.
    #[inline]
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<()> {
        let count = self.0.load(Ordering::Relaxed).wrapping_add(1);
        self.0.store(count, Ordering::Relaxed);
        if count.is_multiple_of(MESSAGES) {
            poll_share(cx)
        } else {
            Poll::Ready(())
        }
    }
}
