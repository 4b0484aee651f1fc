//! Carries out what sessions decide: moves bytes between links and the [`Owner`] of sessions, and calls it when
//! its time has come.
//!
//! Everything runs on one current-thread runtime: a [`Hub`] holds the owner, and one task per link polls the
//! link's lanes. Invariants:
//! - the reader of a lane awaits its lane only; what it hands in is handled by a plain function;
//! - each lane has its own writer, so the control lane never waits for data;
//! - bytes are produced when a lane can take them: nothing queues between session and link but one write.

mod hub;
mod link;
mod owner;

pub use hub::Hub;
pub use owner::{LinkHandle, Owner};
