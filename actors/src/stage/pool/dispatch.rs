//! Hands messages out to workers.

use std::marker::PhantomData;

use crate::message::{Message, Outcome};
use crate::stage::{Context, Input, Out, Shared, Stage};

/// Passes each message on to the first worker that has room.
pub(crate) struct DispatchStage<I>(PhantomData<fn(I)>);

impl<I> DispatchStage<I> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<I: Message> Stage for DispatchStage<I> {
    type Input = I;
    type Outputs = Shared<I>;
    const EMITS_LAST: bool = true;

    fn handle(&mut self, input: Input<'_, I>, mut out: Out<'_, I>, _: &mut Context<'_>) -> Outcome {
        out.forward(input);
        Outcome::Done
    }
}
