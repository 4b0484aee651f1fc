//! Impairment of datagrams by a seed: delay, jitter, loss, bursts of loss, reordering, duplicates, corruption, a limited
//! rate, and cuts. For tests and simulation; nothing here runs unless a constructor asks for it.
//!
//! [`Impairment`] decides, sans-IO: given the time and a datagram it says which copies arrive when. [`ImpairedPath`] also
//! holds what is under way. A path has one direction; two directions take two, each with its own seed.
//!
//! | file | subject |
//! | --- | --- |
//! | `config.rs` | [`ImpairmentConfig`]: what happens how often |
//! | `decide.rs` | [`Impairment`], [`ImpairmentCounts`] |
//! | `path.rs` | [`ImpairedPath`]: a decided direction with what is under way |
//! | `random.rs` | the source of chance |

mod config;
mod decide;
mod path;
mod random;
#[cfg(test)]
mod tests;

pub use config::{BurstLoss, ImpairmentConfig, ImpairmentConfigError, RateLimit};
pub use decide::{Impairment, ImpairmentCounts};
pub use path::{ImpairedPath, UNDER_WAY_BYTES};
