//! Rules that the compiler does not know, kept by reading the sources.
//!
//! Invariants: a rule reads code, never comments or strings; it says the place and the reason; and for each rule a
//! planted line shows that it can fail.
//!
//! - [`source`]: the files, without comments and strings
//! - [`rules`]: the rules, each with its reason

pub mod rules;
pub mod source;

#[cfg(test)]
mod tests;
