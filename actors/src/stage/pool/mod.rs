//! The stages of a worker pool: one that hands messages out, the workers, and one that puts what they give together.
//!
//! * `dispatch`: each message goes to the first worker that has room for it
//! * `worker`: a processor whose outputs are sent after each message
//!
//! [`Topology::pool`](crate::topology::Topology::pool) wires them.

mod dispatch;
mod worker;

pub(crate) use dispatch::DispatchStage;
pub(crate) use worker::WorkerStage;
