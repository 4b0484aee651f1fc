//! A node file brought to life: a node with its links, and the file's stages as a topology between subscriptions and
//! publishers.
//!
//! * [`assemble`] makes a topology of the stages; inputs from the bus and outputs to it are its open ports;
//! * [`adapters`] let the plain logic of `stages` and `exec` play the roles that a topology knows;
//! * [`bus`] carries messages between the open ports and the node;
//! * [`running`] starts all of it, and ends it in order.

pub mod adapters;
pub mod assemble;
pub mod bus;
pub mod events;
pub mod exec_stage;
pub mod running;
pub mod write_stage;

pub use events::{Event, Events};
pub use running::{RunEnd, RunError, Started, start};

#[cfg(test)]
mod tests;
