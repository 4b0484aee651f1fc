//! How a stage's thread sleeps on everything it waits for, and is woken.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver as Queue, Select, Sender as QueueSender, bounded};

/// How often a thread lets others run before it goes to sleep.
const YIELDS: usize = 4;

/// What a sleeping thread waits for.
pub struct Waits<'a> {
    pub(super) select: Select<'a>,
}

impl<'a> Waits<'a> {
    pub(crate) fn new(wake: &'a Queue<()>) -> Self {
        let mut select = Select::new();
        select.recv(wake);
        Self { select }
    }

    /// Sleeps until something that was registered is ready, at most for `timeout`.
    pub(crate) fn sleep(mut self, timeout: Option<Duration>) {
        // Where there are more threads than cores, what this one waits for is made by one that waits for a core: spinning,
        // with which the selection begins, would keep it waiting.
        for _ in 0..YIELDS {
            std::thread::yield_now();
            if self.select.try_ready().is_ok() {
                return;
            }
        }
        match timeout {
            None => {
                self.select.ready();
            }
            Some(timeout) => {
                // Running out of time is as good a reason to look again as any.
                let _ = self.select.ready_timeout(timeout);
            }
        }
    }
}

/// A waker for a sleeping thread: wakes by a message on the channel that [`Waits`] listens to.
pub(crate) struct WakeChannel(QueueSender<()>);

impl WakeChannel {
    pub(crate) fn pair() -> (std::task::Waker, Queue<()>) {
        let (sender, receiver) = bounded(1);
        (std::task::Waker::from(Arc::new(Self(sender))), receiver)
    }
}

impl std::task::Wake for WakeChannel {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Full: a wake-up is already on its way.
        let _ = self.0.try_send(());
    }
}
