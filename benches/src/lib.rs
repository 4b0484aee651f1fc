//! What the benches share.
//!
//! Each bench measures one part of the product and, in the same run, the plain crates that a user would reach for
//! otherwise. `README.md` says what each figure means and what it leaves out.

pub mod clock;
pub mod failed;
pub mod message;
pub mod process;
pub mod series;
