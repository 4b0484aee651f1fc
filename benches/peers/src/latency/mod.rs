//! How long a message takes through the topology at a fixed rate.
//!
//! The load is open: each message has its time, and its latency counts from that time, whether or not the one before it
//! was late ("coordinated omission" is what happens otherwise). One thread keeps the time, the same code for all
//! candidates; it does nothing else, and takes a core for itself. Percentiles come from an HdrHistogram.

mod mcpbus_stages;
mod tokio_tasks;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::candidates::Failure;
use crate::checksum::Checksum;
use crate::message::{Item, Order};
use crate::results::Quantiles;

/// The longest latency that is told from longer ones, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// The field that holds the time at which a message was due, in nanoseconds.
const DUE: usize = 6;

/// A way to write the topology, fed at a fixed rate.
pub struct Candidate {
    /// Its stable name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    run: fn(&Pace) -> Result<Recorder, Failure>,
}

/// All candidates in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Candidate> {
    mcpbus_stages::ROWS.iter().chain(tokio_tasks::ROWS)
}

/// The candidate of this name.
pub fn find(name: &str) -> Option<&'static Candidate> {
    all().find(|candidate| candidate.name == name)
}

/// What one run came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Latencies in microseconds.
    pub quantiles: Quantiles,
    /// Messages missing or wrong.
    pub lost: u64,
}

/// Runs a candidate in this process.
///
/// # Errors
/// [`Failure`]: there is no result.
pub fn run_here(candidate: &Candidate, pace: &Pace) -> Result<Measured, Failure> {
    let recorder = (candidate.run)(pace)?;
    let expected = Checksum::expected::<Order>(0..pace.messages());
    Ok(Measured {
        quantiles: recorder.quantiles(),
        lost: recorder.checksum.lost(&expected),
    })
}

/// Which message is due when.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Messages a second.
    pub rate: u32,
    /// For how long.
    pub duration: Duration,
}

impl Pace {
    fn step(&self) -> Duration {
        Duration::from_secs(1) / self.rate.max(1)
    }

    fn messages(&self) -> u64 {
        let step = self.step().as_nanos().max(1);
        u64::try_from(self.duration.as_nanos() / step).unwrap_or(u64::MAX)
    }

    /// Gives each message to `send` when it is due, or as soon after as `send` comes back from the one before; ends early
    /// where `send` says that nobody listens. Times count from `begin`.
    fn keep(&self, begin: Instant, mut send: impl FnMut(Order) -> bool) {
        let step = self.step();
        let mut due = begin.elapsed() + step;
        for number in 0..self.messages() {
            // Shorter than any sleep.
            while begin.elapsed() < due {
                std::hint::spin_loop();
            }
            let mut order = Order::new(number);
            order.fields[DUE] = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
            if !send(order) {
                return;
            }
            due += step;
        }
    }
}

/// What the end of the topology writes down.
struct Recorder {
    begin: Instant,
    latencies: Histogram<u64>,
    checksum: Checksum,
}

impl Recorder {
    fn new(begin: Instant) -> Self {
        let latencies = match Histogram::new_with_bounds(1, LONGEST, 3) {
            Ok(latencies) => latencies,
            Err(_) => unreachable!("these bounds are always accepted"),
        };
        Self {
            begin,
            latencies,
            checksum: Checksum::default(),
        }
    }

    /// A message has arrived.
    fn record(&mut self, order: &Order) {
        let due = Duration::from_nanos(order.fields[DUE]);
        let late = self.begin.elapsed().saturating_sub(due).as_nanos();
        let late = u64::try_from(late).unwrap_or(LONGEST).min(LONGEST);
        self.latencies.saturating_record(late);
        let mut order = order.clone();
        order.fields[DUE] = order.account;
        order.add_to(&mut self.checksum);
    }

    fn quantiles(&self) -> Quantiles {
        let microseconds = |nanoseconds: f64| (nanoseconds / 100.0).round() / 10.0;
        let at = |quantile| microseconds(self.latencies.value_at_quantile(quantile) as f64);
        Quantiles {
            mean: microseconds(self.latencies.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: microseconds(self.latencies.max() as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_message_has_its_latency() {
        let pace = Pace {
            rate: 10_000,
            duration: Duration::from_millis(50),
        };
        assert_eq!(pace.messages(), 500);
        for candidate in all() {
            let measured = run_here(candidate, &pace).unwrap();
            assert_eq!(measured.lost, 0, "{}", candidate.name);
            assert!(measured.quantiles.max >= measured.quantiles.p50);
            assert!(measured.quantiles.p50 > 0.0);
        }
    }

    #[test]
    fn a_message_that_waits_behind_another_is_late() {
        let begin = Instant::now();
        let pace = Pace {
            rate: 1_000_000,
            duration: Duration::from_micros(100),
        };
        let mut recorder = Recorder::new(begin);
        pace.keep(begin, |order| {
            if order.account == 0 {
                let stall = begin.elapsed() + Duration::from_millis(2);
                while begin.elapsed() < stall {}
            }
            recorder.record(&order);
            true
        });
        // All but the first waited for it, and none of them was due when it was sent.
        assert!(recorder.quantiles().p50 > 1_800.0);
    }
}
