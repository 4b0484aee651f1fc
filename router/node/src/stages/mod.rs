//! Built-in stages as plain logic: records in, records out, `now` as an argument.
//!
//! Nothing here knows channels, tasks or sockets; [`contract`] holds the trait that the wiring drives. Sources and
//! sinks ([`lines`], [`write`](mod@write)) read and write files, and `exec` (its own room) talks to a child process: these three block and
//! belong on their own threads.

pub mod aggregate;
pub mod condition;
pub mod contract;
pub mod delimited;
pub mod event_time;
pub mod filter;
pub mod lines;
pub mod parse;
pub mod project;
pub mod write;

pub use contract::{RecordStage, Refusal, RefusalReason, Taken};

#[cfg(test)]
mod tests;
