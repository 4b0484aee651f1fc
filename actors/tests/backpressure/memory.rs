//! A process whose sink has stalled holds what its plan says: no more, and not much less.
//!
//! Each case runs in a process of its own, this test program once more, because only there resident memory says what the
//! topology holds.

use std::process::Command;

use mcpbus_actors::Message;
use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::{DeadLetterLimits, Out};
use mcpbus_actors::topology::{Placement, Topology};

use crate::wait_until_it_stands;

/// What the process itself may take: code, tables, threads.
const PROCESS: u64 = 32 << 20;

/// A body that owns memory.
#[derive(Clone, Debug, Message)]
struct Body {
    number: u64,
    text: String,
}

/// What the process has in memory, as Linux counts it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().trim_end_matches("kB").trim();
    kibibytes.parse::<u64>().unwrap() * 1024
}

/// Fills a topology with a sink that takes nothing, and prints its bound and what is resident then.
#[test]
#[ignore = "a part of the tests below, which run it in a process of its own"]
fn fill() {
    let Ok(case) = std::env::var("MCPBUS_MEMORY_CASE") else {
        return;
    };
    let mut numbers = case
        .split(' ')
        .map(|number| number.parse::<usize>().unwrap());
    let mut next = || numbers.next().unwrap();
    let (placement, bytes, body) = (next(), next(), next());
    let mut t = Topology::new("memory");
    t.placement([Placement::OneThread, Placement::Threads][placement])
        .default_capacity(Capacity::messages(2 * bytes / body).bytes(bytes))
        .dead_letter_limits(DeadLetterLimits {
            bytes: 1 << 20,
            ..DeadLetterLimits::default()
        });
    let make = move |number| Body {
        number,
        text: "x".repeat(body),
    };
    let source = t.produce_iter("source", (0..).map(make));
    let pass = |body: &Body, out: &mut Out<'_, Body>| out.emit(body.clone());
    let passed = t.process("pass", source, pass);
    t.output("sink", passed);
    let bound = t.check().unwrap().memory_bound();
    let mut running = t.start().unwrap();
    let _sink = running.take_output::<Body>("sink").unwrap();
    wait_until_it_stands(&running, "");
    println!("bound {bound} resident {}", resident_bytes());
}

/// The bound and the resident bytes of one case.
fn measured(placement: usize, bytes: usize, body: usize) -> (u64, u64) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::fill", "--ignored", "--nocapture"])
        .env("MCPBUS_MEMORY_CASE", format!("{placement} {bytes} {body}"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let after = |word: &str| {
        let place = words.iter().position(|other| *other == word);
        place.and_then(|place| words[place + 1].parse().ok())
    };
    let both = after("bound").zip(after("resident"));
    both.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_stalled_process_holds_what_its_plan_says() {
    let mut wrong = Vec::new();
    for placement in 0..2 {
        for (bytes, body) in [(32 << 20, 4096), (120 << 20, 1024), (240 << 20, 20_000)] {
            let (bound, resident) = measured(placement, bytes, body);
            let allowed = bound + PROCESS;
            let ratio = resident as f64 / allowed as f64;
            let said = format!(
                "bodies of {body} bytes: resident {} MiB, bound {} MiB: {ratio:.2}",
                resident >> 20,
                bound >> 20
            );
            println!("{said}");
            if !(0.6..=1.25).contains(&ratio) {
                wrong.push(said);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
