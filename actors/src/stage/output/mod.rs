//! The outputs of a stage: each collects what a turn emits, and is flushed to its edge at the end of the turn.
//!
//! - `outlet`: one output, its batch, and when it is full
//! - `out`: where a handler writes
//! - `ways`: several outputs of one type, chosen by number
//! - `shared`: one output that several edges share, each message going to whichever takes it first
//! - `prompt`: one output that is sent after each message
//! - `alike`: which headers agree, told by a number

mod alike;
mod out;
mod outlet;
mod prompt;
mod shared;
mod ways;

use std::task::Context as TaskContext;

use super::DeadLetters;
use crate::channel::Closed;
pub use out::Out;
pub use outlet::Outlet;
pub use prompt::Prompt;
pub use shared::Shared;
pub use ways::{OutWays, Ways};

/// About the most outputs that a turn collects before it flushes.
pub(crate) const MAX_BATCH: usize = 512;

/// An output whose type does not matter: what the runtime sees.
pub trait AnyOutlet {
    /// How many outputs wait to be sent.
    fn pending(&self) -> usize;
    #[doc(hidden)]
    fn poll_flush(
        &mut self,
        cx: &mut TaskContext<'_>,
        stage: &str,
        dead_letters: &DeadLetters,
    ) -> Result<bool, Closed>;
    #[doc(hidden)]
    fn emitted(&self) -> u64;
    #[doc(hidden)]
    fn discard(&mut self) -> u64;
    #[doc(hidden)]
    fn register<'a>(&'a self, waits: &mut crate::channel::Waits<'a>);
}
