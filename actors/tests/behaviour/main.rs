//! What stages may do and what happens to their messages.
//!
//! - [`outcomes`]: what becomes of a message: tried again, dead, expired, shed or refused
//! - [`panics`]: a stage that panics costs one message, and too many panics end the run
//! - [`leases`]: inputs that a stage holds beyond its handler
//! - [`ends`]: how a run ends and pauses: drained, stopped, paused, resumed, run dry, stuck
//! - [`merges`]: several sorted inputs as one
//! - [`pool_model`]: a pool gives what one worker gives
//! - [`pools`]: several workers for one stage
//! - [`timers`]: timers of stages
//! - [`windows`]: windows account for every message
//! - [`plans`]: what is said about a topology before it starts: its mistakes, its pictures, its bound
#![allow(clippy::unwrap_used)]

mod ends;
mod leases;
mod merges;
mod outcomes;
mod panics;
mod plans;
mod pool_model;
mod pools;
mod timers;
mod windows;

use std::sync::{Arc, Mutex};

use mcpbus_actors::topology::{Placement, Report};

const PLACEMENTS: [Placement; 3] = [Placement::OneThread, Placement::Tasks, Placement::Threads];

#[track_caller]
fn assert_at_rest(report: &Report) {
    assert_eq!(report.ledger.residual(), 0, "{report}");
    assert_eq!(report.ledger.total().held, 0, "{report}");
}

fn collector() -> (
    Arc<Mutex<Vec<u64>>>,
    impl FnMut(&u64) + Clone + Send + 'static,
) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    (seen, move |n: &u64| keep.lock().unwrap().push(*n))
}
