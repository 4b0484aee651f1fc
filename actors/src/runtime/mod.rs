//! What drives stages: one turn at a time, on tasks or on threads.
//!
//! A turn (sans-IO) takes a batch, lets the stage handle it, flushes the outputs and settles the inputs, and says what it
//! waits for; sources and merges have turns of their own. A driver runs turns and reads the stage's commands in between; a
//! group gives one driver or several their turns; a task or a thread runs the group.
//!
//! Invariants:
//! * a stage that waits for an output takes nothing more; its other outputs are flushed all the same;
//! * commands are read between batches and never queue behind data;
//! * a panic ends a turn, never a driver: the message in hand is accounted for, the rest of the batch goes on.

mod blocking;
mod books;
mod control;
mod driver;
mod group;
mod hand;
mod merge_turn;
mod runner;
mod source_turn;
mod stage_turn;
mod stint;
mod turn;

pub(crate) use blocking::BlockingRun;
pub use blocking::{Emitter, Stopped};
pub use control::StageStatus;
pub(crate) use control::{Command, Control};
pub(crate) use driver::{Driver, DriverEvents};
pub(crate) use group::Group;
pub(crate) use merge_turn::MergeTurn;
pub(crate) use runner::{run_on_thread, task};
pub(crate) use source_turn::SourceTurn;
pub(crate) use stage_turn::StageTurn;
pub(crate) use turn::{Turn, TurnEnvironment};
