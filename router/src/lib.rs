//! Placeholder.

pub mod interest;
pub mod policy;
pub mod routing;
