//! One run of a candidate, and the rounds in which candidates take turns.
//!
//! * [`child`]: a run in a process of its own, so that one candidate's memory does not lie in another's way;
//! * [`rounds`]: every candidate once a round, in an order drawn for that round;
//! * [`machine`]: where it ran, and how busy it was;
//! * [`series`]: median and range.

pub mod child;
pub mod machine;
pub mod rounds;
pub mod series;

use std::time::Instant;

use crate::candidates::{Candidate, Case, Failure, Variant};
use crate::checksum::Checksum;
use crate::message::{Busy, Named, Order};
use child::Measured;

/// Runs a candidate in this process.
///
/// # Errors
/// [`Failure`]: there is no result.
pub fn run_here(candidate: &Candidate, case: &Case) -> Result<Measured, Failure> {
    if !candidate.variants.contains(&case.variant) {
        return Err(Failure::NotApplicable(case.variant));
    }
    let (begin, cpu) = (Instant::now(), machine::cpu_time());
    let arrived = (candidate.run)(case)?;
    let (wall, cpu) = (begin.elapsed(), machine::cpu_time().saturating_sub(cpu));
    let expected = expected(case);
    let dead = (0..case.messages)
        .filter(|number| case.panics_at(*number))
        .count() as u64;
    Ok(Measured {
        seconds: wall.as_secs_f64(),
        cpu_seconds: cpu.as_secs_f64(),
        dead_letters: arrived.dead_letters,
        // A message that was given up though nobody asked for it is missing in the checksum too.
        lost: arrived.checksum.lost(&expected)
            + arrived.dead_letters.abs_diff(dead)
            + arrived.residual,
    })
}

/// What should arrive: everything but that at which a processor panics.
fn expected(case: &Case) -> Checksum {
    let numbers = (0..case.messages).filter(|number| !case.panics_at(*number));
    match case.variant {
        Variant::String => Checksum::expected::<Named>(numbers),
        Variant::Order | Variant::Deadline | Variant::Panic => Checksum::expected::<Order>(numbers),
        Variant::Busy => Checksum::expected::<Busy>(numbers),
    }
}
