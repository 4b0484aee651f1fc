//! The session between two peers, sans-IO: bytes in, bytes out, `now` as an argument.
//!
//! A session outlives the links that carry it. On it run *flows*: each an ordered, gapless sequence of
//! records in one direction, pinned to one data lane (`lane = 1 + flow mod lanes`). Sequence, ack, credit and
//! resume are kept per flow, all as absolute positions:
//!
//! ```text
//!   sender    ... | retained until received (or settled)  | queued | room |
//!   receiver  ... settled        received                            granted
//! ```
//!
//! Invariants:
//! - in flight <= granted - settled, in messages and in bytes; a peer that exceeds its grant is cut off;
//! - a grant never decreases; credit returns when the receiver no longer holds the message, so the sum of
//!   the windows bounds what a receiver holds;
//! - a failure is reported before the ack that covers it, on the same ordered lane;
//! - control frames are written before signals, and neither waits for data;
//! - after a resumed link the sender goes on behind the last received record: nothing is lost or doubled;
//! - a peer that comes back in another life is noticed by its incarnation, and what it held is counted.

mod config;
mod core;
mod data;
mod error;
mod event;
mod flows;
mod greet;
mod incoming;
mod receive;
mod releases;
mod reset;
mod round_trip;
mod schedule;
mod send;
mod signal;
mod transmit;
mod window;

pub use config::{Local, MESSAGE_MAX, Peer, SessionConfig};
pub use core::{Session, SessionState};
pub use error::{ProtocolError, PushError, SignalError};
pub use event::{Event, Release, Releases};
pub use flows::Pushing;
pub use reset::Abandoned;
pub use window::Window;

#[cfg(test)]
mod tests;
