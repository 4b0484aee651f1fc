//! What stands behind the command `mcpbus`: the node file, the built-in stages, the demo and the command line.
//!
//! * [`config`]: from the text of a node file to a verified value, with every mistake shown where it stands;
//! * [`record`] and [`template`]: what built-in stages hand to each other, and texts with placeholders;
//! * [`stages`]: the built-in stages as plain logic.

pub mod config;
pub mod record;
pub mod stages;
pub mod template;
