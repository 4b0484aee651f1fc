//! Model, Controller, Presenter, View: roles for what people look at and act on.
//!
//! * A [`Model`] owns the state and is changed by commands only, from a bounded mailbox.
//! * A [`Controller`] turns events (keys, requests, signals) into commands.
//! * A [`Presenter`] turns a state into what is to be shown; a [`View`] shows it.
//! * A [`Triad`] wires them: commands over a bounded channel, states over a latest-value channel.
//!
//! Invariants:
//! * whoever asks gets the newest state at once, also while the model is busy with a command;
//! * a slow view misses states, never gets an older one after a newer, and gets the last one;
//! * no role knows another's type beyond the command, the state and the view model, so each can be replaced in a test.

mod role;
mod triad;

pub use role::{Controller, Model, Presenter, View};
pub use triad::{Triad, TriadError};
