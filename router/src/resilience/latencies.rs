//! Latencies of the last time as a histogram of fixed size.

use mcpbus_actors::Time;
use std::time::Duration;

/// Buckets for each doubling: a percentile is at most an eighth too high.
const STEPS: u32 = 8;
/// Doublings from 1 microsecond on: up to 4.6 hours.
const DOUBLINGS: u32 = 34;
const BUCKETS: usize = ((DOUBLINGS + 1) * STEPS) as usize;

/// A histogram with logarithmic buckets, of between half of its window and the whole of it.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    present: Box<[u32; BUCKETS]>,
    before: Box<[u32; BUCKETS]>,
    count: u64,
    count_before: u64,
    half: Duration,
    turns_at: Option<Time>,
}

/// The bucket of a latency, from microseconds.
fn bucket(latency: Duration) -> usize {
    let micros = (latency.as_nanos() / 1000).min(1 << DOUBLINGS) as u64;
    if micros < u64::from(STEPS) {
        return micros as usize;
    }
    let shift = micros.ilog2() - STEPS.ilog2();
    // The bits after the first one number the step within the doubling.
    ((shift * STEPS) as u64 + (micros >> shift)) as usize
}

/// The latency that every one in the bucket is below.
fn end(bucket: usize) -> Duration {
    let (steps, bucket) = (STEPS as usize, bucket + 1);
    let micros = if bucket < 2 * steps {
        bucket as u64
    } else {
        ((bucket % steps + steps) as u64) << (bucket / steps - 1)
    };
    Duration::from_micros(micros)
}

impl Latencies {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            present: Box::new([0; BUCKETS]),
            before: Box::new([0; BUCKETS]),
            count: 0,
            count_before: 0,
            half: window / 2,
            turns_at: None,
        }
    }

    /// Counts one. True when the half of a window has passed since the last time it said so.
    pub(super) fn record(&mut self, latency: Duration, now: Time) -> bool {
        let turns_at = *self.turns_at.get_or_insert(now + self.half);
        let turn = now >= turns_at;
        if turn {
            std::mem::swap(&mut self.present, &mut self.before);
            self.count_before = self.count;
            if now >= turns_at + self.half {
                // A pause: what was before is too old.
                self.before.fill(0);
                self.count_before = 0;
            }
            self.present.fill(0);
            self.count = 0;
            self.turns_at = Some(now + self.half);
        }
        self.present[bucket(latency)] += 1;
        self.count += 1;
        turn
    }

    /// How many are counted.
    pub(super) fn count(&self) -> u64 {
        self.count + self.count_before
    }

    /// The latency that this part of all, from 0 to 1, does not exceed; zero when there are none.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        let rank = (self.count() as f64 * part).ceil() as u64;
        let mut seen = 0;
        for index in 0..BUCKETS {
            seen += u64::from(self.present[index]) + u64::from(self.before[index]);
            if seen >= rank && seen > 0 {
                return end(index);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut latencies = Latencies::new(Duration::from_secs(10));
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        for second in 0..6 {
            latencies.record(Duration::from_secs(1), at(second));
        }
        for second in 6..30 {
            latencies.record(Duration::from_millis(1), at(second));
        }
        assert!(latencies.quantile(1.0) < Duration::from_millis(2));
        assert!(
            (5..=10).contains(&latencies.count()),
            "{}",
            latencies.count()
        );
        latencies.record(Duration::from_secs(1), at(1000));
        assert_eq!(latencies.count(), 1);
        assert!(latencies.quantile(0.5) >= Duration::from_secs(1));
    }

    proptest! {
        /// The plain model: a sorted list.
        #[test]
        fn a_quantile_is_that_of_the_sorted_list_or_an_eighth_more(
            mut micros in proptest::collection::vec(prop_oneof![0u64..100, 0u64..10_000_000_000], 1..300),
            part in 0.01f64..1.0,
        ) {
            let mut latencies = Latencies::new(Duration::from_secs(10));
            for latency in &micros {
                latencies.record(Duration::from_micros(*latency), Time::ZERO);
            }
            micros.sort_unstable();
            let rank = (micros.len() as f64 * part).ceil() as usize;
            let exact = micros[rank.max(1) - 1];
            let found = latencies.quantile(part).as_micros() as u64;
            prop_assert!(found > exact && found <= exact + exact / 8 + 1, "{} for {}", found, exact);
        }
    }
}
