//! Meshes of real nodes and clients over real QUIC, under virtual time: one seed draws topology, traffic, what the network
//! does to datagrams, and cuts.
//!
//! Everything that is accepted arrives once per subscriber, in order per key and unchanged, every ledger balances, and all of
//! it in bounded virtual time. A failing seed prints itself, the command that replays it, and where the log of each node's
//! frames lies, which [`replay`] plays into a fresh node without any network.
//!
//! - [`draw`]: what a seed comes to
//! - [`mesh`]: nodes, links and clients on one thread
//! - [`traffic`]: publishers, subscribers, what they sent and got
//! - [`verdict`]: what must be true at the end
//! - [`record`]: a node whose calls are written down
//! - [`log`]: the file of such calls
//! - [`replay`]: a log played into a fresh node
//! - `saturated`: links that are full of data, and what goes on the control lane beside it

mod draw;
mod log;
mod mesh;
mod record;
mod replay;
#[cfg(test)]
mod saturated;
#[cfg(test)]
mod tests;
mod traffic;
mod verdict;
