//! The bank case: payments, two versions of a risk rule, totals per account.
//!
//! * [`risk`]: versions one and two of the risk rule;
//! * [`totals`]: what the aggregator keeps;
//! * [`stages`]: source, risk processors and aggregator in the roles of a topology;
//! * [`run`](mod@run): the three nodes, and a run from its first payment to its ledger;
//! * [`picture`]: the live picture as a Model-Controller-Presenter triad;
//! * [`report`]: the summary and the JSON object at the end.

pub mod picture;
pub mod report;
pub mod risk;
pub mod run;
pub mod stages;
pub mod totals;
