//! One worker of a pool.

use std::marker::PhantomData;

use super::part::{OutParts, Parts};
use crate::message::{Message, Outcome, Reason, Rejection, Time};
use crate::stage::{Context, Input, Out, Outlet, Processor, Progress, Prompt, Stage};

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

/// As [`WorkerStage`], in an ordered pool: its outputs carry the number of their input.
pub(crate) struct OrderedWorkerStage<P, I, O: Message> {
    processor: P,
    /// What was emitted for the present input, until it is known to be done.
    emitted: Outlet<O>,
    input: PhantomData<fn(I)>,
}

impl<P, I, O: Message> OrderedWorkerStage<P, I, O> {
    pub(crate) fn new(processor: P) -> Self {
        Self {
            processor,
            emitted: Outlet::detached(),
            input: PhantomData,
        }
    }
}

impl<I: Message, O: Message, P: Processor<I, O>> Stage for OrderedWorkerStage<P, I, O> {
    type Input = I;
    type Outputs = Parts<O>;

    fn handle(
        &mut self,
        input: Input<'_, I>,
        mut out: OutParts<'_, O>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        let mut emitted = Out::new(&mut self.emitted, Some(input.header()));
        let outcome = match self.processor.process(input, &mut emitted, cx) {
            Outcome::Done => {
                out.finish(&mut self.emitted);
                return Outcome::Done;
            }
            Outcome::Defer => Outcome::Reject(Rejection::new(
                Reason::Rejected,
                "a worker of an ordered pool cannot hold messages: those behind them would wait",
            )),
            outcome => outcome,
        };
        self.emitted.take_pending();
        outcome
    }
    fn next_timeout(&self) -> Option<Time> {
        self.processor.next_timeout()
    }
    fn handle_timeout(&mut self, mut out: OutParts<'_, O>, cx: &mut Context<'_>) {
        let mut emitted = Out::new(&mut self.emitted, None);
        self.processor.handle_timeout(&mut emitted, cx);
        out.finish(&mut self.emitted);
    }
    fn finish(&mut self, mut out: OutParts<'_, O>, cx: &mut Context<'_>) -> Progress {
        let mut emitted = Out::new(&mut self.emitted, None);
        let progress = self.processor.finish(&mut emitted, cx);
        out.finish(&mut self.emitted);
        progress
    }
}
