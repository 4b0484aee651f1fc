//! Producers that block: each on a thread of its own, with an emitter that parks it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::control::{Control, StageStatus};
use super::driver::DriverEvents;
use super::turn::guarded;
use crate::channel::{Closed, Probe, Sender};
use crate::message::{Batch, Envelope, Message};
use crate::telemetry::AcceptedCounter;

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

/// What draining needs of an emitter: it ends the edge, which wakes a producer that waits for room.
pub(crate) struct EmitterLink {
    stopped: AtomicBool,
    edge: Probe,
}

impl EmitterLink {
    /// No more messages: the edge ends, even while the producer still blocks elsewhere.
    pub(crate) fn close(&self) {
        self.stopped.store(true, Ordering::Release);
        self.edge.end_edge();
    }
}

/// Where a blocking producer writes.
pub struct Emitter<M: Message> {
    sender: Sender<M>,
    accepted: AcceptedCounter,
    link: Arc<EmitterLink>,
    control: Arc<Control>,
    producer: u32,
    sequence: AtomicU64,
}

impl<M: Message> Emitter<M> {
    pub(crate) fn new(
        sender: Sender<M>,
        accepted: AcceptedCounter,
        producer: u32,
        control: Arc<Control>,
    ) -> (Self, Arc<EmitterLink>) {
        let link = Arc::new(EmitterLink {
            stopped: AtomicBool::new(false),
            edge: sender.probe(),
        });
        let sequence = AtomicU64::new(0);
        (
            Self {
                sender,
                accepted,
                link: Arc::clone(&link),
                control,
                producer,
                sequence,
            },
            link,
        )
    }

    /// Sends, parking this thread until there is room.
    ///
    /// # Errors
    /// [`Stopped`], with the message: the topology drains or is stopped, and the producer should return.
    pub fn send(&self, message: M) -> Result<(), Stopped<M>> {
        self.send_envelope(Envelope::new(message))
            .map_err(|Stopped(envelope)| Stopped(envelope.body))
    }

    /// As [`Emitter::send`], with a header of the producer's making (deadline, event time, key); identity is set here.
    ///
    /// # Errors
    /// As [`Emitter::send`].
    pub fn send_envelope(&self, mut envelope: Envelope<M>) -> Result<(), Stopped<Envelope<M>>> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        envelope.header.set_identity(self.producer, 0, sequence);
        match self.sender.blocking_send_envelope(envelope) {
            Ok(()) => {
                self.accepted.add(1);
                self.control.add_emitted(1);
                Ok(())
            }
            Err(error) => Err(Stopped(error.into_message())),
        }
    }

    /// Sends all of `batch`, in order; what could not be sent stays in it. For producers that read in blocks: one lock
    /// for many messages. On an edge that fails when it is full, what it refuses stays in the batch too.
    ///
    /// # Errors
    /// [`Stopped`]: the topology drains or is stopped; the rest stays in the batch.
    pub fn send_batch(&self, batch: &mut Batch<M>) -> Result<(), Stopped<()>> {
        let before = batch.len();
        let first = self.sequence.fetch_add(before as u64, Ordering::Relaxed) + 1;
        batch.identify(self.producer, first);
        let result = self.sender.blocking_send_batch(batch);
        let sent = (before - batch.len()) as u64;
        self.accepted.add(sent);
        self.control.add_emitted(sent);
        result.map_err(|Closed| Stopped(()))
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
