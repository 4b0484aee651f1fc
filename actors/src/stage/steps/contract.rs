//! What a step is.

use crate::message::Rejection;

/// One step of a stage: takes values, and emits any number of values for each.
///
/// It must not keep what it is given beyond its own state: there is no lease, no timer and no second attempt. Where those are
/// needed, write a [`Processor`](crate::stage::Processor).
pub trait Step<I>: Send + 'static {
    /// What it emits.
    type Output;

    /// Takes one value.
    ///
    /// # Errors
    /// The [`Rejection`] of this step, or of one that comes after it: the message that caused the value becomes a dead
    /// letter. What it emitted so far is taken back; its state is not, so reject before changing it.
    fn step(&mut self, input: I, out: &mut impl Emit<Self::Output>) -> Result<(), Rejection>;

    /// Nothing will come any more: emit what is left.
    ///
    /// # Errors
    /// As [`Step::step`]. There is no message left that could become a dead letter, so the stage panics with the text, which
    /// its supervisor reports.
    fn finish(&mut self, out: &mut impl Emit<Self::Output>) -> Result<(), Rejection> {
        let _ = out;
        Ok(())
    }
}

/// Where a step emits to: the next step, or the output of the stage.
pub trait Emit<T> {
    /// Gives a value on. When it returns, the next step has handled it.
    ///
    /// # Errors
    /// The [`Rejection`] of a later step: pass it on with `?`.
    fn emit(&mut self, value: T) -> Result<(), Rejection>;
}
