//! An actor-based message router: typed topologies on threads or nodes, with backpressure from end to end and a
//! ledger for every message.
//!
//! - [`routing`]: subjects, patterns, the subject table, routes
//! - [`policy`]: which destination takes a message
//! - [`interest`]: who in the mesh wants what, and over which neighbour
//! - [`protocol`]: what peers say to each other on top of a session
//! - [`node`]: the router node

pub mod interest;
pub mod node;
pub mod policy;
pub mod protocol;
pub mod routing;
