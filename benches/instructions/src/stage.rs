//! One kind of stage between a producer and a consumer, in turns on one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcpbus_actors::stage::{Out, by_key};
use mcpbus_actors::topology::{Port, Topology};

use crate::topology::{new, run};
use crate::{MESSAGES, Order, orders};

/// Runs a producer, what `add` adds, and a consumer of what comes out of it.
fn around(add: impl FnOnce(&mut Topology, Port<Order>) -> Vec<Port<Order>>) -> u64 {
    let sum = Arc::new(AtomicU64::new(0));
    let mut t = new();
    let source = t.produce_iter("source", orders(MESSAGES));
    let ports = add(&mut t, source);
    let total = Arc::clone(&sum);
    t.consume("end", ports, move |order: &Order| {
        total.fetch_add(order.fields[0], Ordering::Relaxed);
    });
    run(t);
    sum.load(Ordering::Relaxed)
}

/// No stage between them: what the two take themselves.
#[must_use]
pub fn none() -> u64 {
    around(|_, source| vec![source])
}

/// A processor that copies.
#[must_use]
pub fn processor() -> u64 {
    around(|t, source| {
        let copy = |order: &Order, out: &mut Out<'_, Order>| out.emit(order.clone());
        vec![t.process("copy", source, copy)]
    })
}

/// A router by key with two ways.
#[must_use]
pub fn router() -> u64 {
    around(|t, source| t.route_to("router", source, 2, by_key()))
}
