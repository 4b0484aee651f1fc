//! What is printed of the results.
//!
//! * [`tables`]: the tables with their medians, ranges and ratios, as text cells;
//! * [`goals`]: the ratios that the engine is built for;
//! * [`text`]: for a terminal;
//! * [`markdown`]: for a page, between two marks on it.

pub mod goals;
pub mod markdown;
pub mod tables;
pub mod text;
