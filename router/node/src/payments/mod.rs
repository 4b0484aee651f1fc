//! The bank's payments: what the demo sends, and what a stage of the kind `generator` makes.
//!
//! * [`payment`]: the typed message and how a row of the bank's file becomes one;
//! * [`generator`]: payments from a seed that look like the bank's.

pub mod generator;
pub mod payment;

pub use generator::{Generator, GeneratorSpec};
pub use payment::Payment;
