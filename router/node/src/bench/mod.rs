//! Measurements that a user can repeat on their own machine, without anything installed beside.
//!
//! * [`inproc`]: a topology inside one process: how many messages a second, at what CPU time, nothing lost;
//! * [`latency`]: how long a message takes through it at a fixed rate;
//! * [`report`]: their table and JSON object;
//! * [`node`]: load over a node or a single link, each part in a process of its own;
//! * [`clock`]: the clocks of all of them.
//!
//! Invariants: candidates take turns within one run, so that a machine that slows down slows all of them; what arrives is
//! counted and summed up; nothing in the engine knows that it is measured.

pub mod clock;
pub mod inproc;
pub mod latency;
pub mod node;
pub mod report;
