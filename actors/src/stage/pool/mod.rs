//! The stages of a worker pool: one that hands messages out, the workers, and one that puts what they give together.
//!
//! * `dispatch`: each message goes to the first worker that has room for it
//! * `worker`: a processor whose outputs are sent after each message
//! * `part`: outputs with the number of their input, and the word that a message has ended without one
//! * `sequence`: puts them in the order of those numbers
//!
//! [`Topology::pool`](crate::topology::Topology::pool) wires them.

mod dispatch;
mod part;
mod sequence;
mod worker;

pub(crate) use dispatch::DispatchStage;
pub(crate) use sequence::Sequence;
pub(crate) use worker::{OrderedWorkerStage, WorkerStage};
