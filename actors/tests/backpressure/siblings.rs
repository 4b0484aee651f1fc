//! A stalled branch with a flow of its own, or with another policy than to wait, costs its siblings nothing: they get
//! everything while it stands. How fast they are beside it is measured by the bench `stalled`.
//!
//! There is no policy that spills to disk yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcpbus_actors::channel::{Capacity, Overflow};
use mcpbus_actors::topology::{Placement, Running, Topology};
use mcpbus_actors::{Reason, ShedReason};

const MESSAGES: u64 = 20_000;
const CAPACITY: usize = 64;

fn new(placement: Placement) -> Topology {
    let mut t = Topology::new("siblings");
    t.placement(placement)
        .default_capacity(Capacity::messages(CAPACITY));
    t
}

/// Counts what arrives.
fn counting(seen: &Arc<AtomicU64>) -> impl FnMut(&u64) + Clone + Send + 'static {
    let seen = Arc::clone(seen);
    move |_: &u64| {
        seen.fetch_add(1, Ordering::SeqCst);
    }
}

fn wait_for(seen: &AtomicU64, expected: u64) {
    while seen.load(Ordering::SeqCst) < expected {
        std::thread::yield_now();
    }
}

/// Runs it on a runtime of its own.
fn started(t: Topology) -> (Running, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let running = {
        let _inside = runtime.enter();
        t.start().unwrap()
    };
    (running, runtime)
}

const PLACEMENTS: [Placement; 3] = [Placement::OneThread, Placement::Tasks, Placement::Threads];

#[test]
fn beside_a_stalled_branch_that_drops_or_fails_the_others_get_everything() {
    for placement in PLACEMENTS {
        for overflow in [Overflow::DropNewest, Overflow::DropOldest, Overflow::Fail] {
            let seen = Arc::new(AtomicU64::new(0));
            let mut t = new(placement);
            let source = t.produce_iter("source", 0..MESSAGES);
            let [stalled, one, two] = t.route("router", source, |n: &u64| (n % 3) as usize);
            t.output("stalled", stalled.overflow(overflow));
            t.consume("one", one, counting(&seen));
            t.consume("two", two, counting(&seen));
            let (mut running, _runtime) = started(t);
            let stalled = running.take_output::<u64>("stalled").unwrap();
            let others = (0..MESSAGES).filter(|n| n % 3 != 0).count() as u64;
            wait_for(&seen, others);
            let counts = running.ledger().edge("stalled").cloned().unwrap();
            assert_eq!((counts.delivered, counts.held), (0, CAPACITY as u64));
            assert_eq!(counts.accepted, MESSAGES - others);
            let lost = match overflow {
                Overflow::Fail => counts.dead.get(Reason::Quota),
                _ => counts.shed.get(ShedReason::Overflow),
            };
            assert_eq!(
                lost,
                counts.accepted - counts.held,
                "{placement:?} {overflow:?}"
            );
            drop(stalled);
            assert_eq!(running.wait_blocking().unwrap().ledger.residual(), 0);
        }
    }
}

#[test]
fn beside_a_stalled_branch_with_a_flow_of_its_own_the_others_get_everything() {
    for placement in PLACEMENTS {
        let seen = Arc::new(AtomicU64::new(0));
        let mut t = new(placement);
        let stalled = t.produce_iter("stalled source", 0..MESSAGES);
        t.output("stalled", stalled);
        let flows = ["one", "two"].map(|name| {
            let source = t.produce_iter(&format!("{name} source"), 0..MESSAGES);
            t.consume(name, source, counting(&seen));
        });
        let (mut running, _runtime) = started(t);
        let stalled = running.take_output::<u64>("stalled").unwrap();
        wait_for(&seen, MESSAGES * flows.len() as u64);
        let counts = running.ledger().edge("stalled").cloned().unwrap();
        assert_eq!((counts.accepted, counts.delivered), (CAPACITY as u64, 0));
        drop(stalled);
        assert_eq!(running.wait_blocking().unwrap().ledger.residual(), 0);
    }
}
