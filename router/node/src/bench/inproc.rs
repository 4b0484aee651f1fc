//! Producer, router by key, two processors, aggregator, with messages of 64 bytes and edges of 1,024 of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcpbus_actors::Message;
use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::steps::{fold, map, split};
use mcpbus_actors::stage::{Out, Port};
use mcpbus_actors::topology::{Fusion, Placement, StartError, Topology};

use super::clock::cpu_time;

/// The bound of every edge, in messages.
pub const CAPACITY: usize = 1024;

/// What is sent: 64 bytes.
#[derive(Clone, Debug, Message)]
pub struct Order {
    /// Whose it is: what it is routed by.
    #[message(key)]
    pub account: u64,
    /// The rest; the first field is summed up at the end.
    pub fields: [u64; 7],
}

impl Order {
    /// The order of this number.
    pub fn new(number: u64) -> Self {
        Self {
            account: number,
            fields: [number; 7],
        }
    }
}

/// A way to run the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// One thread, each stage a task with turns of its own.
    Turns,
    /// One thread, the stages fused into one task.
    Fused,
    /// One thread, router, processors and aggregator composed into one stage when they are compiled.
    Static,
    /// Each stage on a thread of its own.
    Threads,
}

impl Candidate {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Turns, Self::Fused, Self::Static, Self::Threads];

    /// The stable name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Turns => "turns",
            Self::Fused => "fused",
            Self::Static => "static",
            Self::Threads => "threads",
        }
    }

    const fn placement(self) -> (Placement, Fusion) {
        match self {
            Self::Turns => (Placement::OneThread, Fusion::Asked),
            Self::Fused | Self::Static => (Placement::OneThread, Fusion::Automatic),
            Self::Threads => (Placement::Threads, Fusion::Asked),
        }
    }
}

/// What one run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// From before the start until everything had been handled.
    pub wall: Duration,
    /// CPU time of all threads of this process meanwhile.
    pub cpu: Duration,
    /// Messages that did not arrive, or arrived changed.
    pub lost: u64,
}

fn is_odd(order: &Order) -> bool {
    order.account % 2 == 1
}

/// What a processor does: a copy with one field changed.
fn raised(order: &Order) -> Order {
    let mut order = order.clone();
    order.fields[0] += 1;
    order
}

fn add((count, sum): &mut (u64, u64), order: &Order) {
    *count += 1;
    *sum = sum.wrapping_add(order.fields[0]);
}

/// Adds what lies between the source and the sum; gives the outputs of the two processors.
pub fn between(t: &mut Topology, source: Port<Order>) -> [Port<Order>; 2] {
    let [even, odd] = t.route("by_key", source, is_odd);
    let process = |order: &Order, out: &mut Out<'_, Order>| out.emit(raised(order));
    let even = t.process("even", even, process);
    let odd = t.process("odd", odd, process);
    [even, odd]
}

/// Sends `messages` through the topology.
///
/// # Errors
/// [`StartError`]: it did not start, or a stage failed.
pub fn run(candidate: Candidate, messages: u64) -> Result<Measured, StartError> {
    let seen = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let mut t = Topology::new("bench");
    let (placement, fusion) = candidate.placement();
    t.default_capacity(Capacity::messages(CAPACITY))
        .placement(placement)
        .fusion(fusion);
    let source = t.produce_iter("source", (0..messages).map(Order::new));
    let sum = if candidate == Candidate::Static {
        let steps = split(is_odd, (map(raised), map(raised))).then(fold(
            (0, 0),
            |sums: &mut (u64, u64), order: Order| {
                add(sums, &order);
            },
        ));
        t.process("work", source, steps)
    } else {
        let processed = between(&mut t, source);
        t.aggregate("sum", processed, (0, 0), add)
    };
    let end = Arc::clone(&seen);
    t.consume("end", sum, move |(count, sum): &(u64, u64)| {
        end.0.store(*count, Ordering::Relaxed);
        end.1.store(*sum, Ordering::Relaxed);
    });
    let (begin, cpu) = (Instant::now(), cpu_time());
    let report = t.run_blocking()?;
    let (wall, cpu) = (begin.elapsed(), cpu_time().saturating_sub(cpu));
    let (count, sum) = (
        seen.0.load(Ordering::Relaxed),
        seen.1.load(Ordering::Relaxed),
    );
    let intact = sum == expected_sum(messages) && report.ledger.residual() == 0;
    let missing = messages.saturating_sub(count);
    Ok(Measured {
        wall,
        cpu,
        // Where the number is right and the sum is not, something was changed or exchanged.
        lost: if intact { missing } else { missing.max(1) },
    })
}

/// The sum of the first fields once each was raised by one: 1 + 2 + … + messages, modulo 2^64.
fn expected_sum(messages: u64) -> u64 {
    let sum = u128::from(messages) * (u128::from(messages) + 1) / 2;
    u64::try_from(sum & u128::from(u64::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_candidate_delivers_everything() {
        for candidate in Candidate::ALL {
            let measured = run(candidate, 10_000).unwrap();
            assert_eq!(measured.lost, 0, "{}", candidate.name());
            assert!(measured.wall > Duration::ZERO);
        }
        assert_eq!(expected_sum(3), 6);
        assert_eq!(expected_sum(u64::MAX), 0x8000_0000_0000_0000);
    }
}
