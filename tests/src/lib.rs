//! Tests that need more than one crate: the simulation of whole meshes, and the house rules.
//!
//! - [`simulation`]: nodes, links and clients under a virtual clock and one seed
//! - [`relay`]: UDP between real processes, impaired by a seed
//! - [`house_rules`]: doors, floors, circles and bounds, kept by reading the sources

pub mod house_rules;
pub mod relay;
pub mod simulation;
