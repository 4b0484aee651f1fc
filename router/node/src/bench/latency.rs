//! How long a message takes through the topology at a fixed rate.
//!
//! The load is open: each message has its time, and its latency counts from that time, whether or not the one before it
//! was late ("coordinated omission" is what happens otherwise). Percentiles come from an HdrHistogram.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mcpbus_actors::channel::Capacity;
use mcpbus_actors::topology::{Placement, StartError, Topology};
use serde_json::{Value, json};

use super::inproc::{CAPACITY, Order, between};

/// The longest latency that is told from longer ones, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// Latencies in nanoseconds.
pub type Latencies = Histogram<u64>;

/// None yet; up to a minute, to three digits.
pub fn none_yet() -> Latencies {
    match Latencies::new_with_bounds(1, LONGEST, 3) {
        Ok(latencies) => latencies,
        Err(_) => unreachable!("these bounds are always accepted"),
    }
}

/// What is reported of latencies, in microseconds.
pub fn quantiles(latencies: &Latencies) -> [(&'static str, f64); 5] {
    let microseconds = |nanoseconds: u64| (nanoseconds as f64 / 100.0).round() / 10.0;
    let at = |quantile| microseconds(latencies.value_at_quantile(quantile));
    [
        ("mean", (latencies.mean() / 100.0).round() / 10.0),
        ("p50", at(0.5)),
        ("p99", at(0.99)),
        ("p999", at(0.999)),
        ("max", microseconds(latencies.max())),
    ]
}

/// The same as an object.
pub fn quantiles_object(latencies: &Latencies) -> Value {
    let named = quantiles(latencies).into_iter();
    Value::Object(
        named
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect(),
    )
}

/// Sends `rate` messages a second for `duration` through the topology on one thread, from a thread that keeps the time.
///
/// # Errors
/// [`StartError`]: it did not start, or a stage failed.
pub fn run(rate: u32, duration: Duration) -> Result<Latencies, StartError> {
    let latencies = Arc::new(Mutex::new(none_yet()));
    let mut t = Topology::new("bench");
    t.default_capacity(Capacity::messages(CAPACITY))
        .placement(Placement::OneThread);
    let source = t.input::<Order>("source");
    let processed = between(&mut t, source);
    let begin = Instant::now();
    let seen = Arc::clone(&latencies);
    t.consume("end", processed, move |order: &Order| {
        let due = Duration::from_nanos(order.fields[6]);
        let late = begin.elapsed().saturating_sub(due).as_nanos();
        let late = u64::try_from(late).unwrap_or(LONGEST).min(LONGEST);
        let mut latencies = seen.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.saturating_record(late);
    });
    let mut running = t.start()?;
    if let Some(sender) = running.take_input::<Order>("source") {
        let step = Duration::from_secs(1) / rate.max(1);
        let mut due = begin.elapsed() + step;
        let end = due + duration;
        let mut number = 0;
        while due < end {
            // Shorter than any sleep: the thread that keeps the time does nothing else.
            while begin.elapsed() < due {
                std::hint::spin_loop();
            }
            let mut order = Order::new(number);
            order.fields[6] = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
            if sender.blocking_send(order).is_err() {
                break;
            }
            number += 1;
            due += step;
        }
    }
    running.wait_blocking()?;
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(latencies.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_message_has_its_latency() {
        let latencies = run(10_000, Duration::from_millis(50)).unwrap();
        assert_eq!(latencies.len(), 500);
        assert!(latencies.max() > 0);
    }
}
