//! One topology, written in every way that a user could choose, and measured in turns.
//!
//! * [`message`]: what is sent: 64 bytes with a key, with or without memory of its own;
//! * [`checksum`]: what arrived, so that a loss or a change shows;
//! * [`candidates`]: producer, router by key, two processors, aggregator: one file per family;
//! * [`latency`]: how long a message takes at a fixed rate;
//! * [`measure`]: one run in a process of its own, and the rounds in which candidates take turns;
//! * [`results`]: what is written down of a run;
//! * [`report`]: the tables, for a terminal and for a page.
//!
//! Invariants: candidates of a round run one after another in an order drawn for that round; each run has a process of its
//! own; every message is accounted for; mcpbus is used through the public names of `mcpbus-actors` only.

pub mod candidates;
pub mod checksum;
pub mod latency;
pub mod measure;
pub mod message;
pub mod report;
pub mod results;
