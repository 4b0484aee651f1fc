//! What a branch that has stalled costs its siblings: with a flow of its own, or behind a router with a policy that does not
//! wait.
//!
//! A plain program. Each round runs every case with the branch healthy and with the branch stalled, one right after the
//! other; figures are medians over the rounds of the sibling's messages per second of wall time and of CPU time, stalled
//! divided by healthy. There is no policy that spills yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcpbus_actors::channel::{Capacity, Overflow};
use mcpbus_actors::topology::{Placement, Topology};
use mcpbus_benches::clock::Clock;
use mcpbus_benches::message::{Order, orders};
use mcpbus_benches::series::Series;

const ROUNDS: usize = 11;

/// Messages of the sibling in one run.
const MESSAGES: u64 = 2_000_000;

#[derive(Clone, Copy, Debug)]
enum Branch {
    /// It has a producer of its own.
    OwnFlow,
    /// It is one of two ways of a router.
    Way(Overflow),
}

const BRANCHES: [Branch; 4] = [
    Branch::OwnFlow,
    Branch::Way(Overflow::DropNewest),
    Branch::Way(Overflow::DropOldest),
    Branch::Way(Overflow::Fail),
];

fn main() {
    // `cargo test` and `cargo bench --no-run` ask for nothing.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    println!(
        "sibling's messages, branch stalled divided by branch healthy: median (range) of {ROUNDS} rounds\n"
    );
    println!("{:<44} {:>22} {:>22}", "", "per second", "per CPU second");
    for placement in [Placement::OneThread, Placement::Threads] {
        for branch in BRANCHES {
            let mut figures: [[Series; 2]; 2] = Default::default();
            for round in 0..ROUNDS {
                // Who begins changes, so that drift of the machine favours nobody.
                for turn in 0..2 {
                    let stalled = (turn + round) % 2;
                    let times = run(placement, branch, stalled == 1);
                    for (series, time) in figures[stalled].iter_mut().zip(times) {
                        series.push(MESSAGES as f64 / time.as_secs_f64());
                    }
                }
            }
            let [healthy, stalled] = &figures;
            let ratio = |which: usize| {
                let ratio = stalled[which].ratio_to(&healthy[which]);
                let (low, high) = (ratio.lowest(), ratio.highest());
                format!("{:.2} ({low:.2} to {high:.2})", ratio.median())
            };
            let what = format!("{placement:?}, {branch:?}");
            println!("{what:<44} {:>22} {:>22}", ratio(0), ratio(1));
        }
    }
}

/// Wall time and CPU time until the sibling has got everything.
fn run(placement: Placement, branch: Branch, stalled: bool) -> [Duration; 2] {
    let seen = Arc::new(AtomicU64::new(0));
    let mut t = Topology::new("stalled");
    t.placement(placement)
        .default_capacity(Capacity::messages(1024));
    let (sibling, other) = match branch {
        Branch::OwnFlow => {
            let sibling = t.produce_iter("source", orders(MESSAGES));
            // Endless: a healthy one is there all the time.
            (sibling, t.produce_iter("other source", orders(u64::MAX)))
        }
        Branch::Way(overflow) => {
            let source = t.produce_iter("source", orders(2 * MESSAGES));
            let [sibling, other] =
                t.route("router", source, |order: &Order| order.account % 2 == 1);
            (sibling, other.overflow(overflow))
        }
    };
    let count = Arc::clone(&seen);
    t.consume("sibling", sibling, move |_: &Order| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    if stalled {
        t.output("other", other);
    } else {
        t.consume("other", other, |_: &Order| ());
    }
    let begin = [Clock::Wall, Clock::Cpu].map(Clock::now);
    let mut running = t.start().expect("it starts");
    let unread = stalled.then(|| running.take_output::<Order>("other").expect("an output"));
    // Now and then: a busy look would take CPU time.
    while seen.load(Ordering::Relaxed) < MESSAGES {
        std::thread::park_timeout(Duration::from_micros(200));
    }
    let end = [Clock::Wall, Clock::Cpu].map(Clock::now);
    drop(unread);
    let report = running.stop_blocking().expect("it ends well");
    assert_eq!(report.ledger.residual(), 0);
    [end[0] - begin[0], end[1] - begin[1]]
}
