//! One measurement: wait for the first message, warm up, count for a while, end.

use mcpbus_benches::clock::Clock;
use mcpbus_benches::failed::Failed;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

const WARM_UP: Duration = Duration::from_millis(500);
const FIRST_MESSAGE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// What the threads of a run share with the one that measures.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Shared {
    /// Whether publishers and subscribers are to end.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Says how many messages the subscriber has, all in all.
    pub(crate) fn received(&self, count: u64) {
        self.received.store(count, Ordering::Relaxed);
    }
}

/// What was counted in the time of a measurement.
pub(crate) struct Sample {
    messages: u64,
    elapsed: Duration,
    cpu: Duration,
}

impl Sample {
    /// Messages per second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time of publisher, relay and subscriber together per message, in nanoseconds.
    pub(crate) fn cpu_nanoseconds(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.messages as f64
    }
}

/// A publisher, a relay and a subscriber that run, each on a thread.
pub(crate) struct Run {
    shared: Shared,
    threads: Vec<JoinHandle<()>>,
    failed: Receiver<Failed>,
    report: Sender<Failed>,
}

impl Run {
    pub(crate) fn new() -> Self {
        let (report, failed) = channel();
        Self {
            shared: Shared::default(),
            threads: Vec::new(),
            failed,
            report,
        }
    }

    /// Starts a thread with a current-thread runtime of its own, as a process of its own would have.
    pub(crate) fn thread<F: Future<Output = Result<(), Failed>>>(
        &mut self,
        work: impl FnOnce(Shared) -> F + Send + 'static,
    ) {
        let (shared, report) = (self.shared.clone(), self.report.clone());
        self.threads.push(thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let result = runtime
                .map_err(Failed::at("a runtime"))
                .and_then(|runtime| runtime.block_on(work(shared)));
            if let Err(failed) = result {
                // The one who measures may have given up already.
                let _ = report.send(failed);
            }
        }));
    }

    /// Measures for this long, then ends the run.
    pub(crate) fn measure(self, duration: Duration) -> Result<Sample, Failed> {
        let begin = Instant::now();
        while self.count() == 0 {
            self.wait(POLL)?;
            if begin.elapsed() > FIRST_MESSAGE {
                return Err(Failed::new("the first message", "it did not come in time"));
            }
        }
        self.wait(WARM_UP)?;
        let (start, first, cpu) = (Instant::now(), self.count(), Clock::Cpu.now());
        self.wait(duration)?;
        let sample = Sample {
            messages: self.count() - first,
            elapsed: start.elapsed(),
            cpu: Clock::Cpu.now().saturating_sub(cpu),
        };
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread
                .join()
                .map_err(|_| Failed::new("a thread of the run", "it panicked"))?;
        }
        self.failed.try_recv().map_or(Ok(sample), Err)
    }

    fn count(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Waits, but no longer than the run is well.
    fn wait(&self, duration: Duration) -> Result<(), Failed> {
        match self.failed.recv_timeout(duration) {
            Ok(failed) => Err(failed),
            // This end holds a sender itself, so nothing is ever disconnected.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
        }
    }
}
