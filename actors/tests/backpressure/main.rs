//! What a sink that stalls does to those before it and beside it.
//!
//! - [`producers`]: they stop when what is between them and the sink is full, and not before
//! - [`siblings`]: a stalled branch with a flow of its own, or with another policy than to wait, costs the others nothing
//! - [`memory`]: the process stays within the memory bound that a plan prints
#![allow(clippy::unwrap_used)]

mod memory;
mod producers;
mod siblings;

use std::time::{Duration, Instant};

use mcpbus_actors::runtime::StageStatus;
use mcpbus_actors::topology::{Report, Running};

/// For how long nothing moves where everything stands.
const QUIET: Duration = Duration::from_millis(100);

/// Waits until all stages but `busy` wait and nothing has moved for many looks: then what they wait for is the sink.
fn wait_until_it_stands(running: &Running, busy: &str) -> Report {
    let mut before = Vec::new();
    let mut same = 0;
    let mut since = Instant::now();
    loop {
        let report = running.report();
        let mut stages = report.stages.iter().filter(|stage| stage.name != busy);
        let waiting = stages.all(|stage| stage.status == StageStatus::Waiting);
        let moved = report
            .stages
            .iter()
            .map(|stage| (stage.consumed, stage.emitted));
        let moved: Vec<_> = moved.collect();
        if waiting && moved == before {
            same += 1;
        } else {
            (same, since) = (0, Instant::now());
        }
        before = moved;
        // A stage that was woken and has not begun looks as if it waited: it is given the time to begin.
        if same >= 2_000 && since.elapsed() >= QUIET {
            return report;
        }
        std::thread::yield_now();
    }
}
