//! The command with real processes: what a shell sees of it.
//!
//! - [`basics`]: each command once, as a user meets it
//! - [`bench`]: load over nodes and links
//! - [`bank`]: the bank case on the real file, as three processes and as the demo
//! - [`slow_reader`]: a reader that stalls holds its publisher back, and nobody else
//! - [`durable`]: what is stored outlives processes, links and full disks
//! - [`killed`]: processes that are killed while messages are under way
//! - [`strangers`]: peers that may not connect, bytes that mean nothing, mistakes in files
//! - [`lines`]: what `pub` and stages make of lines that are no messages
//! - [`output`]: disks that are full, readers that go away, interruptions
//! - [`requests`]: requests, and children that die or hang
//! - [`routes`]: rules by label, mirrors, failover, policies by load
//! - [`rough`]: a network that loses, delays, doubles and damages datagrams, and cuts
//! - [`wait`]: waiting for what only shows when one looks
//!
//! Every process has its state in a folder of its test and takes a port from the system. Tests wait for what a process
//! says or prints, never for time to pass; a condition that does not come true within [`support::DEADLINE`] fails.

mod bank;
mod basics;
mod bench;
mod durable;
mod killed;
mod lines;
mod output;
mod requests;
mod rough;
mod routes;
mod slow_reader;
mod strangers;
mod support;
mod wait;
