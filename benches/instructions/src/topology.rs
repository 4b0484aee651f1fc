//! Producer, router by key, two processors, aggregator, consumer of its sum: edges of 1,024 messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::{Out, by_key};
use mcpbus_actors::topology::{Fusion, Placement, Port, Topology};

use crate::{MESSAGES, Order, orders};

/// A topology whose stages are tasks, fused where a port asks for it.
pub(crate) fn new() -> Topology {
    let mut t = Topology::new("instructions");
    t.placement(Placement::Tasks)
        .fusion(Fusion::Asked)
        .default_capacity(Capacity::messages(1024));
    t
}

/// Runs its tasks on this thread, which is the one whose instructions are counted.
pub(crate) fn run(t: Topology) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let report = runtime.block_on(t.run()).expect("it ends well");
    assert_eq!(report.ledger.residual(), 0);
}

fn whole(prepare: fn(Port<Order>) -> Port<Order>) -> u64 {
    let sum = Arc::new(AtomicU64::new(0));
    let mut t = new();
    let source = prepare(t.produce_iter("source", orders(MESSAGES)));
    let ways: [_; 2] = t.route("router", source, by_key());
    let step = |order: &Order, out: &mut Out<'_, Order>| {
        let mut order = order.clone();
        order.fields[0] += 1;
        out.emit(order);
    };
    let [one, two] = ways.map(prepare);
    let one = prepare(t.process("one", one, step));
    let two = prepare(t.process("two", two, step));
    let add = |sum: &mut u64, order: &Order| *sum += order.fields[0];
    let total = t.aggregate("sum", [one, two], 0, add);
    let seen = Arc::clone(&sum);
    t.consume("end", total, move |sum: &u64| {
        seen.store(*sum, Ordering::Relaxed);
    });
    run(t);
    sum.load(Ordering::Relaxed)
}

/// Each stage a task.
#[must_use]
pub fn turns() -> u64 {
    whole(|port| port)
}

/// All but the last in one task.
#[must_use]
pub fn fused() -> u64 {
    whole(Port::fused)
}
