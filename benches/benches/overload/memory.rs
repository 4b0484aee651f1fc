//! The memory of this process while something runs.

use mcpbus_benches::process::resident;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The memory of this process, looked at by a thread.
pub(crate) struct Memory {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Memory {
    pub(crate) fn watch() -> Self {
        let (most, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (seen, stopped) = (most.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                seen.fetch_max(resident().unwrap_or(0), Ordering::Relaxed);
                thread::sleep(LOOK);
            }
        });
        Self {
            most,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        resident().unwrap_or(0)
    }

    /// What was seen before counts no more.
    pub(crate) fn begin(&self) {
        self.most.store(self.now(), Ordering::Relaxed);
    }

    /// The most since then.
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only looks; nothing depends on how it ended.
            let _ = thread.join();
        }
    }
}
