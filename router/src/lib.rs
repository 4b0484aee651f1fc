//! An actor-based message router: typed topologies on threads or nodes, with backpressure from end to end and a
//! ledger for every message.
//!
//! - [`routing`]: subjects, patterns, the subject table, routes
//! - [`policy`]: which destination takes a message
//! - [`resilience`]: whether a message goes
//! - [`interest`]: who in the mesh wants what, and over which neighbour
//! - [`protocol`]: what peers say to each other on top of a session
//! - [`node`]: the router node
//! - [`placement`]: typed topologies over several nodes
//! - [`client`]: connect, publish, subscribe, request, reply

mod cancelled;
pub mod client;
mod dial;
pub mod interest;
pub mod node;
pub mod placement;
pub mod policy;
pub mod protocol;
mod random;
mod reactor;
pub mod resilience;
pub mod routing;

pub use bytes::Bytes;
pub use mcpbus_actors as actors;
pub use mcpbus_transport::codec;
pub use mcpbus_transport::identity;
pub use mcpbus_transport::session;
pub use mcpbus_transport::wire::{AckLevel, Failure, LabelError, Labels, ProducerId};
