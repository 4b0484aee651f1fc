//! Producers stop when what is between them and a stalled sink is full, and not before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::{Out, Progress};
use mcpbus_actors::topology::{Fusion, Placement, Topology};

use crate::wait_until_it_stands;

/// Messages in the hand of a stage, or in its outputs, beside what one handler call emits: the batch of a turn.
const BATCH: usize = 512;

/// How many messages the producer has made, each call giving `step`, when everything up to a sink that takes nothing is
/// full: producer, two processors, sink; three edges of `capacity`.
fn made(placement: Placement, fusion: Fusion, capacity: usize, step: usize) -> usize {
    let made = Arc::new(AtomicUsize::new(0));
    let mut t = Topology::new("stalled");
    t.placement(placement)
        .fusion(fusion)
        .default_capacity(Capacity::messages(capacity));
    let count = Arc::clone(&made);
    let source = t.produce("source", move |out: &mut Out<'_, u64>| {
        for _ in 0..step {
            out.emit(count.fetch_add(1, Ordering::SeqCst) as u64);
        }
        Progress::More
    });
    let pass = |n: &u64, out: &mut Out<'_, u64>| out.emit(*n);
    let first = t.process("first", source, pass);
    let second = t.process("second", first, pass);
    t.output("sink", second);
    let mut running = t.start().unwrap();
    let sink = running.take_output::<u64>("sink").unwrap();
    let report = wait_until_it_stands(&running, "");
    let accepted = report.edge("source->first").unwrap().accepted as usize;
    let made = made.load(Ordering::SeqCst);
    assert!(
        made - accepted < BATCH + step,
        "{made} made, {accepted} accepted: more than one batch of outputs"
    );
    let report = running.stop_blocking().unwrap();
    drop(sink);
    assert_eq!(report.ledger.edge("source->first").unwrap().residual(), 0);
    made
}

#[test]
fn producers_stop_when_the_edges_and_one_batch_per_hand_are_full() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    for placement in [Placement::OneThread, Placement::Tasks, Placement::Threads] {
        for fusion in [Fusion::Automatic, Fusion::Asked] {
            for (capacity, step) in [(1, 1), (7, 3), (1024, 16), (5000, 1), (5000, 400)] {
                let made = made(placement, fusion, capacity, step);
                // Three edges; two stages with a hand and outputs each; the producer's outputs. A hand holds one batch as it
                // was sent.
                let batch = BATCH + step - 1;
                let hands = 2 * batch.min(capacity) + 2 * BATCH.min(batch.min(capacity));
                let most = 3 * capacity + hands + batch;
                // A batch that is small beside its edge is not split, so up to a quarter of each may stay free.
                let least = 3 * (capacity - capacity / 4);
                assert!(
                    (least..=most).contains(&made),
                    "{made} messages, not {least} to {most}: {placement:?} {fusion:?} capacity {capacity} step {step}"
                );
            }
        }
    }
}
