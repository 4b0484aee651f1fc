//! A whole mesh under a virtual clock: real nodes and sessions, simulated links and clients, one seed.
//!
//! Invariants of the simulation:
//! - one clock and one source of chance; events happen in the order of (time, number); nothing asks the machine for
//!   time, threads or randomness, so that a seed is a run;
//! - nodes are [`NodeCore`](mcpbus::node::NodeCore)s, driven exactly as the bridge drives them; clients are a second
//!   implementation of the client's side, so that both ends cannot share one mistake;
//! - lanes are ordered and independent of each other; a cut may fall on any byte and be noticed by the two ends at
//!   different times, or by the heartbeat only.
//!
//! - [`random`]: the source of chance
//! - [`pipe`]: one lane, one direction
//! - [`world`] and `faults`: events, links, cuts, crashes; checks every node's ledger after every event
//! - [`script`], [`client`] and `consumer`: what a client is to do, and a client
//! - [`scenario`]: what a seed comes to: nodes, clients, faults
//! - [`verdict`]: what must be true at the end
//! - [`isolation`]: a stalled subscription beside one that is not
//! - [`canary`]: a new version that fails gets nothing any more
//! - [`limited`]: a route whose limit lets messages wait
//! - [`keyed`]: a limit per key that lets messages wait, and not those of other keys
//! - [`waiting`]: a bulkhead with a queue before a slow consumer
//! - [`scarce`]: a budget of credit for fewer messages than there are flows
//! - `planted`: mistakes on purpose, each of which must be seen
//! - [`run`]: one seed, many seeds, and the command that replays one

pub mod canary;
pub mod client;
mod consumer;
mod faults;
pub mod isolation;
pub mod keyed;
pub mod limited;
pub mod pipe;
#[cfg(all(test, feature = "planted-faults"))]
mod planted;
pub mod random;
pub mod run;
pub mod scarce;
pub mod scenario;
pub mod script;
pub mod shapes;
pub mod stores;
pub mod verdict;
pub mod waiting;
pub mod world;

#[cfg(test)]
mod tests;
