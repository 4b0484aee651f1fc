//! Function calls without any channel: what the work itself costs.

use std::hint::black_box;

use mcpbus_actors::Envelope;

use super::{Arrived, BY_HAND_BUSY, Candidate, Case, Failure, Family, Variant};
use crate::checksum::Checksum;
use crate::message::{Busy, Due, DueEnvelope, Item, Named, Order};

/// The rows of this family.
pub const ROWS: &[Candidate] = &[
    Candidate {
        name: "calls",
        family: Family::Calls,
        about: "function calls, no channel",
        messages: 50_000_000,
        variants: BY_HAND_BUSY,
        run: calls,
    },
    Candidate {
        name: "calls_envelope",
        family: Family::Calls,
        about: "function calls over mcpbus' envelope, deadline checked",
        messages: 30_000_000,
        variants: BY_HAND_BUSY,
        run: calls_envelope,
    },
];

/// The clock is read once for so many messages, as where they travel in batches.
const LOOK_EVERY: u64 = 256;

fn calls(case: &Case) -> Result<Arrived, Failure> {
    match case.variant {
        Variant::Order => Ok(run::<Order>(case.messages)),
        Variant::String => Ok(run::<Named>(case.messages)),
        Variant::Deadline => Ok(run::<Due<Order>>(case.messages)),
        Variant::Busy => Ok(run::<Busy>(case.messages)),
        Variant::Panic => Err(Failure::NotApplicable(case.variant)),
    }
}

fn calls_envelope(case: &Case) -> Result<Arrived, Failure> {
    match case.variant {
        Variant::Order => Ok(run::<Envelope<Order>>(case.messages)),
        Variant::String => Ok(run::<Envelope<Named>>(case.messages)),
        Variant::Deadline => Ok(run::<DueEnvelope<Order>>(case.messages)),
        Variant::Busy => Ok(run::<Envelope<Busy>>(case.messages)),
        Variant::Panic => Err(Failure::NotApplicable(case.variant)),
    }
}

fn run<T: Item>(messages: u64) -> Arrived {
    let mut checksum = Checksum::default();
    let mut now = T::now();
    for number in 0..messages {
        if number.is_multiple_of(LOOK_EVERY) {
            now = T::now();
        }
        // The compiler must not see through a call: each message is made, looked at and copied.
        let item = black_box(T::new(number));
        route(&item, now, &mut checksum);
    }
    checksum.into()
}

#[inline(always)]
fn route<T: Item>(item: &T, now: T::Now, checksum: &mut Checksum) {
    if item.is_late(now) {
        return;
    }
    match item.way() {
        0 => process(item, now, checksum),
        _ => process(item, now, checksum),
    }
}

#[inline(always)]
fn process<T: Item>(item: &T, now: T::Now, checksum: &mut Checksum) {
    if !item.is_late(now) {
        aggregate(&black_box(item.processed()), now, checksum);
    }
}

#[inline(always)]
fn aggregate<T: Item>(item: &T, now: T::Now, checksum: &mut Checksum) {
    if !item.is_late(now) {
        item.add_to(checksum);
    }
}
