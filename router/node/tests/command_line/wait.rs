//! Waiting for what only shows when one looks: a file, a counter, an output that has to be provoked.

use std::time::{Duration, Instant};

/// Looks until the condition is true, with a short pause between looks. False when it is not true by the deadline.
#[must_use]
pub(crate) fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
