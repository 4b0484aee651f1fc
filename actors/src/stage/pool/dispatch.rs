//! Hands messages out to workers.

use std::marker::PhantomData;

use crate::message::{Envelope, Message, Outcome};
use crate::stage::{Context, Input, Out, Shared, Stage};

/// Passes each message on to the first worker that has room.
pub(crate) struct DispatchStage<I> {
    numbered: bool,
    input: PhantomData<fn(I)>,
}

impl<I> DispatchStage<I> {
    /// With `numbered` messages get numbers that follow each other, as their sequence; otherwise they pass as they are.
    pub(crate) fn new(numbered: bool) -> Self {
        Self {
            numbered,
            input: PhantomData,
        }
    }
}

impl<I: Message> Stage for DispatchStage<I> {
    type Input = I;
    type Outputs = Shared<I>;
    const EMITS_LAST: bool = true;

    fn handle(&mut self, input: Input<'_, I>, mut out: Out<'_, I>, _: &mut Context<'_>) -> Outcome {
        if self.numbered {
            let header = input.header().clone();
            let body = input.take();
            out.emit_envelope(Envelope { header, body });
        } else {
            out.forward(input);
        }
        Outcome::Done
    }
}
