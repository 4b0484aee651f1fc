//! Merges: several inputs, of which the next message to pass is chosen by what stands at their fronts.
//!
//! * `contract`: what a merge decides, and when (sans-IO)
//! * `sorted`: inputs that are sorted, into one output that is
//!
//! Invariants:
//! * an input is read no further than what stands at its front and what was taken with it: the rest waits in its edge;
//! * a merge chooses among fronts only, and every front passes, is refused with a reason, or expires.

mod contract;
mod sorted;

pub(crate) use contract::{Choice, Front, Merger};
pub(crate) use sorted::SortedMerger;
pub use sorted::{EventTime, Rank, SortedMerge, by_event_time, sorted_by};
