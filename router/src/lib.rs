//! Placeholder.

pub mod policy;
pub mod routing;
