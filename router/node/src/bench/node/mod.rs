//! Load over a node, or over a single link: publisher, router and subscriber, each in a process of its own.
//!
//! The load is open where a rate is given: each message has its time, and its latency counts from that time, whether or not the
//! one before it was late. All processes read the machine's monotonic clock, so a time that one wrote is compared with
//! one that another reads; the processes of a run are therefore always on one machine, also where the node is not.
//!
//! | file | subject |
//! | --- | --- |
//! | [`plan`] | the settings of a run, when it is measured, and what each process is told first |
//! | [`run`](mod@run) | a run from its first process to what came of it |
//! | [`children`] | the processes, as the one that started them sees them |
//! | [`talk`] | what they say to each other |
//! | [`child`] | a process, as it sees itself: `router`, `subscriber`, `publisher`, `requester` |
//! | [`body`], [`arrivals`] | which message a body is; what was lost, doubled or reordered |
//! | [`meter`] | samples of what a process has done and what CPU time it took |
//! | [`report`], [`plot`] | the table, the JSON object and the picture |
//!
//! Invariants: what is measured is what users get, over the public client and the node as `mcpbus run` starts it; no
//! child outlives its parent; a figure that is not known is missing, and never 0.

pub mod arrivals;
pub mod body;
pub mod child;
pub mod children;
pub mod meter;
mod pace;
pub mod plan;
pub mod plot;
mod publisher;
pub mod report;
mod requester;
mod router;
pub mod run;
mod subscriber;
pub mod talk;
