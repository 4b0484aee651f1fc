//! Producer, router by key, two processors, aggregator: edges of 1,024 messages of 64 bytes.
//!
//! The same topology on one thread, as tasks and on a thread per stage, beside vectors sent by hand over tokio's
//! channels and beside plain function calls.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::Out;
use mcpbus_actors::topology::{Fusion, Placement, Report, Topology};
use mcpbus_benches::clock::{Clock, criterion};
use mcpbus_benches::message::{Order, orders};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

/// Messages per measured run: enough that building the topology and starting threads hardly counts.
const MESSAGES: u64 = 1 << 20;
const CAPACITY: usize = 1024;
const BATCH: usize = 256;

/// What a processor does: a copy with one field changed.
fn process(order: &Order) -> Order {
    let mut order = order.clone();
    order.fields[0] += 1;
    order
}

fn expected() -> u64 {
    (1..=MESSAGES).fold(0, u64::wrapping_add)
}

/// The topology, and where its sum will stand.
fn topology(placement: Placement, fusion: Fusion) -> (Topology, Arc<AtomicU64>) {
    let total = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&total);
    let mut t = Topology::new("orders");
    t.default_capacity(Capacity::messages(CAPACITY))
        .placement(placement)
        .fusion(fusion);
    let source = t.produce_iter("source", orders(MESSAGES));
    let [even, odd] = t.route("by_key", source, |order: &Order| {
        (order.account % 2) as usize
    });
    let stage = |order: &Order, out: &mut Out<'_, Order>| out.emit(process(order));
    let even = t.process("even", even, stage);
    let odd = t.process("odd", odd, stage);
    let sum = t.aggregate("sum", [even, odd], 0_u64, |sum, order: &Order| {
        *sum = sum.wrapping_add(order.fields[0]);
    });
    t.consume("end", sum, move |sum: &u64| {
        seen.store(*sum, Ordering::Relaxed)
    });
    (t, total)
}

fn check(report: &Report, total: &AtomicU64) {
    assert_eq!(report.ledger.residual(), 0);
    assert_eq!(total.load(Ordering::Relaxed), expected());
}

/// On threads of its own.
fn run_on_threads(placement: Placement, fusion: Fusion) {
    let (topology, total) = topology(placement, fusion);
    check(&topology.run_blocking().expect("it ends well"), &total);
}

fn run_as_tasks(runtime: &Runtime) {
    let (topology, total) = topology(Placement::Tasks, Fusion::Asked);
    check(
        &runtime.block_on(topology.run()).expect("it ends well"),
        &total,
    );
}

/// The same in vectors of up to 256 messages over channels of four vectors.
fn run_by_hand(runtime: &Runtime) {
    let sum = runtime.block_on(async {
        let channel = || mpsc::channel::<Vec<Order>>(CAPACITY / BATCH);
        let (to_router, mut routed) = channel();
        let (to_even, even) = channel();
        let (to_odd, odd) = channel();
        let (to_sum, mut summed) = channel();
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            for order in orders(MESSAGES) {
                batch.push(order);
                if batch.len() == BATCH {
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                    to_router.send(full).await.expect("a router");
                }
            }
            to_router.send(batch).await.expect("a router");
        });
        tokio::spawn(async move {
            while let Some(batch) = routed.recv().await {
                let (odd, even): (Vec<_>, Vec<_>) =
                    batch.into_iter().partition(|order| order.account % 2 == 1);
                to_even.send(even).await.expect("a processor");
                to_odd.send(odd).await.expect("a processor");
            }
        });
        for mut inbox in [even, odd] {
            let to_sum = to_sum.clone();
            tokio::spawn(async move {
                while let Some(batch) = inbox.recv().await {
                    let done = batch.iter().map(process).collect();
                    to_sum.send(done).await.expect("an aggregator");
                }
            });
        }
        drop(to_sum);
        let mut sum = 0_u64;
        while let Some(batch) = summed.recv().await {
            for order in &batch {
                sum = sum.wrapping_add(order.fields[0]);
            }
        }
        sum
    });
    assert_eq!(sum, expected());
}

/// The same as calls: what the work itself costs.
fn run_calls() {
    let mut sums = [0_u64; 2];
    for order in orders(MESSAGES) {
        let order = black_box(order);
        let way = (order.account % 2) as usize;
        sums[way] = sums[way].wrapping_add(black_box(process(&order)).fields[0]);
    }
    assert_eq!(sums[0].wrapping_add(sums[1]), expected());
}

fn placements(criterion: &mut Criterion<Clock>) {
    let one = Builder::new_current_thread().build().expect("a runtime");
    let many = Builder::new_multi_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("topology");
    group
        .throughput(Throughput::Elements(MESSAGES))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    group.bench_function("mcpbus, one thread, fused", |bencher| {
        bencher.iter(|| run_on_threads(Placement::OneThread, Fusion::Automatic));
    });
    group.bench_function("mcpbus, one thread, turns", |bencher| {
        bencher.iter(|| run_on_threads(Placement::OneThread, Fusion::Asked));
    });
    group.bench_function("tokio mpsc by hand, one thread", |bencher| {
        bencher.iter(|| run_by_hand(&one));
    });
    group.bench_function("mcpbus, tasks on a worker per core", |bencher| {
        bencher.iter(|| run_as_tasks(&many));
    });
    group.bench_function("tokio mpsc by hand, a worker per core", |bencher| {
        bencher.iter(|| run_by_hand(&many));
    });
    group.bench_function("mcpbus, a thread per stage", |bencher| {
        bencher.iter(|| run_on_threads(Placement::Threads, Fusion::Asked));
    });
    group.bench_function("function calls", |bencher| bencher.iter(run_calls));
    group.finish();
}

criterion_group!(name = benches; config = criterion(); targets = placements);
criterion_main!(benches);
