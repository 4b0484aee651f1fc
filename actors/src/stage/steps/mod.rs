//! Small steps composed into one stage when it is compiled: what costs an edge between stages costs a function call here.
//!
//! `a.then(b)` gives what `a` emits to `b`, value by value. The whole is a [`Processor`](super::Processor), so it goes wherever
//! one goes. Its first step gets a reference to the message; in [`owned`](super::owned) it gets the message itself.
//!
//! ```
//! use mcpbus_actors::stage::steps::{fold, map, split};
//! use mcpbus_actors::topology::Topology;
//!
//! let double = map(|n: &u64| n * 2);
//! let triple = map(|n: &u64| n * 3);
//! let sum = fold(0, |sum: &mut u64, n: u64| *sum += n);
//!
//! let mut t = Topology::new("hello");
//! let numbers = t.produce_iter("numbers", 1..=10u64);
//! let work = split(|n: &u64| n % 2 == 1, (double, triple)).then(sum);
//! let total = t.process("work", numbers, work);
//! t.consume("print", total, |sum: &u64| assert_eq!(*sum, 60 + 75));
//! t.run_blocking()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - `contract`: what a step is; write your own
//! - `values`: value in, values out: [`map`], [`filter`], [`filter_map`], [`flat_map`], [`try_map`]
//! - `split`: one of several branches for each value
//! - `fold`: everything into one value
//! - `compose`: one after the other, and the whole as a processor
//!
//! Invariants:
//! * the steps of a stage share one message's fate: if one rejects what became of it, the message is rejected, and what was
//!   emitted for it is taken back;
//! * nothing is kept between steps: what one emits, the next has handled when `emit` returns;
//! * what leaves the last step inherits from the message that caused it, as with any processor. Nothing between the steps
//!   is a message: it has no header, and the ledger counts what enters and what leaves.

mod compose;
mod contract;
mod fold;
mod split;
mod values;

pub use compose::{Steps, Then};
pub use contract::{Emit, Step};
pub use fold::{FoldStep, fold};
pub use split::{Branches, Split, split};
pub use values::{
    Filter, FilterMap, FlatMap, Map, TryMap, filter, filter_map, flat_map, map, try_map,
};

#[cfg(test)]
mod tests;
