//! Random acyclic topologies with small edges: no deadlock, everything accounted for, in every placement, however fused.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::{Out, by_key, round_robin};
use mcpbus_actors::topology::{Fusion, Placement, Port, Topology};
use mcpbus_actors::{Outcome, Reason};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Shape {
    Process { source: usize, emits: u64 },
    Route { source: usize },
    Broadcast { source: usize },
    Merge { left: usize, right: usize },
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let shape = prop_oneof![
        (any::<usize>(), 0..3u64).prop_map(|(source, emits)| Shape::Process { source, emits }),
        any::<usize>().prop_map(|source| Shape::Route { source }),
        any::<usize>().prop_map(|source| Shape::Broadcast { source }),
        (any::<usize>(), any::<usize>()).prop_map(|(left, right)| Shape::Merge { left, right }),
    ];
    proptest::collection::vec(shape, 0..8)
}

fn take(ports: &mut Vec<Port<u64>>, at: usize) -> Port<u64> {
    let index = at % ports.len();
    ports.swap_remove(index)
}

fn build(
    shapes: &[Shape],
    capacity: usize,
    (threads, fused): (u8, u8),
    sum: &Arc<AtomicU64>,
) -> Topology {
    let mut t = Topology::new("random");
    t.default_capacity(Capacity::messages(capacity));
    let mut ports: Vec<Port<u64>> = (0..2)
        .map(|n| t.produce_iter(&format!("source{n}"), 0..600u64))
        .collect();
    for (index, shape) in shapes.iter().enumerate() {
        let name = format!("stage{index}");
        match *shape {
            Shape::Process { source, emits } => {
                let mut port = take(&mut ports, source);
                if fused & (1 << index) != 0 {
                    port = port.fused();
                }
                ports.push(
                    t.process(&name, port, move |n: &u64, out: &mut Out<'_, u64>| {
                        if n % 17 == 16 {
                            return Outcome::reject(Reason::Rejected);
                        }
                        (0..emits).for_each(|extra| out.emit(n + extra));
                        Outcome::Done
                    }),
                );
            }
            Shape::Route { source } => {
                let port = take(&mut ports, source);
                let ways: [_; 2] = if source % 2 == 0 {
                    t.route(&name, port, round_robin())
                } else {
                    t.route(&name, port, by_key())
                };
                ports.extend(ways);
            }
            Shape::Broadcast { source } => {
                let port = take(&mut ports, source);
                let ways: [_; 2] = t.broadcast(&name, port);
                ports.extend(ways);
            }
            Shape::Merge { left, right } => {
                let left = take(&mut ports, left);
                let both = if ports.is_empty() {
                    vec![left]
                } else {
                    vec![left, take(&mut ports, right)]
                };
                ports.push(t.process(&name, both, |n: &u64, out: &mut Out<'_, u64>| out.emit(*n)));
            }
        }
        if threads & (1 << index) != 0 {
            t.on_thread(&name);
        }
    }
    let total = t.aggregate("total", ports, 0u64, |total, n: &u64| *total += n);
    let sum = Arc::clone(sum);
    t.consume("store", total, move |total: &u64| {
        sum.store(*total, Ordering::SeqCst)
    });
    t
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn nothing_is_lost_and_nothing_stands_still(
        shapes in shapes(),
        capacity in prop_oneof![3 => 1..4usize, 1 => 4..600usize],
        threads in any::<u8>(),
        fused in any::<u8>(),
    ) {
        let mut reference = None;
        let placements = [
            (Placement::OneThread, Fusion::Automatic),
            (Placement::OneThread, Fusion::Asked),
            (Placement::Tasks, Fusion::Automatic),
            (Placement::Threads, Fusion::Automatic),
        ];
        for (placement, fusion) in placements {
            let sum = Arc::new(AtomicU64::new(u64::MAX));
            let mut t = build(&shapes, capacity, (threads, fused), &sum);
            t.placement(placement).fusion(fusion);
            let mut ledger = t.run_blocking().unwrap().ledger;
            prop_assert_eq!(ledger.residual(), 0, "{}", ledger);
            prop_assert_eq!(ledger.total().held, 0, "{}", ledger);
            ledger.sort();
            // Round robin after a merge depends on who comes first, so only the totals of such graphs are compared.
            let order_matters = shapes.iter().any(|shape| matches!(shape, Shape::Route { source } if source % 2 == 0));
            let outcome = (sum.load(Ordering::SeqCst), if order_matters { None } else { Some(ledger) });
            if !order_matters {
                prop_assert_eq!(reference.get_or_insert_with(|| outcome.clone()), &outcome);
            }
        }
    }
}
