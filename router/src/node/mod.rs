//! A router node: sessions with clients and other nodes, and the switch between them.
//!
//! [`NodeCore`] is sans-IO: frames in, frames out, `now` as an argument; a whole mesh of them runs under a virtual
//! clock. A node's thread only carries it out.
//!
//! | file | subject |
//! | --- | --- |
//! | `core`, `touched` | the state, its times, the ledger; which links to ask again |
//! | `lifecycle`, `events` | links, sessions and peers; what sessions report |
//! | `subscribe` | subscriptions, and what the mesh tells of others' |
//! | `credit`, `flow`, `arrivals` | flows from peers, their windows, when their messages came |
//! | `growth`, `reclaim` | how far windows grow; what is taken back for those that wait |
//! | `decide`, `follow_route`, `ways` | from a subject to entries; routes of other nodes; from entries to flows |
//! | `destinations` | which destination of a route a policy chooses, their loads, copies for mirrors |
//! | `routes`, `route_state` | the routes, and how they change while messages flow; what is kept of one |
//! | `guarded`, `route_guards` | whether a message goes on; the guards of a route |
//! | `places`, `parking`, `parked` | messages that wait for room at a destination; what waits while others of its flow go on |
//! | `switch`, `alike` | hands messages on as far as credit reaches; those that go the same way together |
//! | `drain`, `outcome`, `take_back` | order when ways change; how messages end; what a gone peer left |
//! | `spool` | what is on the disk: durable subscriptions, what waits for them, dead letters |
//! | `disk` | the store on its thread |
//! | `overdue` | guards hear when a deadline passes at their destination |
//! | `requests` | requests that were handed on, and cancels that follow them |
//! | `owner` | the node on the bridge |
//! | `builder`, `handle`, `thread`, `links`, `quic_links` | how it is started, the user's handle, the thread that carries it out, its links |
//!
//! Invariants:
//! - a message that a peer handed over is held until every place it is for has taken it over; only then is its
//!   credit returned, so the credit budget bounds what the node holds;
//! - a flow whose front message cannot be handed on takes nothing more; other flows go on;
//! - a route is decided once, by the first node; between nodes a flow stands for a set of targets;
//! - what a peer's flow left behind keeps its order before what comes on the same flow in the peer's next life;
//! - the ledger's residual is 0 whenever the node is asked.

mod alike;
mod arrivals;
mod builder;
mod config;
mod core;
mod credit;
mod decide;
mod destinations;
mod disk;
mod drain;
mod events;
mod flow;
mod follow_route;
mod growth;
mod guarded;
mod handle;
mod heads;
mod ledger;
mod lifecycle;
mod links;
mod outcome;
mod overdue;
mod owner;
mod parked;
mod parking;
mod peer;
mod places;
#[cfg(feature = "quic")]
mod quic_links;
mod reclaim;
mod registry;
mod report;
mod requests;
mod route_guards;
mod route_state;
mod routes;
mod spool;
mod subscribe;
mod switch;
mod take_back;
mod telemetry;
mod thread;
mod touched;
mod ways;

pub use builder::{NodeBuilder, StartError};
pub use config::{NODE_OVERHEAD, NodeConfig, NodeLimits, REQUEST_OVERHEAD, SESSION_OVERHEAD};
pub use core::NodeCore;
pub use destinations::MIRROR_MEMORY;
pub use handle::Node;
pub use ledger::{FailureName, NodeLedger};
pub use parking::{PARKED_MEMORY, PARKED_MESSAGES};
pub use registry::{PeerEntry, PeerRegistry};
pub use report::{NodeReport, PeerReport, QueueReport, RouteReport, SpoolReport};
pub use routes::{REPLACED_ROUTES, RoutesChanged, SetRoutesError};
pub use spool::{DeadLetter, SPOOL_MEMORY, SpoolLedger};
