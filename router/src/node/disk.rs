//! The node's disk: its store on a thread of its own, requests to it, answers from it.

use super::builder::StartError;
use super::core::NodeCore;
use super::spool::DeadLetter;
use mcpbus_actors::Clock;
use mcpbus_transport::bridge::Hub;
use mcpbus_transport::spool::{Answer, Refused, Request, SpoolThread, Store, WallClock};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// Answers that may wait for the node's thread.
const ANSWERS: usize = 64;
/// How long a node that ends waits for its last commit.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// Where a node keeps what outlives it.
pub(super) enum Source {
    /// A store that is open.
    #[cfg_attr(
        feature = "spool",
        allow(dead_code, reason = "used by whoever brings a store")
    )]
    Open(Box<dyn Store>),
    /// A file, made if there is none.
    #[cfg(feature = "spool")]
    File(std::path::PathBuf),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(_) => f.write_str("Open"),
            #[cfg(feature = "spool")]
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Hands requests of a node to the thread of its store.
pub(super) struct Carrier(SpoolThread);

impl Carrier {
    /// Gives the request back when the thread has enough to do.
    pub(super) fn carry(&mut self, request: Request) -> Result<(), Request> {
        match self.0.ask(request) {
            Ok(()) => Ok(()),
            Err(Refused::Busy(request)) => Err(request),
            // The end of its answers says so to the node: see `hear`.
            Err(Refused::Ended(_)) => Ok(()),
        }
    }
}

/// Opens the store and lets the node know what it holds.
pub(super) fn open(
    core: &mut NodeCore,
    source: Source,
    limit: u64,
    clock: impl Clock + Clone,
) -> Result<mpsc::Receiver<Answer>, StartError> {
    let failed = |reason: String| StartError::Setup { reason };
    #[cfg_attr(not(feature = "spool"), expect(clippy::infallible_destructuring_match))]
    let mut store = match source {
        Source::Open(store) => store,
        #[cfg(feature = "spool")]
        Source::File(path) => {
            let store = mcpbus_transport::spool::DiskStore::open(&path, limit)
                .map_err(|error| failed(format!("spool {}: {error}", path.display())))?;
            Box::new(store)
        }
    };
    let recovered = store.recover().map_err(|error| failed(error.to_string()))?;
    tracing::info!(
        messages = recovered.usage.messages,
        bytes = recovered.usage.bytes,
        queues = recovered.queues.len(),
        "spool open"
    );
    core.attach_spool(recovered, limit);
    let (answer, answers) = mpsc::channel(ANSWERS);
    let now = move || WallClock {
        now: clock.now(),
        unix_micros: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_micros() as i64),
    };
    let thread = SpoolThread::start(store, now, move |outcome| {
        // A node that is gone needs no answer.
        let _ = answer.blocking_send(outcome);
    })
    .map_err(|error| failed(error.to_string()))?;
    core.carrier = Some(Carrier(thread));
    Ok(answers)
}

/// Those who asked for dead letters, in order.
pub(super) type Readers = Rc<RefCell<VecDeque<oneshot::Sender<Vec<DeadLetter>>>>>;

/// Gives the node the answers of its store until there are no more.
pub(super) async fn hear(
    hub: Hub<NodeCore>,
    mut answers: mpsc::Receiver<Answer>,
    readers: Readers,
) {
    while let Some(answer) = answers.recv().await {
        hub.with(|core, now| core.store_answered(answer, now));
        while let Some(letters) = hub.with(|core, _| core.poll_dead_letters()) {
            if let Some(reader) = readers.borrow_mut().pop_front() {
                // Who asked may have gone.
                let _ = reader.send(letters);
            }
        }
    }
    // A store that ends before its node has panicked: whoever waits for it must not wait for ever.
    hub.with(|core, now| {
        if core.carrier.is_some() {
            core.store_ended(now);
        }
    });
}

/// Waits until what the node has settled is on the disk, so that it is not delivered again after the next start.
pub(super) async fn finish(hub: &Hub<NodeCore>) {
    let idle = async {
        while !hub.with(|core, _| core.is_store_idle()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(LAST_COMMIT, idle).await.is_err() {
        tracing::warn!(
            "the last commit of the spool is not finished: some messages may be delivered again"
        );
    }
    // The thread ends with its carrier.
    let carrier = hub.with(|core, _| core.carrier.take());
    drop(carrier);
}
