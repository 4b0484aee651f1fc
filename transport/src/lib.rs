//! Placeholder.

pub mod codec;
pub mod identity;
pub mod link;
