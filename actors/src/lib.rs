//! Typed actors over bounded channels.
//!
//! Messages ([`message`]) move over bounded channels ([`channel`]) between stages ([`stage`]) that a
//! [`topology`] wires together, a [`runtime`] drives and a [`supervisor`] watches; [`mcp`] holds the
//! Model-Controller-Presenter roles.
//!
//! Invariants of the whole crate:
//! * a message has exactly one owner, and ends in exactly one outcome, counted on its edge;
//! * there is no queue without a bound in messages and in bytes;
//! * decisions are sans-IO and get `now` as an argument; tasks, threads and clocks only carry them out;
//! * a value is moved, never encoded: this crate knows no bytes, sockets or subjects.

// Lets `#[derive(Message)]` be used inside this crate, where paths start at its own name.
#[allow(unused_extern_crates)]
extern crate self as mcpbus_actors;

pub mod channel;
pub mod mcp;
pub mod message;
pub mod runtime;
pub mod stage;
pub mod supervisor;
mod sync;
mod telemetry;
pub mod topology;

pub use mcpbus_actors_derive::Message;
pub use message::{
    Batch, Clock, EdgeCounts, EdgeLedger, Envelope, ErrorClass, Handling, Header, HeapSize,
    IntoOutcome, Key, Kind, Ledger, ManualClock, Message, Outcome, Reason, Rejection, Repeat,
    RetryClass, Severity, ShedReason, StageLedger, SystemClock, Time,
};
