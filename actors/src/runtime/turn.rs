//! What a turn is, whatever the stage's types are.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Context;

use crate::channel::{Closed, Waits};
use crate::message::Time;
use crate::stage::{DeadLetters, Outputs};

/// The most messages that leave an edge at once. More than a turn handles: a queue of up to this length is swapped into
/// the hand as a whole, which costs the same for one message as for all.
pub(crate) const MAX_TAKE: usize = 1024;

/// The most messages a turn handles, as many as the outputs that it collects before it flushes.
pub(crate) const MAX_BATCH: usize = crate::stage::MAX_BATCH;

/// What all turns of a topology share.
#[derive(Clone)]
pub(crate) struct TurnEnvironment {
    pub(crate) stage: Arc<str>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) max_deliver: u8,
}

/// What a turn waits for, or how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is more to do now.
    Again,
    /// Something was registered to wake it; at the latest look again at this time.
    Wait {
        /// The stage's next timer.
        until: Option<Time>,
    },
    /// The handler panicked with this text; the stage must be rebuilt before the next turn.
    Panicked(String),
    /// Everything was handled and sent.
    Finished,
    /// A receiver of its outputs is gone: it cannot go on.
    Cancelled,
}

/// One stage with its ends, as the driver sees it.
pub(crate) trait Turn: Send {
    /// Does what can be done now.
    fn turn(&mut self, now: Time, cx: &mut Context<'_>) -> Next;
    /// Builds the stage anew after a panic.
    fn rebuild(&mut self) -> Result<(), String>;
    /// A source gives nothing more; other stages end by themselves when their inputs end.
    fn drain(&mut self);
    /// Treats an empty inbox as the end: for stages in a cycle, whose inputs never end by themselves.
    fn finish_when_empty(&mut self);
    /// Gives everything up that is in hand, and lets go of all ends.
    fn cancel(&mut self);
    /// Registers what it waits for with a sleeping thread.
    fn register<'a>(&'a self, waits: &mut Waits<'a>);
    /// Inputs that ended here, outputs accepted by edges.
    fn totals(&self) -> (u64, u64);
}

/// Sends what the outputs hold, each as far as it goes; adds what edges accepted to `emitted`.
pub(crate) fn flush<P: Outputs>(
    ports: &mut P,
    cx: &mut Context<'_>,
    environment: &TurnEnvironment,
    emitted: &mut u64,
) -> Result<bool, Closed> {
    let mut result = Ok(true);
    if ports.pending() == 0 {
        return result;
    }
    ports.each_filled(&mut |outlet| {
        let before = outlet.emitted();
        let flushed = outlet.poll_flush(cx, &environment.stage, &environment.dead_letters);
        *emitted += outlet.emitted() - before;
        match (flushed, &mut result) {
            (Ok(finished), Ok(all)) => *all &= finished,
            (Err(Closed), result) => *result = Err(Closed),
            (Ok(_), Err(_)) => {}
        }
    });
    result
}

/// Runs `f`, catching a panic as text.
pub(crate) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    // The caller rebuilds or discards what `f` was changing when it panicked.
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| panic_text(&*payload))
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}
