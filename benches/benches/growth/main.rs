//! What a message costs as a topology grows: longer chains, more ways out of a router, more senders into one stage; what an
//! idle stage costs; and how much is allocated for messages once everything runs.
//!
//! A plain program: CPU time per message and hop, beside the small case of the same run.

mod allocations;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcpbus_actors::channel::{Capacity, Overflow, inbox};
use mcpbus_actors::stage::{Out, by_key};
use mcpbus_actors::topology::{Fusion, Placement, Topology};
use mcpbus_benches::clock::Clock;
use mcpbus_benches::message::{Order, orders};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Each figure is the best of so many runs: what disturbs a run only ever makes it slower.
const RUNS: usize = 5;

fn main() {
    // `cargo test` and `cargo bench --no-run` ask for nothing.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    println!("best of {RUNS} runs, CPU time of all threads; one thread\n");
    chains();
    ways();
    senders();
    allocated();
    idle();
}

/// The shortest CPU time of some runs.
fn best(mut run: impl FnMut()) -> Duration {
    let times = (0..RUNS).map(|_| {
        let begin = Clock::Cpu.now();
        run();
        Clock::Cpu.now().saturating_sub(begin)
    });
    times.min().unwrap_or_default()
}

fn per(time: Duration, count: u64) -> f64 {
    time.as_nanos() as f64 / count as f64
}

fn row(what: &str, cost: f64, small: &mut Option<f64>) {
    let first = *small.get_or_insert(cost);
    println!(
        "{what:<44} {cost:>8.1} ns  {:>5.2} times the first",
        cost / first
    );
}

/// A topology that ends with nothing missing.
fn complete(topology: Topology, seen: &AtomicU64, expected: u64) {
    let report = topology.run_blocking().expect("it ends well");
    assert_eq!(report.ledger.residual(), 0);
    assert_eq!(seen.swap(0, Ordering::Relaxed), expected);
}

fn new(name: &str) -> Topology {
    let mut t = Topology::new(name);
    t.placement(Placement::OneThread)
        .fusion(Fusion::Asked)
        .default_capacity(Capacity::messages(1024));
    t
}

/// Counts what arrives.
fn counting(seen: &Arc<AtomicU64>) -> impl FnMut(&Order) + Clone + Send + 'static {
    let seen = Arc::clone(seen);
    move |_: &Order| {
        seen.fetch_add(1, Ordering::Relaxed);
    }
}

fn chains() {
    println!("stages in a chain: cost per message and hop");
    let seen = Arc::new(AtomicU64::new(0));
    let mut small = None;
    for stages in [2_u64, 20, 200, 2_000] {
        let messages = 20_000_000 / stages.max(20);
        let time = best(|| {
            let mut t = new("chain");
            let mut port = t.produce_iter("source", orders(messages));
            for stage in 2..stages {
                let pass = |order: &Order, out: &mut Out<'_, Order>| out.emit(order.clone());
                port = t.process(&format!("stage{stage}"), port, pass);
            }
            t.consume("end", port, counting(&seen));
            complete(t, &seen, messages);
        });
        let cost = per(time, messages * (stages - 1));
        row(&format!("  {stages} stages"), cost, &mut small);
    }
}

fn ways() {
    println!("\nways out of a router by key: cost per message, router and consumers together");
    let seen = Arc::new(AtomicU64::new(0));
    let mut small = None;
    for ways in [2_usize, 100, 1_000, 10_000] {
        let messages = 4_000_000;
        let time = best(|| {
            let mut t = new("ways");
            let source = t.produce_iter("source", orders(messages));
            let ports = t.route_to("router", source, ways, by_key());
            for (way, port) in ports.into_iter().enumerate() {
                t.consume(&format!("end{way}"), port, counting(&seen));
            }
            complete(t, &seen, messages);
        });
        row(&format!("  {ways} ways"), per(time, messages), &mut small);
    }
}

fn senders() {
    println!("\nsenders into one receiver, each a task of one thread: cost per message");
    let mut small = None;
    for senders in [2_u64, 100, 1_000, 10_000] {
        let each = 2_000_000 / senders;
        let time = best(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.expect("a runtime").block_on(async {
                let mut receiver = inbox::<Order>();
                for _ in 0..senders {
                    let (_, sender) = receiver.add_edge(Capacity::messages(1024), Overflow::Wait);
                    tokio::spawn(async move {
                        for order in orders(each) {
                            sender.send(order).await.expect("a receiver");
                        }
                    });
                }
                let mut count = 0;
                while receiver.recv().await.is_some() {
                    count += 1;
                }
                assert_eq!(count, each * senders);
            });
        });
        let what = format!("  {senders} senders, one by one");
        row(&what, per(time, each * senders), &mut small);
    }
}

/// What twice the messages allocate beyond once the messages.
fn allocated() {
    println!("\nallocations per message at steady state");
    let seen = Arc::new(AtomicU64::new(0));
    for (what, placement) in [
        ("one thread", Placement::OneThread),
        ("a thread per stage", Placement::Threads),
    ] {
        let run = |messages: u64| {
            let mut t = new("allocations");
            t.placement(placement);
            let source = t.produce_iter("source", orders(messages));
            let ways: [_; 2] = t.route("router", source, by_key());
            let pass = |order: &Order, out: &mut Out<'_, Order>| out.emit(order.clone());
            let [one, two] = ways;
            let one = t.process("one", one, pass);
            let two = t.process("two", two, pass);
            t.consume("end", [one, two], counting(&seen));
            let begin = allocations::count();
            complete(t, &seen, messages);
            allocations::count() - begin
        };
        let (once, more) = (run(1_000_000), run(5_000_000));
        let per_message = more.saturating_sub(once) as f64 / 4e6;
        println!("  {what:<42} {per_message:>8.6}");
    }
}

fn idle() {
    println!("\nidle stages: consumers behind a router, started and waiting");
    let begin_bytes = resident_bytes();
    let begin = Instant::now();
    let count = 100_000;
    let mut t = new("idle");
    let source = t.input::<Order>("source");
    let ports = t.route_to("router", source, count, by_key());
    for (way, port) in ports.into_iter().enumerate() {
        t.consume(&format!("end{way}"), port, |_: &Order| ());
    }
    let mut running = t.start().expect("it starts");
    let sender = running.take_input::<Order>("source").expect("an input");
    let started = begin.elapsed();
    // One message shows that all of them run.
    sender
        .blocking_send(orders(1).next().expect("an order"))
        .expect("a receiver");
    while running.ledger().total().delivered < 2 {
        std::thread::yield_now();
    }
    let bytes = resident_bytes().saturating_sub(begin_bytes);
    println!(
        "  {count} stages: {} bytes each, {} MiB in all, started in {:.2} s",
        bytes / count as u64,
        bytes >> 20,
        started.as_secs_f64()
    );
    drop(sender);
    running.wait_blocking().expect("it ends well");
}

/// What the process has in memory, as Linux counts it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kibibytes.unwrap_or(0_u64) * 1024
}
