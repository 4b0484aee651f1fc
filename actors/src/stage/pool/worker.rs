//! One worker of a pool.

use std::marker::PhantomData;

use crate::message::{Message, Outcome, Time};
use crate::stage::{Context, Input, Out, Processor, Progress, Prompt, Stage};

/// A processor whose outputs are sent after each message: the next one may take long.
pub(crate) struct WorkerStage<P, I, O>(P, PhantomData<fn(I) -> O>);

impl<P, I, O> WorkerStage<P, I, O> {
    pub(crate) fn new(processor: P) -> Self {
        Self(processor, PhantomData)
    }
}

impl<I: Message, O: Message, P: Processor<I, O>> Stage for WorkerStage<P, I, O> {
    type Input = I;
    type Outputs = Prompt<O>;

    fn handle(
        &mut self,
        input: Input<'_, I>,
        mut out: Out<'_, O>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        self.0.process(input, &mut out, cx)
    }
    fn next_timeout(&self) -> Option<Time> {
        self.0.next_timeout()
    }
    fn handle_timeout(&mut self, mut out: Out<'_, O>, cx: &mut Context<'_>) {
        self.0.handle_timeout(&mut out, cx);
    }
    fn finish(&mut self, mut out: Out<'_, O>, cx: &mut Context<'_>) -> Progress {
        self.0.finish(&mut out, cx)
    }
}
