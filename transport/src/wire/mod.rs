//! The bytes between two peers: frames, their kinds, and the reader and writer of each.
//!
//! A *lane* is one ordered byte stream of a link. Each lane carries frames: a length, a kind, a payload
//! ([`frame`]). Lane 0 is the control lane and carries [`control`] frames only; the data lanes carry
//! [`batch`] frames, and [`large`] records in several. `docs/src/wire.md` describes every byte.
//!
//! Invariants:
//! - a length is compared with its limit before anything is allocated for it;
//! - a decoder never panics and never reads past its frame, whatever the peer sends;
//! - a batch frame can be read with nothing but the lane's table of heads, which both ends build from the
//!   same bytes and which starts empty on every new link.

pub mod batch;
mod class;
pub mod control;
pub mod cursor;
pub mod frame;
mod hello;
pub mod labels;
pub mod large;
pub mod record;

pub use batch::{BatchDecoder, BatchEncoder, BatchHeader};
pub use control::{Control, FlowAck, GoodbyeCode};
pub use cursor::{Cursor, WireError};
pub use frame::{FrameKind, FrameReader};
pub use hello::{Hello, Role};
pub use labels::{LabelError, Labels};
pub use record::{AckLevel, Extra, Failure, Head, ProducerId, Record, ReplyAddress};

/// The oldest wire version this build speaks.
pub const VERSION_MIN: u8 = 1;
/// The newest wire version this build speaks.
pub const VERSION_MAX: u8 = 1;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
