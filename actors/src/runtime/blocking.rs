//! Producers that block: each on a thread of its own, with an emitter that parks it.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::control::{Control, StageStatus};
use super::driver::DriverEvents;
use super::turn::guarded;
use crate::channel::{SendTimeoutError, Sender};
use crate::message::{Batch, Envelope, Message};

/// The topology does not want any more; what could not be sent is here.
#[derive(Clone, PartialEq, Eq)]
pub struct Stopped<M>(pub M);

impl<M> fmt::Debug for Stopped<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stopped(..)")
    }
}

impl<M> fmt::Display for Stopped<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the topology is draining or stopped; the producer should return")
    }
}

impl<M> Error for Stopped<M> {}

/// How often a parked emitter looks whether it should stop. Draining takes its sender away at once, so this only
/// bounds how long its thread lingers.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// The part of an emitter that draining takes away.
pub(crate) struct EmitterLink<M: Message> {
    sender: Mutex<Option<Sender<M>>>,
    stopped: AtomicBool,
    sequence: AtomicU64,
    producer: u32,
    control: Arc<Control>,
}

impl<M: Message> EmitterLink<M> {
    pub(crate) fn new(sender: Sender<M>, producer: u32, control: Arc<Control>) -> Arc<Self> {
        Arc::new(Self {
            sender: Mutex::new(Some(sender)),
            stopped: AtomicBool::new(false),
            sequence: AtomicU64::new(0),
            producer,
            control,
        })
    }

    /// No more messages: the edge ends, even while the producer still blocks elsewhere.
    pub(crate) fn close(&self) {
        self.stopped.store(true, Ordering::Release);
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn sender(&self) -> Option<Sender<M>> {
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn count(&self, messages: u64) {
        let (consumed, emitted) = self.control.totals();
        self.control.set_totals((consumed, emitted + messages));
    }
}

/// Where a blocking producer writes.
pub struct Emitter<M: Message> {
    link: Arc<EmitterLink<M>>,
}

impl<M: Message> Emitter<M> {
    pub(crate) fn new(link: Arc<EmitterLink<M>>) -> Self {
        Self { link }
    }

    fn envelope(&self, message: M) -> Envelope<M> {
        let mut envelope = Envelope::new(message);
        let sequence = self.link.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        envelope
            .header
            .set_identity(self.link.producer, 0, sequence);
        envelope
    }

    /// Sends, parking this thread until there is room.
    ///
    /// # Errors
    /// [`Stopped`], with the message: the topology drains or is stopped, and the producer should return.
    pub fn send(&self, message: M) -> Result<(), Stopped<M>> {
        self.send_envelope(self.envelope(message))
            .map_err(|Stopped(envelope)| Stopped(envelope.body))
    }

    /// As [`Emitter::send`], with a header of the producer's making (deadline, event time, key).
    ///
    /// # Errors
    /// As [`Emitter::send`].
    pub fn send_envelope(&self, mut envelope: Envelope<M>) -> Result<(), Stopped<Envelope<M>>> {
        let Some(sender) = self.link.sender() else {
            return Err(Stopped(envelope));
        };
        loop {
            match sender.blocking_send_envelope_timeout(envelope, LOOK) {
                Ok(()) => {
                    self.link.count(1);
                    return Ok(());
                }
                Err(SendTimeoutError::Timeout(returned)) if !self.is_stopped() => {
                    envelope = returned
                }
                Err(error) => return Err(Stopped(error.into_message())),
            }
        }
    }

    /// Sends all of `batch`, in order; what could not be sent stays in it. For producers that read in blocks.
    ///
    /// # Errors
    /// [`Stopped`]: the topology drains or is stopped; the rest stays in the batch.
    pub fn send_batch(&self, batch: &mut Batch<M>) -> Result<(), Stopped<()>> {
        while !batch.is_empty() {
            let Some(sender) = self.link.sender() else {
                return Err(Stopped(()));
            };
            let moved = sender.offer_batch(batch).map_err(|_| Stopped(()))?;
            self.link.count(moved as u64);
            if moved == 0
                && let Some(envelope) = batch.pop()
            {
                // Nothing fits: wait with one message, then offer the rest again.
                if let Err(Stopped(envelope)) = self.send_envelope(envelope) {
                    batch.push_front(envelope);
                    return Err(Stopped(()));
                }
            }
        }
        Ok(())
    }

    /// Whether the topology wants no more.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.link.stopped.load(Ordering::Acquire)
    }
}

/// A blocking producer, ready to run.
pub(crate) struct BlockingRun {
    pub(crate) index: usize,
    pub(crate) run: Box<dyn FnOnce() + Send>,
    pub(crate) close: Arc<dyn Fn() + Send + Sync>,
    pub(crate) control: Arc<Control>,
    pub(crate) events: Arc<dyn DriverEvents>,
}

impl BlockingRun {
    /// Runs it on this thread. Its edge ends when it returns or panics.
    pub(crate) fn run(self) {
        self.control.set_status(StageStatus::Running);
        let result = guarded(self.run);
        (self.close)();
        match result {
            Ok(()) => {
                // Told to stop meanwhile: it stays `Stopped`.
                if self.control.end(StageStatus::Finished) {
                    self.events.ended(self.index);
                }
            }
            Err(text) => {
                if !self.control.is_over() {
                    self.control.note_panic(text);
                    self.events.panicked(self.index);
                }
            }
        }
    }
}
