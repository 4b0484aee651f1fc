//! A topology that has been started.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::report::Report;
use super::shared::Shared;
use super::wiring::{Boundary, Direction};
use crate::channel::{LatestReader, Receiver, Sender};
use crate::message::{Ledger, Message};
use crate::runtime::Command;
use crate::stage::DeadLetters;
use crate::supervisor::Supervised;

/// Why a topology ended before it was finished.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RunError {
    /// A stage panicked more often than its restart policy allows; the topology was stopped. What was in flight is
    /// counted as cancelled in the report.
    StagePanicked {
        /// The stage.
        stage: String,
        /// The text of its last panic.
        text: String,
        /// How often it panicked.
        panics: u64,
        /// The state at the end.
        report: Box<Report>,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StagePanicked {
                stage,
                text,
                panics,
                ..
            } => write!(
                f,
                "stage {stage:?} panicked {panics} times, more than its restart policy allows, and the topology was \
                 stopped; the last panic was: {text}"
            ),
        }
    }
}

impl Error for RunError {}

/// A topology that has been started. Dropping it stops the topology; what was in flight is then counted as cancelled.
pub struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) over: LatestReader<bool>,
    pub(super) open: Vec<Boundary>,
}

impl Running {
    /// The sending end of an open input; `None` if there is none of that name and type, or it was taken before.
    pub fn take_input<M: Message>(&mut self, name: &str) -> Option<Sender<M>> {
        self.take_end(name, Direction::In)
    }

    /// The receiving end of an open output; `None` if there is none of that name and type, or it was taken before.
    pub fn take_output<M: Message>(&mut self, name: &str) -> Option<Receiver<M>> {
        self.take_end(name, Direction::Out)
    }

    fn take_end<T: 'static>(&mut self, name: &str, direction: Direction) -> Option<T> {
        let index = self.open.iter().position(|boundary| {
            boundary.edge == name && boundary.direction == direction && boundary.end.is::<T>()
        })?;
        self.open
            .swap_remove(index)
            .end
            .downcast::<T>()
            .ok()
            .map(|end| *end)
    }

    /// Waits until all stages are over: producers have ended and everything has been handled.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`RunError`]: a stage panicked too often and the topology was stopped.
    pub async fn wait(&mut self) -> Result<Report, RunError> {
        self.drop_unused_inputs();
        // The writer lives in what this handle shares, so only `true` can come.
        while !self.over.get() {
            if self.over.changed().await.is_err() {
                break;
            }
        }
        self.shared.result()
    }

    /// As [`Running::wait`], on a thread that may block.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn wait_blocking(&mut self) -> Result<Report, RunError> {
        self.drop_unused_inputs();
        while !self.over.get() {
            if self.over.blocking_changed().is_err() {
                break;
            }
        }
        self.shared.result()
    }

    /// An open input that nobody took would keep its stage waiting for ever.
    fn drop_unused_inputs(&mut self) {
        self.open
            .retain(|boundary| boundary.direction == Direction::Out);
    }

    /// Ends in order: producers and open inputs stop, everything in flight is handled, then the stages finish from
    /// producers to consumers. Nothing is lost; the ledger balances with nothing held. Inputs from other parts end when
    /// those drain.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub async fn drain(&mut self) -> Result<Report, RunError> {
        self.begin_drain();
        self.wait().await
    }

    /// As [`Running::drain`], on a thread that may block.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn drain_blocking(&mut self) -> Result<Report, RunError> {
        self.begin_drain();
        self.wait_blocking()
    }

    /// Begins a drain without waiting for its end.
    pub fn begin_drain(&self) {
        self.shared.drain();
    }

    /// Ends at once: what is in flight is given up and counted as cancelled. A handler that does not come back is waited
    /// for (and reported as stuck); drop the handle to leave it behind.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub async fn stop(&mut self) -> Result<Report, RunError> {
        self.shared.stop();
        self.wait().await
    }

    /// As [`Running::stop`], on a thread that may block.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn stop_blocking(&mut self) -> Result<Report, RunError> {
        self.shared.stop();
        self.wait_blocking()
    }

    /// Stages take nothing more until [`Running::resume`]; each ends the batch it is in.
    pub fn pause(&self) {
        self.shared.tell_all(Command::Pause);
    }

    /// Goes on after [`Running::pause`].
    pub fn resume(&self) {
        self.shared.tell_all(Command::Resume);
    }

    /// A look at the topology now.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// The account of every message now.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger()
    }

    /// The dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.shared.dead_letters
    }

    /// Whether all stages are over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.is_over()
    }

    /// A handle for reports and commands that can be given to others, for example to a signal handler.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Looks at a running topology and may begin its drain; keeps nothing running.
#[derive(Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

impl Observer {
    /// As [`Running::report`].
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// As [`Running::ledger`].
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger()
    }

    /// As [`Running::begin_drain`].
    pub fn begin_drain(&self) {
        self.shared.drain();
    }

    /// As [`Running::is_over`].
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.is_over()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.shared.is_over() {
            self.shared.stop();
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}
