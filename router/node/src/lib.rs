//! What stands behind the command `mcpbus`: the node file, the built-in stages, the demo and the command line.
//!
//! * [`config`]: from the text of a node file to a verified value, with every mistake shown where it stands;
//! * [`check`]: the topology as text or as a diagram, and its memory bound;
//! * [`record`] and [`template`]: what built-in stages hand to each other, and texts with placeholders;
//! * [`stages`] and [`exec`]: the built-in stages as plain logic, and child processes as stages;
//! * [`run`](mod@run): a node file brought to life;
//! * [`payments`]: the bank's payments, from its file or from a seed;
//! * [`demo`]: the bank case; [`bench`](mod@bench): measurements;
//! * [`cli`]: the commands.

pub mod bench;
pub mod check;
pub mod cli;
pub mod config;
pub mod demo;
pub mod exec;
pub mod payments;
pub mod record;
pub mod run;
pub mod stages;
pub mod template;
