//! Supervision: what happens when a handler panics or does not come back.
//!
//! Decisions are sans-IO ([`Supervision`] with its [`RestartPolicy`]); actix carries them out: one supervisor actor per
//! running topology, on a system of its own that starts at first need. No actix type is visible outside of this module,
//! and data never enters a mailbox.

mod carrier;
mod policy;

pub(crate) use carrier::{Nudge, Supervised, supervise};
pub use policy::{Decision, RestartPolicy, Supervision};
