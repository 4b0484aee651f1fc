//! Looks at a process from time to time: how far it is, and what CPU time it has taken.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::plan::Schedule;
use super::talk::{Notice, Sample, tell};
use crate::bench::clock::{cpu_time, now, sleep_until};

/// Time between two samples, in nanoseconds.
const STEP: u64 = 100_000_000;

/// What a process counts while it works.
pub type Count = Arc<AtomicU64>;

/// The times at which samples are taken: all the way at equal distances, and where the measurement begins and ends.
fn times(schedule: Schedule) -> impl Iterator<Item = u64> {
    let mut next = Some(schedule.begin);
    std::iter::from_fn(move || {
        let time = next?;
        let step = schedule.begin + ((time - schedule.begin) / STEP + 1) * STEP;
        let marks = [schedule.from, schedule.to, step];
        next = marks
            .into_iter()
            .filter(|mark| *mark > time && *mark <= schedule.to)
            .min();
        Some(time)
    })
}

/// Tells the parent samples until the measurement is over, from a thread of its own.
///
/// # Errors
/// The system has no thread.
pub fn start(schedule: Schedule, count: Count) -> io::Result<JoinHandle<()>> {
    let work = move || {
        for time in times(schedule) {
            sleep_until(time);
            // One after the other: a sample is exact to the time between these calls.
            let sample = Sample {
                at: now(),
                cpu: u64::try_from(cpu_time().as_nanos()).unwrap_or(u64::MAX),
                count: count.load(Ordering::Relaxed),
            };
            tell(&Notice::Sample(sample));
        }
    };
    std::thread::Builder::new()
        .name(String::from("meter"))
        .spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_taken_all_the_way_and_at_both_ends() {
        let schedule = |from: u64, to: u64| Schedule {
            begin: 7,
            from: 7 + from,
            to: 7 + to,
        };
        let taken = |from: u64, to: u64| times(schedule(from, to)).map(|time| time - 7);
        let some: Vec<_> = taken(150_000_000, 310_000_000).collect();
        let wanted = [0, 100, 150, 200, 300, 310].map(|time| time * 1_000_000);
        assert_eq!(some, wanted);
        let at_a_step: Vec<_> = taken(0, 200_000_000).collect();
        assert_eq!(at_a_step, [0, 100_000_000, 200_000_000]);
    }
}
