//! mcpbus: an open input that the timekeeper sends into.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::topology::{Fusion, Placement, Topology};

use super::{Candidate, Pace, Recorder};
use crate::candidates::Failure;
use crate::candidates::mcpbus_stages::processed_between;
use crate::message::{CAPACITY, Order};

pub(super) const ROWS: &[Candidate] = &[
    Candidate {
        name: "turns",
        about: "mcpbus on one thread, each stage in turns of its own",
        run: |pace| run(pace, Placement::OneThread, Fusion::Asked),
    },
    Candidate {
        name: "fused",
        about: "mcpbus on one thread, neighbours fused",
        run: |pace| run(pace, Placement::OneThread, Fusion::Automatic),
    },
    Candidate {
        name: "threads",
        about: "mcpbus, a thread per stage",
        run: |pace| run(pace, Placement::Threads, Fusion::Asked),
    },
];

fn run(pace: &Pace, placement: Placement, fusion: Fusion) -> Result<Recorder, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::Topology(error.to_string());
    let mut t = Topology::new("orders");
    t.default_capacity(Capacity::messages(CAPACITY))
        .placement(placement)
        .fusion(fusion);
    let source = t.input::<Order>("source");
    let processed = processed_between(&mut t, source);
    let begin = Instant::now();
    let recorder = Arc::new(Mutex::new(Recorder::new(begin)));
    let seen = Arc::clone(&recorder);
    t.consume("end", processed, move |order: &Order| {
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(order);
    });
    let mut running = t.start().map_err(|error| failed(&error))?;
    let sender = running
        .take_input::<Order>("source")
        .ok_or_else(|| Failure::Topology("it has no input".to_owned()))?;
    pace.keep(begin, |order| sender.blocking_send(order).is_ok());
    drop(sender);
    running.wait_blocking().map_err(|error| failed(&error))?;
    let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::replace(&mut *recorder, Recorder::new(begin)))
}
