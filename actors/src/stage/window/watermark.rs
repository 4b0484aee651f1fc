//! How far event time has come.

use std::time::Duration;

/// Whole nanoseconds of a duration, at least 1.
pub(super) fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos())
        .unwrap_or(i64::MAX)
        .max(1)
}

/// The newest event time less the lateness: windows that end there or before are complete. It never goes back.
#[derive(Clone, Debug)]
pub(super) struct Watermark {
    lateness: i64,
    reached: i64,
}

impl Watermark {
    pub(super) fn new() -> Self {
        Self {
            lateness: 0,
            reached: i64::MIN,
        }
    }

    pub(super) fn set_lateness(&mut self, lateness: Duration) {
        self.lateness = i64::try_from(lateness.as_nanos()).unwrap_or(i64::MAX);
    }

    /// Whether windows that end here are complete.
    pub(super) fn is_past(&self, end: i64) -> bool {
        end <= self.reached
    }

    pub(super) fn reached(&self) -> i64 {
        self.reached
    }

    /// A message of this event time has come.
    pub(super) fn advance(&mut self, time: i64) {
        self.reached = self.reached.max(time.saturating_sub(self.lateness));
    }
}
