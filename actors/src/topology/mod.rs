//! Topologies: stages wired by typed ports, checked before they start, placed on one thread, tasks or threads.
//!
//! * [`Topology`] is the builder; its ports are used once each, so wrong wiring does not compile.
//! * [`Plan`] is the topology as data: text, Mermaid, Graphviz, JSON, memory bound.
//! * [`Workers`] says how many workers a pool has, and in which order their outputs come.
//! * [`Running`] is a started topology: drain, stop, pause, report, ledger.
//! * [`Topology::start_part`] starts some of its stages and gives out the [`Boundary`] edges, for placing the rest elsewhere.
//!
//! Invariants:
//! * the same topology gives the same outputs and the same ledger wherever its stages run;
//! * a drain goes from producers to consumers and ends with nothing held and residual 0;
//! * outcomes and ledger do not depend on which stages are fused;
//! * the ledgers of the parts of a topology merge to the ledger of the whole.

mod bound;
mod builder;
mod check;
mod fusion;
mod merge;
mod part;
mod plan;
mod planning;
mod pool;
mod port;
mod report;
mod running;
mod settings;
mod shared;
mod start;
mod wiring;

pub use crate::stage::Port;
pub use bound::EdgeBound;
pub use builder::Topology;
pub use check::CheckError;
pub use fusion::Fusion;
pub use plan::{EdgePlan, End, Placement, Plan, Role, StagePlan};
pub use pool::{PoolOrder, Workers};
pub use port::{Feedback, IntoPorts, Ports};
pub use report::{EdgeReport, Report, StageReport};
pub use running::{Observer, RunError, Running};
pub use start::StartError;
pub use wiring::{Boundary, Direction};
