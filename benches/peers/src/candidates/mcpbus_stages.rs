//! The topology as a user of mcpbus builds it: stages that emit one by one; batches are the bus's business.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::steps::{fold, map, split};
use mcpbus_actors::stage::{Out, Port, Progress};
use mcpbus_actors::supervisor::RestartPolicy;
use mcpbus_actors::topology::{Fusion, Placement, Report, Topology};
use mcpbus_actors::{Envelope, Kind, Message, Time};

use super::{Arrived, BY_HAND_BUSY, Candidate, Case, Failure, Family, Variant};
use crate::checksum::Checksum;
use crate::message::{Busy, CAPACITY, FAR, Item, Named, Order};

/// The rows of this family.
pub const ROWS: &[Candidate] = &[
    Candidate {
        name: "turns",
        family: Family::Mcpbus,
        about: "mcpbus on one thread, each stage in turns of its own",
        messages: 20_000_000,
        variants: &Variant::ALL,
        run: |case| run(case, Placement::OneThread, Fusion::Asked),
    },
    Candidate {
        name: "fused",
        family: Family::Mcpbus,
        about: "mcpbus on one thread, neighbours fused",
        messages: 20_000_000,
        variants: &Variant::ALL,
        run: |case| run(case, Placement::OneThread, Fusion::Automatic),
    },
    Candidate {
        name: "static",
        family: Family::Mcpbus,
        about: "mcpbus on one thread, router, processors and aggregator composed into one stage when compiled",
        messages: 40_000_000,
        // A panic would take the aggregator's state with it: that is the price of being one stage.
        variants: BY_HAND_BUSY,
        run: composed,
    },
    Candidate {
        name: "threads",
        family: Family::Mcpbus,
        about: "mcpbus, a thread per stage",
        messages: 10_000_000,
        variants: &Variant::ALL,
        run: |case| run(case, Placement::Threads, Fusion::Asked),
    },
    Candidate {
        name: "input_send",
        family: Family::Mcpbus,
        about: "mcpbus stages as tasks, fed by `send` one by one from a task of the user's, one thread",
        messages: 10_000_000,
        variants: &[Variant::Order],
        run: |case| fed(case, false),
    },
    Candidate {
        name: "input_buffered",
        family: Family::Mcpbus,
        about: "mcpbus stages as tasks, fed by `buffered()` from a task of the user's, one thread",
        messages: 10_000_000,
        variants: &[Variant::Order],
        run: |case| fed(case, true),
    },
];

fn run(case: &Case, placement: Placement, fusion: Fusion) -> Result<Arrived, Failure> {
    let mut t = Topology::new("orders");
    t.default_capacity(Capacity::messages(CAPACITY))
        .placement(placement)
        .fusion(fusion);
    let messages = case.messages;
    match case.variant {
        Variant::Order => {
            let source = t.produce_iter("source", (0..messages).map(Order::new));
            finish(t, source, copy_raised)
        }
        Variant::String => {
            let source = t.produce_iter("source", (0..messages).map(Named::new));
            finish(t, source, copy_raised)
        }
        Variant::Deadline => {
            let source = t.produce("source", with_deadlines(messages));
            finish(t, source, copy_raised)
        }
        Variant::Busy => {
            let source = t.produce_iter("source", (0..messages).map(Busy::new));
            finish(t, source, copy_raised)
        }
        Variant::Panic => {
            t.restart_policy(without_limit());
            let source = t.produce_iter("source", (0..messages).map(Order::new));
            let case = *case;
            finish(t, source, move |order: &Order, out: &mut Out<'_, Order>| {
                assert!(!case.panics_at(order.account), "as asked for");
                out.emit(order.processed());
            })
        }
    }
}

/// Router, processors and aggregator as steps of one stage.
fn composed(case: &Case) -> Result<Arrived, Failure> {
    let mut t = Topology::new("orders");
    t.default_capacity(Capacity::messages(CAPACITY))
        .placement(Placement::OneThread);
    let messages = case.messages;
    match case.variant {
        Variant::Order => {
            let source = t.produce_iter("source", (0..messages).map(Order::new));
            finish_composed(t, source)
        }
        Variant::String => {
            let source = t.produce_iter("source", (0..messages).map(Named::new));
            finish_composed(t, source)
        }
        Variant::Deadline => {
            let source = t.produce("source", with_deadlines(messages));
            finish_composed(t, source)
        }
        Variant::Busy => {
            let source = t.produce_iter("source", (0..messages).map(Busy::new));
            finish_composed(t, source)
        }
        Variant::Panic => Err(Failure::NotApplicable(case.variant)),
    }
}

fn finish_composed<B: Item + Message>(
    mut t: Topology,
    source: Port<B>,
) -> Result<Arrived, Failure> {
    let process = map(|body: &B| body.processed());
    let work = split(|body: &B| body.way(), (process.clone(), process))
        .then(fold(Sum::default(), |Sum(checksum): &mut Sum, body: B| {
            body.add_to(checksum)
        }));
    let sum = t.process("work", source, work);
    let seen = collect(&mut t, sum);
    let report = t.run_blocking().map_err(failed)?;
    Ok(arrived(&report, &seen))
}

