//! Tests that need more than one crate: the simulation of whole meshes, and the house rules.
//!
//! - [`simulation`]: nodes, links and clients under a virtual clock and one seed

pub mod simulation;
