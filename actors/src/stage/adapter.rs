//! How each role becomes a stage.

use std::marker::PhantomData;

use super::{
    Aggregator, Consumer, Context, Input, Out, OutWays, Outlet, Processor, Producer, Progress,
    Route, Router, Source, Stage, Ways,
};
use crate::message::{IntoOutcome, Message, Outcome, Time};

/// The source under a producer.
pub struct ProducerSource<P, O>(pub(crate) P, pub(crate) PhantomData<fn() -> O>);

impl<O: Message, P: Producer<O>> Source for ProducerSource<P, O> {
    type Outputs = Outlet<O>;
    fn produce(&mut self, mut out: Out<'_, O>, cx: &mut Context<'_>) -> Progress {
        self.0.produce(&mut out, cx)
    }
}

/// The stage under a processor.
pub struct ProcessorStage<P, I, O>(pub(crate) P, pub(crate) PhantomData<fn(I) -> O>);

impl<I: Message, O: Message, P: Processor<I, O>> Stage for ProcessorStage<P, I, O> {
    type Input = I;
    type Outputs = Outlet<O>;
    #[inline(always)]
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

/// The stage under an aggregator.
pub struct AggregatorStage<A, I, O>(pub(crate) A, pub(crate) PhantomData<fn(I) -> O>);

impl<I: Message, O: Message, A: Aggregator<I, O>> Stage for AggregatorStage<A, I, O> {
    type Input = I;
    type Outputs = Outlet<O>;
    const EMITS_LAST: bool = A::EMITS_LAST;
    #[inline(always)]
    fn handle(
        &mut self,
        input: Input<'_, I>,
        mut out: Out<'_, O>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        self.0.add(input, &mut out, cx)
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

/// The stage under a consumer.
pub struct ConsumerStage<C, I>(pub(crate) C, pub(crate) PhantomData<fn(I)>);

impl<I: Message, C: Consumer<I>> Stage for ConsumerStage<C, I> {
    type Input = I;
    type Outputs = ();
    #[inline(always)]
    fn handle(&mut self, input: Input<'_, I>, (): (), cx: &mut Context<'_>) -> Outcome {
        self.0.consume(input, cx)
    }
    fn next_timeout(&self) -> Option<Time> {
        self.0.next_timeout()
    }
    fn handle_timeout(&mut self, (): (), cx: &mut Context<'_>) {
        self.0.handle_timeout(cx);
    }
    fn finish(&mut self, (): (), cx: &mut Context<'_>) -> Progress {
        self.0.finish(cx);
        Progress::Finished
    }
}

/// The stage under a router.
pub struct RouterStage<R, I>(pub(crate) R, pub(crate) PhantomData<fn(I)>);

impl<I: Message, R: Router<I>> Stage for RouterStage<R, I> {
    type Input = I;
    type Outputs = Ways<I>;
    const EMITS_LAST: bool = true;
    // Small, and built into more than one loop: without being told the compiler leaves a call per message.
    #[inline(always)]
    fn handle(
        &mut self,
        input: Input<'_, I>,
        mut out: OutWays<'_, I>,
        _: &mut Context<'_>,
    ) -> Outcome {
        match self.0.route(&input, input.header(), out.len()) {
            Route::To(way) => out.forward_last(way, input).into_outcome(),
            Route::Reject(rejection) => Outcome::Reject(rejection),
        }
    }
}

/// The stage that copies to all ways.
pub struct BroadcastStage<I>(pub(crate) PhantomData<fn(I)>);

impl<I: Message + Clone> Stage for BroadcastStage<I> {
    type Input = I;
    type Outputs = Ways<I>;
    fn handle(
        &mut self,
        input: Input<'_, I>,
        mut out: OutWays<'_, I>,
        _: &mut Context<'_>,
    ) -> Outcome {
        let ways = out.len();
        for way in 1..ways {
            if let Err(rejection) = out.copy(way, &input) {
                return Outcome::Reject(rejection);
            }
        }
        if ways == 0 {
            Outcome::Done
        } else {
            out.forward(0, input).into_outcome()
        }
    }
}
