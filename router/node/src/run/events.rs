//! What stages report beside their messages: ends that concern the whole run, and lines that never became messages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// An end that concerns the whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The reader of standard output is gone: the run ends cleanly.
    OutputClosed,
    /// A stage cannot go on; the run ends with a failure.
    Failed {
        /// The stage.
        stage: String,
        /// Why.
        reason: String,
    },
}

/// Shared by the stages of a run and whoever waits for its end.
#[derive(Clone, Debug, Default)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    first: Mutex<Option<Event>>,
    happened: Notify,
    too_long: AtomicU64,
}

impl Events {
    /// Reports an event; only the first one counts.
    pub fn report(&self, event: Event) {
        let mut first = self
            .shared
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            if let Event::Failed { stage, reason } = &event {
                tracing::error!(stage, "{reason}");
            }
            *first = Some(event);
            self.shared.happened.notify_one();
        }
    }

    /// The first event, if there was one.
    pub fn first(&self) -> Option<Event> {
        self.shared
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for the first event. Cancel safe.
    pub async fn happened(&self) -> Event {
        loop {
            let notified = self.shared.happened.notified();
            if let Some(event) = self.first() {
                return event;
            }
            notified.await;
        }
    }

    /// A line was longer than allowed and never became a message.
    pub fn line_too_long(&self) {
        self.shared.too_long.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines that were longer than allowed.
    pub fn lines_too_long(&self) -> u64 {
        self.shared.too_long.load(Ordering::Relaxed)
    }
}