fn copy_raised<B: Item + Message>(body: &B, out: &mut Out<'_, B>) {
    out.emit(body.processed());
}

/// A producer of messages whose deadlines are far away.
fn with_deadlines(messages: u64) -> impl FnMut(&mut Out<'_, Order>) -> Progress + Send + 'static {
    let mut numbers = 0..messages;
    move |out| {
        // A few at a time, as producers do that are made of iterators.
        for number in numbers.by_ref().take(16) {
            let mut envelope = Envelope::new(Order::new(number));
            // Each has its own, as where it is so long after a request came.
            let deadline = Time::ZERO + FAR + Duration::from_nanos(number);
            envelope.header.set_deadline(Some(deadline));
            out.emit_envelope(envelope);
        }
        if numbers.is_empty() {
            Progress::Finished
        } else {
            Progress::More
        }
    }
}

/// Restarts at once, as often as it takes: what is measured is a panic, not a pause.
fn without_limit() -> RestartPolicy {
    RestartPolicy {
        max_restarts: u32::MAX,
        window: Duration::from_secs(1),
        first_pause: Duration::ZERO,
        max_pause: Duration::ZERO,
    }
}

/// Adds router and processors between the source and what takes their outputs.
pub(crate) fn between<B: Item + Message>(
    t: &mut Topology,
    source: Port<B>,
    process: impl FnMut(&B, &mut Out<'_, B>) + Clone + Send + 'static,
) -> [Port<B>; 2] {
    let [even, odd] = t.route("by_key", source, |body: &B| body.way());
    let even = t.process("even", even, process.clone());
    let odd = t.process("odd", odd, process);
    [even, odd]
}

/// A processor that copies and changes, for topologies that are put together elsewhere.
pub(crate) fn processed_between<B: Item + Message>(
    t: &mut Topology,
    source: Port<B>,
) -> [Port<B>; 2] {
    between(t, source, copy_raised)
}

/// The aggregator's state as a message: it is emitted once, at the end.
#[derive(Clone, Default)]
struct Sum(Checksum);

impl Message for Sum {
    const KIND: Kind = Kind::new("sum", 1, "checksum");
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

/// Adds all that follows the source; gives where the checksum will stand.
fn follow<B: Item + Message>(
    t: &mut Topology,
    source: Port<B>,
    process: impl FnMut(&B, &mut Out<'_, B>) + Clone + Send + 'static,
) -> Arc<Mutex<Checksum>> {
    let processed = between(t, source, process);
    let sum = t.aggregate(
        "sum",
        processed,
        Sum::default(),
        |Sum(checksum), body: &B| body.add_to(checksum),
    );
    collect(t, sum)
}

/// Takes the sum out at the end; gives where it will stand.
fn collect(t: &mut Topology, sum: Port<Sum>) -> Arc<Mutex<Checksum>> {
    let seen = Arc::new(Mutex::new(Checksum::default()));
    let end = Arc::clone(&seen);
    t.consume("end", sum, move |Sum(checksum): &Sum| {
        end.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .merge(checksum);
    });
    seen
}

fn arrived(report: &Report, seen: &Mutex<Checksum>) -> Arrived {
    Arrived {
        checksum: *seen.lock().unwrap_or_else(PoisonError::into_inner),
        dead_letters: report.dead_letters.0,
        residual: report.ledger.residual(),
    }
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::Topology(error.to_string())
}

fn finish<B: Item + Message>(
    mut t: Topology,
    source: Port<B>,
    process: impl FnMut(&B, &mut Out<'_, B>) + Clone + Send + 'static,
) -> Result<Arrived, Failure> {
    let seen = follow(&mut t, source, process);
    let report = t.run_blocking().map_err(failed)?;
    Ok(arrived(&report, &seen))
}

/// The producer is a task of the user's; all that follows are stages on the same thread.
fn fed(case: &Case, collect: bool) -> Result<Arrived, Failure> {
    if case.variant != Variant::Order {
        return Err(Failure::NotApplicable(case.variant));
    }
    let orders = (0..case.messages).map(Order::new);
    let mut t = Topology::new("orders");
    t.default_capacity(Capacity::messages(CAPACITY))
        .placement(Placement::Tasks);
    let source = t.input::<Order>("source");
    let seen = follow(&mut t, source, copy_raised);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let report = runtime.block_on(async move {
        let mut running = t.start().map_err(failed)?;
        let sender = running
            .take_input::<Order>("source")
            .ok_or(Failure::Ended)?;
        if collect {
            let mut buffered = sender.buffered();
            for order in orders {
                buffered.send(order).await.map_err(failed)?;
            }
        } else {
            for order in orders {
                sender.send(order).await.map_err(failed)?;
            }
        }
        // The input ends with its last sender.
        drop(sender);
        running.wait().await.map_err(failed)
    })?;
    Ok(arrived(&report, &seen))
}
