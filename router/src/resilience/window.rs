//! The last seconds, in ten buckets.

use mcpbus_actors::Time;
use std::time::Duration;

/// Buckets of the window, as in Hystrix.
const BUCKETS: usize = 10;

/// Outcomes that were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) all: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

/// Counts outcomes over a rolling window. The bucket of now and the nine before it count; so the window is between nine
/// tenths and the whole of its length.
#[derive(Clone, Debug)]
pub(super) struct Window {
    buckets: [Sums; BUCKETS],
    sums: Sums,
    /// Length of a bucket in nanoseconds.
    length: u64,
    /// The number of the present bucket since the origin of time.
    number: u64,
    /// When it ends, in nanoseconds: dividing once a bucket instead of once an outcome.
    ends: u64,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let length = (super::config_error::nanoseconds(length) / BUCKETS as u64).max(1);
        Self {
            buckets: [Sums::default(); BUCKETS],
            sums: Sums::default(),
            length,
            number: 0,
            ends: length,
        }
    }

    #[cold]
    fn roll(&mut self, now: u64) {
        let number = now / self.length;
        let passed = (number - self.number).min(BUCKETS as u64);
        for step in 1..=passed {
            let index = (self.number + step) as usize % BUCKETS;
            let old = std::mem::take(&mut self.buckets[index]);
            self.sums.all -= old.all;
            self.sums.failed -= old.failed;
            self.sums.slow -= old.slow;
        }
        if passed == BUCKETS as u64 {
            self.buckets = [Sums::default(); BUCKETS];
            self.sums = Sums::default();
        }
        self.number = number;
        self.ends = (number + 1).saturating_mul(self.length);
    }

    /// Counts one outcome and gives the sums of the window.
    #[inline]
    pub(super) fn record(&mut self, failed: bool, slow: bool, now: Time) -> Sums {
        let now = now.as_nanos();
        if now >= self.ends && self.ends < u64::MAX {
            self.roll(now);
        }
        for sums in [
            &mut self.sums,
            &mut self.buckets[self.number as usize % BUCKETS],
        ] {
            sums.all += 1;
            sums.failed += u64::from(failed);
            sums.slow += u64::from(slow);
        }
        self.sums
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, now: Time) {
        self.buckets = [Sums::default(); BUCKETS];
        self.sums = Sums::default();
        if now.as_nanos() >= self.ends && self.ends < u64::MAX {
            self.roll(now.as_nanos());
        }
    }
}
