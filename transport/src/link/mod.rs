//! Links: how bytes get from one process to another.
//!
//! A link joins two peers that know each other's names and carries up to 64 lanes in each direction. A lane is an
//! ordered, reliable stream of bytes with a bound on what is under way. What the bytes mean is the session's matter.
//!
//! Invariants of this room:
//! * [`contract`] says what every link promises, in words and as tests that run against each of them.
//! * Lanes are independent: one that nobody reads holds up its own writer and no other.
//! * Everything that waits is cancel safe, unless its documentation says otherwise.
//!
//! | file | subject |
//! | --- | --- |
//! | `contract.rs` | [`Link`], [`LaneWriter`], [`LaneReader`], [`LinkError`], and the laws |
//! | `impairment/` | [`impairment`]: loss, delay and damage of datagrams by a seed, for tests |
//! | `memory.rs` | [`memory`]: two ends in one process, for local peers and simulation |
//! | `quic/` | [`quic`]: QUIC with mutual TLS |

pub mod contract;
pub mod impairment;
pub mod memory;
#[cfg(feature = "quic")]
pub mod quic;

pub use contract::{CloseCode, CutCause, LaneId, LaneReader, LaneWriter, Link, LinkError};
