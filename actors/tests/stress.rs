//! Topologies under random pauses, panics, drains and stops, however placed and fused: whatever happens, the ledger has no
//! residual at the end, and what was neither rejected nor given up has arrived, in order per way.
//!
//! `MCPBUS_STRESS_RUNS` says how many (100 if nothing is said, `tests/soak engine` asks for more), `MCPBUS_SEED` with which
//! seed to begin; a failure names its seed.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::Out;
use mcpbus_actors::supervisor::RestartPolicy;
use mcpbus_actors::topology::{Fusion, Placement, Report, Running, Topology};
use mcpbus_actors::{Message, Outcome, Reason};

/// Messages of one run: enough for some hundred batches.
const MESSAGES: u64 = 30_000;

#[derive(Clone, Debug, Message)]
struct Item {
    #[message(key)]
    number: u64,
    text: String,
}

/// xorshift64: any spread will do, and a seed gives the same run again, as far as threads allow.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// What arrived, by way.
type Seen = Arc<[Mutex<Vec<u64>>; 2]>;

struct Case {
    topology: Topology,
    seen: Seen,
    /// Every so many-th message panics, and every so many-th is rejected.
    panics: u64,
    rejects: u64,
}

fn case(random: &mut Random) -> Case {
    let panics = 2_000 + random.below(20_000);
    let rejects = 3 + random.below(50);
    let capacity = [1, 3, 64, 1024][random.below(4) as usize];
    let messages = if capacity < 64 {
        MESSAGES / 10
    } else {
        MESSAGES
    };
    let mut t = Topology::new("stress");
    t.placement(
        [Placement::OneThread, Placement::Tasks, Placement::Threads][random.below(3) as usize],
    )
    .fusion([Fusion::Automatic, Fusion::Asked][random.below(2) as usize])
    .default_capacity(Capacity::messages(capacity))
    .restart_policy(RestartPolicy {
        max_restarts: u32::MAX,
        max_pause: Duration::from_millis(1),
        ..RestartPolicy::default()
    });
    let items = (0..messages).map(|number| Item {
        number,
        text: "x".repeat((number % 7) as usize),
    });
    let source = t.produce_iter("source", items);
    let ways: [_; 2] = t.route("parity", source, |item: &Item| item.number % 2 == 1);
    let seen: Seen = Arc::default();
    for (way, mut port) in ways.into_iter().enumerate() {
        if random.one_in(2) {
            port = port.fused();
        }
        let handled = t.process(
            &format!("work{way}"),
            port,
            move |item: &Item, out: &mut Out<'_, Item>| {
                out.emit(item.clone());
                assert!(item.number % panics != panics - 1, "planted");
                if item.number.is_multiple_of(rejects) {
                    return Outcome::reject(Reason::Rejected);
                }
                Outcome::Done
            },
        );
        if random.one_in(4) {
            t.on_thread(&format!("work{way}"));
        }
        let seen = Arc::clone(&seen);
        t.consume(&format!("end{way}"), handled, move |item: &Item| {
            assert_eq!(item.text.len() as u64, item.number % 7);
            seen[way].lock().unwrap().push(item.number);
        });
    }
    Case {
        topology: t,
        seen,
        panics,
        rejects,
    }
}

/// Pauses, goes on, looks, and perhaps ends it early; whether everything should have arrived.
fn meddle(running: &mut Running, random: &mut Random, seen: &Seen) -> (Report, bool) {
    // Somewhere in the middle, so that hands and queues are full.
    let enough = random.below(MESSAGES / 4) as usize;
    let arrived = || {
        seen.iter()
            .map(|seen| seen.lock().unwrap().len())
            .sum::<usize>()
    };
    while arrived() < enough && !running.is_over() {
        std::thread::yield_now();
    }
    for _ in 0..random.below(6) {
        for _ in 0..random.below(2_000) {
            std::hint::spin_loop();
        }
        match random.below(3) {
            0 => running.pause(),
            1 => running.resume(),
            _ => drop(running.report()),
        }
    }
    running.resume();
    match random.below(4) {
        0 => (running.drain_blocking().unwrap(), false),
        1 => (running.stop_blocking().unwrap(), false),
        _ => (running.wait_blocking().unwrap(), true),
    }
}

fn run(seed: u64, runtime: &tokio::runtime::Runtime) {
    let mut random = Random::new(seed);
    let Case {
        topology,
        seen,
        panics,
        rejects,
    } = case(&mut random);
    let mut running = {
        let _inside = runtime.enter();
        topology.start().unwrap()
    };
    let (report, whole) = meddle(&mut running, &mut random, &seen);
    let total = report.ledger.total();
    assert_eq!(report.ledger.residual(), 0, "seed {seed}\n{report}");
    assert_eq!(total.held, 0, "seed {seed}\n{report}");
    let source = report.stage("source").unwrap().emitted;
    for (way, seen) in seen.iter().enumerate() {
        let seen = seen.lock().unwrap();
        assert!(
            seen.windows(2).all(|pair| pair[0] < pair[1]),
            "seed {seed}: way {way} is out of order"
        );
        let fine = |number: &u64| number % panics != panics - 1 && !number.is_multiple_of(rejects);
        assert!(
            seen.iter().all(fine),
            "seed {seed}: an attempt's output stayed"
        );
        if whole {
            let expected = (0..source).filter(|number| number % 2 == way as u64);
            let expected = expected.filter(fine).count();
            assert_eq!(seen.len(), expected, "seed {seed}\n{report}");
        }
    }
}

#[test]
fn whatever_happens_the_ledger_balances() {
    let number = |name: &str, otherwise: u64| {
        let value = std::env::var(name).ok();
        value.map_or(otherwise, |value| value.parse().unwrap())
    };
    let (first, runs) = (number("MCPBUS_SEED", 1), number("MCPBUS_STRESS_RUNS", 100));
    // Planted panics would fill the screen.
    std::panic::set_hook(Box::new(|panic| {
        let planted = panic.payload().downcast_ref::<&str>() == Some(&"planted");
        if !planted {
            eprintln!("{panic}");
        }
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()
        .unwrap();
    let done = AtomicU64::new(0);
    for seed in first..first + runs {
        run(seed, &runtime);
        done.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(done.into_inner(), runs);
}
