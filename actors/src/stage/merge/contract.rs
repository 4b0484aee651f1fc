//! What a merge decides.

use crate::message::{Envelope, Header, Message, Rejection, Time};
use crate::stage::Out;

/// What an input has at its front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// A message that may be chosen.
    Message,
    /// Nothing now.
    Empty,
    /// Nothing, and nothing will come any more.
    Ended,
}

/// What a merge does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The front of this input passes.
    Take(usize),
    /// Nothing passes until an input changes, or this point in time has come.
    Wait(Option<Time>),
}

/// Chooses which input's front passes next. It holds no messages, reads no clock and never waits.
///
/// Where no input is [`Front::Empty`] and some input has a message it must choose one, or nothing would ever pass.
pub(crate) trait Merger: Send + 'static {
    /// What it takes.
    type Input: Message;
    /// What it gives.
    type Output: Message;

    /// Whether a message whose deadline has passed ends at its front. Otherwise it is for whoever comes next to see.
    const DROPS_EXPIRED: bool;

    /// A message has come to the front of an input. When this panics, the message ends and nothing has changed.
    ///
    /// # Errors
    /// Why it may not pass: it becomes a dead letter, and the next one comes to the front.
    fn arrived(
        &mut self,
        input: usize,
        header: &Header,
        message: &Self::Input,
    ) -> Result<(), Rejection>;

    /// What to do, where inputs have these fronts.
    fn choose(&mut self, inputs: &[Front], now: Time) -> Choice;

    /// The front of this input has ended without passing.
    fn gone(&mut self, input: usize);

    /// Passes on what was chosen.
    fn pass(
        &mut self,
        input: usize,
        envelope: Envelope<Self::Input>,
        out: &mut Out<'_, Self::Output>,
    );
}
